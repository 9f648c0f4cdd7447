"""A MariaDB of the tests' own, in a temporary folder, reached by a Unix socket; installed first if it can be.

Only the `-core` packages of Debian are installed: programs, and no service that would start with the machine.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import pymysql
import pytest

_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
_INSTALL = (
    ["apt-get", "update", "-qq"],
    ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_PACKAGES],
)
_SECONDS_TO_INSTALL = 150
_SECONDS_TO_START = 60


@dataclass(frozen=True, slots=True)
class MariaDB:
    """A server that runs."""

    socket: Path
    user: ClassVar[str] = "tests"
    password: ClassVar[str] = "p%s@:/"

    def create(self, database: str) -> str:
        """Make a database; give its URL."""
        self.run(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        return f"mysql://{self.user}:{quote(self.password, safe='')}@localhost/{database}?unix_socket={self.socket}"

    def run(self, *statements: str) -> None:
        """Run statements."""
        with pymysql.connect(
            unix_socket=str(self.socket), user=self.user, password=self.password, charset="utf8mb4", autocommit=True
        ) as connection:
            for statement in statements:
                connection.cursor().execute(statement)


@contextmanager
def mariadb() -> Iterator[MariaDB]:
    """Run a server for the time of a block; skip the test where there can be none."""
    server, initialize = _programs()
    with tempfile.TemporaryDirectory(prefix="watchword-mariadb-") as name:
        folder = Path(name)
        data, socket, log = folder / "data", folder / "socket", folder / "log"
        account: list[str] = []
        if os.geteuid() == 0:
            # MariaDB refuses to run as root.
            for path in (folder, data):
                path.mkdir(exist_ok=True)
                shutil.chown(path, "nobody")
            account = ["--user=nobody"]
        common = ["--no-defaults", f"--datadir={data}", *account]
        made = subprocess.run(
            [initialize, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True, text=True, timeout=_SECONDS_TO_START, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr + made.stdout
        command = [
            *(
                server,
                *common,
                f"--socket={socket}",
                "--skip-networking",
                f"--log-error={log}",
                f"--pid-file={data}/pid",
            ),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--skip-log-bin"),
            "--default-time-zone=+05:00",  # so that nothing is right by luck
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait(process, socket, log)
                yield MariaDB(socket)
            finally:
                process.terminate()
                process.wait(30)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        assert process.poll() is None, log.read_text()
        try:
            with pymysql.connect(unix_socket=str(socket), user="root") as connection:
                cursor = connection.cursor()
                cursor.execute(f"CREATE USER {MariaDB.user}@localhost IDENTIFIED BY '{MariaDB.password}'")
                cursor.execute(f"GRANT ALL ON *.* TO {MariaDB.user}@localhost")
                return
        except pymysql.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def _programs() -> tuple[str, str]:
    found = _found()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _found()
    if found is None:
        pytest.skip(
            f"MySQL is not tested: MariaDB is not installed here, and could not be (as root, by apt-get): install "
            f"{' and '.join(_PACKAGES)}"
        )
    return found


def _found() -> tuple[str, str] | None:
    server = shutil.which("mariadbd", path=_PATH)
    initialize = shutil.which("mariadb-install-db", path=_PATH)
    needed = shutil.which("my_print_defaults", path=_PATH)
    return (server, initialize) if server and initialize and needed else None


def _install() -> None:
    deadline = time.monotonic() + _SECONDS_TO_INSTALL
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in _INSTALL:
        try:
            subprocess.run(
                command, env=environment, capture_output=True, check=True, timeout=deadline - time.monotonic()
            )
        except (subprocess.SubprocessError, OSError):
            return
