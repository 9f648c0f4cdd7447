"""A real server for tests, run as a process of its own: `python -m watchword.server.testing`.

It starts an embedded PostgreSQL in a temporary folder and a server on a free port, writes one JSON line (address,
api_key, database_url), and then answers one JSON line on standard input with one on standard output:

    {"command": "reset"}                    all data gone but the administrator's key; the clock is right again
    {"command": "advance", "seconds": 60}   the server's clock goes forward

With a PostgreSQL URL as its argument it uses that database instead, which must be new and empty.

At the end of its input it stops and deletes the folder, so it cannot outlive the tests, whatever kills them. The
commands come over the pipe from the parent and from nowhere else: a production server has nothing of the kind.
"""

import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from watchword.server import log
from watchword.server.app import App, running, utc_now
from watchword.server.bootstrap import make_administrator
from watchword.server.call import server_call
from watchword.server.config import Argon2Parameters, Config
from watchword.server.sealing import Keyring
from watchword.server.storage import tables
from watchword.server.storage.embedded import EmbeddedPostgres
from watchword.server.storage.schema import migrate

_KEPT = frozenset({"crash_mark", "deployment"})
_RESTORED = ("service_accounts", "api_keys", "signing_keys")
_EMPTY = "; ".join(
    f'DELETE FROM "{table.name}"'  # noqa: S608  # names from tables.py
    for table in reversed(tables.metadata.sorted_tables)
    if table.name not in _KEPT
)


class MovableClock:
    """The time, moved forward as a test wishes."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        """Tell the time."""
        return utc_now() + self.offset


class Harness:
    """Carries out the commands of a test run."""

    def __init__(self, app: App, connection: psycopg.AsyncConnection[Any], clock: MovableClock) -> None:
        self._database = app.database
        self._feed = app.feed
        self._connection = connection
        self._clock = clock
        self._rows: list[tuple[str, list[str], list[tuple[Any, ...]]]] = []

    async def start(self) -> str:
        """Make the administrator; remember the rows that every reset brings back."""
        async with self._database.write(server_call("server/bootstrap")) as tx:
            api_key = await make_administrator(tx)
        for table in _RESTORED:
            cursor = await self._connection.execute(f'SELECT * FROM "{table}"'.encode())  # noqa: S608
            names = [column.name for column in cursor.description or ()]
            self._rows.append((table, names, await cursor.fetchall()))
        return api_key

    async def run(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command."""
        match command.get("command"):
            case "reset":
                self._clock.offset = timedelta()
                await self._reset()
                # What was deleted past the log must not live on in the caches.
                self._feed.forget()
                await self._feed.look()
            case "advance":
                self._clock.offset += timedelta(seconds=float(command["seconds"]))
            case other:
                return {"ok": False, "error": f"unknown command {other!r}"}
        return {"ok": True}

    async def _reset(self) -> None:
        async with self._connection.transaction():
            await self._connection.execute(_EMPTY.encode())
            for table, names, rows in self._rows:
                columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join(["%s"] * len(names))
                for row in rows:
                    statement = f'INSERT INTO "{table}" ({columns}) VALUES ({marks})'  # noqa: S608
                    await self._connection.execute(statement.encode(), row)


@contextmanager
def _database(url: str | None) -> Iterator[str]:
    """Give a migrated database: the one asked for, or one of its own."""
    if url is not None:
        # Threat: somebody's data, emptied by a test run with the wrong URL.
        if not migrate(url):
            sys.exit("The database for tests has been used before: give a new and empty one.")
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="watchword-"))
    try:
        with EmbeddedPostgres.start(folder, durable=False) as postgres:
            migrate(postgres.url)
            yield postgres.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(url: str) -> None:
    config = Config(
        listen="127.0.0.1:0", log_format="json", argon2=Argon2Parameters(memory_kib=8, time=1, allow_weak=True)
    )
    log.configure(config)
    clock = MovableClock()
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    async with (
        running(config, database_url=url, keyring=keyring, clock=clock) as app,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        harness = Harness(app, connection, clock)
        api_key = await harness.start()
        _say({"address": app.address, "api_key": api_key, "database_url": url})
        while line := await asyncio.to_thread(sys.stdin.readline):
            _say(await harness.run(json.loads(line)))


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run until the end of the input."""
    with _database(next(iter(sys.argv[1:]), None)) as url:
        uvloop.run(_serve(url))


if __name__ == "__main__":
    main()
