"""A deployment to which faults are done: a durable PostgreSQL and a server process, each killed at will."""

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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc

from watchword.client import Client
from watchword.server.bootstrap import bootstrap
from watchword.server.sealing import Keyring
from watchword.server.storage.schema import migrate

# Keeps PostgreSQL, and starts it again for each line that it reads; says its process id each time. It is a process of
# its own, because root starts PostgreSQL by a real fork, which gRPC's threads in the process of a test do not survive.
KEEPER = """
import sys
from pathlib import Path
from watchword.server.storage.embedded import EmbeddedPostgres
# Durable, or a killed PostgreSQL would lose what it acknowledged and blame us.
with EmbeddedPostgres.start(Path(sys.argv[1]), durable=True) as postgres:
    print(postgres.url, flush=True)
    print(postgres.postmaster_pid, flush=True)
    for _ in sys.stdin:
        postgres.restart()
        print(postgres.postmaster_pid, flush=True)
"""
PROGRAM = [sys.executable, "-c", "from watchword.cli import main; main()"]


class Deployment:
    """What an operator has: a database, a master key, an address."""

    def __init__(self, folder: Path, keeper: "subprocess.Popen[str]") -> None:
        self._folder = folder
        self._keeper = keeper
        self.database_url = self._heard()
        self._postmaster = int(self._heard())
        master_key = Keyring.generate(secrets.token_bytes)
        migrate(self.database_url)
        keys: list[str] = []
        bootstrap(self.database_url, Keyring.parse(master_key, randomness=secrets.token_bytes), keep=keys.append)
        (self.api_key,) = keys
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
        """SIGKILL all processes of PostgreSQL, as a loss of power would."""
        self.signal_database(signal.SIGSTOP)  # none may notice that another one is gone
        self._end_database(lambda: self.signal_database(signal.SIGKILL))

    def signal_database(self, number: signal.Signals) -> None:
        """Send a signal to all processes of PostgreSQL, each of which is a process group of its own."""
        children = Path(f"/proc/{self._postmaster}/task/{self._postmaster}/children").read_text().split()
        for pid in (self._postmaster, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop_database(self) -> None:
        """Stop PostgreSQL as an operator would: at once, in good order."""
        self._end_database(lambda: os.kill(self._postmaster, signal.SIGINT))

    def _end_database(self, end: Callable[[], None]) -> None:
        with os.fdopen(os.pidfd_open(self._postmaster)) as process:
            end()
            assert select.select([process], [], [], 30)[0]

    def start_database(self) -> None:
        assert self._keeper.stdin is not None
        self._keeper.stdin.write("\n")
        self._keeper.stdin.flush()
        self._postmaster = int(self._heard())

    def _heard(self) -> str:
        assert self._keeper.stdout is not None
        return self._keeper.stdout.readline().strip()

    def client(self, **options) -> Client:
        return Client(self.address, api_key=self.api_key, **options)

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.kill_server()


@contextmanager
def deployment(**settings: str) -> Iterator[Deployment]:
    """A deployment whose server runs, with settings beside the usual ones; nothing is left of it."""
    # Not a folder of pytest's: each run of pytest by root closes that to the account of PostgreSQL.
    folder = Path(tempfile.mkdtemp(prefix="watchword-faults-"))
    try:
        with subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(folder / "postgres")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as keeper:
            made = Deployment(folder, keeper)
            made.settings |= settings
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


def waiting_for_locks(sql: Callable[[str], list[dict[str, Any]]]) -> int:
    """How many connections wait for a lock."""
    return sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0]["count"]


def seconds_until(condition: Callable[[], bool], *, within: float) -> float:
    """Ask again and again until it holds; tell how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < within, f"not within {within} s"
        time.sleep(0.02)
    return time.monotonic() - start
