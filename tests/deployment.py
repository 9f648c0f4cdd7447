"""A deployment that faults can be done to: a durable PostgreSQL and a server of its own process, each killed at will."""

import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from watchword.client import Client
from watchword.server.bootstrap import bootstrap
from watchword.server.sealing import Keyring
from watchword.server.storage.embedded import EmbeddedPostgres
from watchword.server.storage.schema import migrate

PROGRAM = [sys.executable, "-c", "from watchword.cli import main; main()"]


class Deployment:
    """What an operator has: a database, a master key, an address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Durable, or a killed PostgreSQL would lose what it acknowledged and blame us.
        self._postgres = EmbeddedPostgres.start(folder / "postgres", durable=True)
        self.database_url = self._postgres.url
        master_key = Keyring.generate(secrets.token_bytes)
        migrate(self.database_url)
        api_key = bootstrap(self.database_url, Keyring.parse(master_key, randomness=secrets.token_bytes))
        assert api_key is not None
        self.api_key = api_key
        self.address = f"127.0.0.1:{free_port()}"
        self.settings = {
            "WATCHWORD_DATABASE_URL": self.database_url,
            "WATCHWORD_MASTER_KEY": master_key,
            "WATCHWORD_LISTEN": self.address,
            "WATCHWORD_LOG_FORMAT": "json",
        }
        self._server: subprocess.Popen[str] | None = None

    @property
    def server(self) -> subprocess.Popen[str]:
        assert self._server is not None
        return self._server

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def spawn(self) -> subprocess.Popen[str]:
        """Start a server process with the deployment's settings, and return at once."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
        with (self._folder / "log").open("a") as log:
            return subprocess.Popen(
                [*PROGRAM, "serve", "--json"],
                env={**clean, **self.settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start_server(self) -> None:
        self._server = self.spawn()
        assert self._server.stdout is not None
        assert self.address in self._server.stdout.readline(), self.log[-3000:]

    def kill_server(self) -> None:
        self.server.kill()
        self.server.communicate()

    def stop_server(self) -> int:
        self.server.terminate()
        self.server.communicate(timeout=30)
        return self.server.returncode

    def kill_database(self) -> None:
        """SIGKILL PostgreSQL, all of its processes at once, as a loss of power would."""
        self._end_database(lambda pid: os.killpg(pid, signal.SIGKILL))

    def stop_database(self) -> None:
        """Stop PostgreSQL as an operator would: at once, in good order."""
        self._end_database(lambda pid: os.kill(pid, signal.SIGINT))

    def _end_database(self, end) -> None:
        pid = self._postgres.postmaster_pid
        with os.fdopen(os.pidfd_open(pid)) as process:
            end(pid)
            assert select.select([process], [], [], 30)[0]

    def start_database(self) -> None:
        self._postgres.restart()

    def client(self, **options) -> Client:
        return Client(self.address, api_key=self.api_key, **options)

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.kill_server()
        self._postgres.stop()


@contextmanager
def deployment() -> Iterator[Deployment]:
    """A deployment whose server runs; nothing is left of it."""
    # Not a folder of pytest's: each run of pytest by root closes that to the account of PostgreSQL.
    folder = Path(tempfile.mkdtemp(prefix="watchword-faults-"))
    try:
        made = Deployment(folder)
        try:
            made.start_server()
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def health(address: str) -> str:
    """What a load balancer hears."""
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5)
    return {b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING"}[answer]


def seconds_until(condition, *, within: float) -> float:
    """Ask again and again until it holds; tell how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, f"not within {within} s"
        time.sleep(0.02)
    return time.monotonic() - start
