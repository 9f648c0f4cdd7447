"""Runs an example application as its users would, as a process, and sees that nothing is left of it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from deployment import free_port

from watchword.client.testing import LocalServer

ROOT = Path(__file__).parents[1]


def environment(server: LocalServer, **settings: str) -> dict[str, str]:
    """What an example finds around it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("WATCHWORD_", "DOCUMENTS_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    found = {"WATCHWORD_ADDRESS": server.address, "WATCHWORD_API_KEY": server.api_key}
    found |= {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    return {**clean, **found, **settings}


@dataclass(frozen=True, slots=True)
class Site:
    """A served application."""

    url: str
    pid: int
    output: Callable[[], str]


@contextmanager
def serving(command: Callable[[str], list[str]], *, env: dict[str, str], cwd: Path = ROOT) -> Iterator[Site]:
    """Run what serves an application at an address, until the block ends; once it answers the block begins."""
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command(address)],
            env=env,
            cwd=cwd,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its processes are one group, to be ended together
        )
        # Not by seeking: the process writes at the position that it shares with this one.
        site = Site(f"http://{address}", process.pid, lambda: os.pread(log.fileno(), 1_000_000, 0).decode())
        try:
            until(lambda: _answers(site, process), "it is ready")
            yield site
            process.terminate()
            assert process.wait(timeout=30) is not None
            # Helpers of Python's own end when they notice that the process has.
            until(lambda: not _group_lives(process.pid), "it has left no process behind")
            with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
                pass  # the port is free
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition: Callable[[], bool], what: str, *, within: float = 20) -> None:
    """Ask again and again until it holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


def _answers(site: Site, process: "subprocess.Popen[bytes]") -> bool:
    assert process.poll() is None, site.output()
    with suppress(httpx.TransportError):
        return httpx.get(f"{site.url}/ready").status_code == 200
    return False


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
