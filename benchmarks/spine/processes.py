"""What processes take: the memory of a server at rest, the time until it serves, and that of importing the SDK."""

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.deployment import ROOT
from benchmarks.processes import proportional_mib, resident_mib
from benchmarks.results import MIB, MILLISECONDS, Results, Settings
from benchmarks.spine.stand import Stand

_SERVING: Final = b"\x08\x01"
"""HealthCheckResponse{status: SERVING}."""
_PATIENCE_SECONDS: Final = 60
_REST_SECONDS: Final = 3
_SDK: Final = "from watchword.client import AsyncClient, Client"
_IMPORTS: Final = 5
"""Of the SDK, for each start of a server."""


def measure(settings: Settings, results: Results) -> None:
    """Measure starting and importing."""
    _starts(settings, results)
    _sdk(settings, results)


async def measure_at_rest(stand: Stand) -> None:
    """Measure the memory of a server that has served nobody yet."""
    await asyncio.sleep(min(stand.pace.seconds, _REST_SECONDS))
    stand.results.add("spine.memory.rest", resident_mib(stand.server.pid), MIB)
    stand.results.add("spine.memory.rest.pss", proportional_mib(stand.server.pid), MIB)


def _starts(settings: Settings, results: Results) -> None:
    """Start `watchword serve`, which is what `make run` does, on a new folder and again on the same one."""
    first: list[float] = []
    later: list[float] = []
    for _ in range(settings.starts):
        with tempfile.TemporaryDirectory(prefix="watchword-bench-", ignore_cleanup_errors=True) as folder:
            for seconds in (first, later):
                with _served(Path(folder)) as took:
                    seconds.append(took)
    results.add("spine.start.first", statistics.median(first), "s")
    results.add("spine.start.later", statistics.median(later), "s")


@contextmanager
def _served(folder: Path) -> Iterator[float]:
    """Run a server with its own PostgreSQL; give the seconds until its health said that it serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    began = time.monotonic()
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "from watchword.cli import main; main()", "serve"],
            env={**clean, "WATCHWORD_DATA_DIR": str(folder / "data"), "WATCHWORD_LISTEN": address},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        while not _serves(address):
            if process.poll() is not None or time.monotonic() > began + _PATIENCE_SECONDS:
                raise RuntimeError(f"the server did not start:\n{(folder / 'log').read_text()[-3000:]}")
            time.sleep(0.01)
        yield time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


def _serves(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        # Before gRPC is asked, which waits a second between its own attempts.
        socket.create_connection((host, int(port))).close()
    except OSError:
        return False
    with grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            return bool(check(b"", timeout=1) == _SERVING)
        except grpc.RpcError:
            return False


def _sdk(settings: Settings, results: Results) -> None:
    """Import the SDK in a fresh process, in turn with one that imports nothing."""
    seconds: dict[str, list[float]] = {"pass": [], _SDK: []}
    for program in seconds:
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)  # so that files are in memory
    for _ in range(settings.starts * _IMPORTS):
        for program, taken in seconds.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
            taken.append(time.perf_counter() - began)
    bare, with_sdk = (statistics.median(taken) * 1000 for taken in seconds.values())
    results.add("spine.sdk.import", with_sdk - bare, MILLISECONDS, note=f"beyond the {bare:.0f} ms of bare Python")
