"""What is measured, in the layout in which it is deployed: PostgreSQL, a server process, and the caller in this one.

PostgreSQL is the embedded one with the settings that the product gives it, durable: fsync is on. Each candidate gets
a database of its own in it.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from watchword.server.bootstrap import bootstrap
from watchword.server.config import Config
from watchword.server.sealing import Keyring
from watchword.server.storage.embedded import EmbeddedPostgres
from watchword.server.storage.schema import migrate

ROOT = Path(__file__).resolve().parent.parent
POOL_SIZE = Config().pool_size
"""Connections of a server process: the product's default, for the limits as well."""
_STOP_SECONDS = 20


class Postgres:
    """The running PostgreSQL."""

    def __init__(self, embedded: EmbeddedPostgres, folder: Path) -> None:
        self._url = embedded.url
        self.folder = folder
        self.pid = embedded.postmaster_pid

    def create(self, database: str) -> str:
        """Make an empty database and return its URL; one of that name is dropped."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            name = sql.Identifier(database)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def settle(self, url: str) -> None:
        """Do what autovacuum would do in its own time, or the first loop after a load would pay for the load."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def size(self, url: str, table: str) -> int:
        """Tell how many bytes a table takes with its indexes."""
        with psycopg.connect(url) as connection:
            (size,) = connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchone() or (0,)
        return int(size)

    def version(self) -> str:
        """Tell its version."""
        with psycopg.connect(self._url) as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("?",)
        return str(version)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Start PostgreSQL in a folder of its own, which is deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="watchword-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedPostgres.start(folder, durable=True) as embedded:
            yield Postgres(embedded, folder)


class Server:
    """A server process that has said where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self._process = process
        self.pid = process.pid
        self.address = address


@contextmanager
def server(command: list[str], *, log: Path, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run a server process; its first line of output is JSON with its address."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    with log.open("a") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**clean, **(settings or {})},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
        yield Server(process, json.loads(line)["address"])
    finally:
        process.terminate()
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Watchword:
    """Our database and what its servers need; each server process is started with other settings."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres = postgres
        self.database_url = postgres.create(database)
        self._log = postgres.folder / f"{database}.log"
        self._master_key = Keyring.generate(secrets.token_bytes)
        migrate(self.database_url)
        keys: list[str] = []
        keyring = Keyring.parse(self._master_key, randomness=secrets.token_bytes)
        bootstrap(self.database_url, keyring, keep=keys.append)
        (self.api_key,) = keys

    @contextmanager
    def serve(self, **settings: str) -> Iterator[Server]:
        """Run `watchword serve`, with settings beside the defaults."""
        command = ["-c", "from watchword.cli import main; main()", "serve", "--json"]
        environment = {
            "WATCHWORD_DATABASE_URL": self.database_url,
            "WATCHWORD_MASTER_KEY": self._master_key,
            "WATCHWORD_LISTEN": "127.0.0.1:0",
            **settings,
        }
        with server(command, log=self._log, settings=environment) as running:
            yield running
