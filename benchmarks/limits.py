"""What this machine allows: the least work of the same kind, on the same PostgreSQL and in the same process layout."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import grpc
import psycopg

from benchmarks.bare_server import SERVICE
from benchmarks.deployment import Postgres, server
from benchmarks.load import Ask, Loop, WrongAnswer
from benchmarks.processes import Meter
from benchmarks.results import Results, Settings, label
from benchmarks.world import World, batches

IN_FLIGHT = (1, 16)
_ROWS = 100_000
_BLOCK = 1000
_PREPARE = f"""
    CREATE TABLE single (id bigint PRIMARY KEY, payload bytea NOT NULL);
    INSERT INTO single SELECT n, int8send(n) FROM generate_series(0, {_ROWS - 1}) AS n;
    CREATE TABLE written (id bigint PRIMARY KEY, payload bytea NOT NULL);
"""
_PREPARE_COPY = """
    CREATE TABLE bare (object text NOT NULL, relation text NOT NULL, subject text NOT NULL);
    CREATE UNIQUE INDEX ON bare (object, relation, subject);
    CREATE INDEX ON bare (subject, relation, object);
"""


async def measure(postgres: Postgres, settings: Settings, results: Results) -> None:
    """Measure them all."""
    url = prepare(postgres, "limits")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_PREPARE_COPY.encode())
        for size in settings.sizes:
            _copy(connection, size, results)
    postgres.settle(url)
    with server(["-m", "benchmarks.bare_server", url], log=postgres.folder / "bare.log") as running:
        meter = Meter(servers={"server": running.pid}, postgres=postgres.pid)
        async with grpc.aio.insecure_channel(running.address) as channel:
            for name, loop in loops(channel, meter).items():
                for in_flight in IN_FLIGHT:
                    timing = await loop.run(in_flight=in_flight, pace=settings.pace)
                    results.add_loop(f"limit.{name.lower()}.c{in_flight}", timing, in_flight=in_flight)


def prepare(postgres: Postgres, database: str) -> str:
    """Make a database that the bare server can run on; return its URL."""
    url = postgres.create(database)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_PREPARE.encode())
    return url


def loops(channel: grpc.aio.Channel, meter: Meter) -> dict[str, Loop[int]]:
    """Give the loops of what the bare server does, by name."""
    return {name: Loop([_ask(channel, name)], numbers, meter) for name, numbers in _calls().items()}


def _calls() -> dict[str, Iterator[int]]:
    """Give each call the row numbers it asks for: far apart to read, never the same again to insert."""
    return {
        "Echo": itertools.repeat(0),
        "Select": (number * 7919 % _ROWS for number in itertools.count()),
        "Insert": itertools.count(),
    }


def _ask(channel: grpc.aio.Channel, name: str) -> Ask[int]:
    call: Any = channel.unary_unary(f"/{SERVICE}/{name}")

    async def ask(number: int) -> None:
        request = number.to_bytes(8)
        if await call(request) != request:
            raise WrongAnswer(f"{name} of {number}")

    return ask


def _copy(connection: psycopg.Connection[Any], size: int, results: Results) -> None:
    """Load a world by COPY, made ready before the clock starts; the indexes are in place, as an import has them."""
    connection.execute(b"TRUNCATE bare")
    lines = ["\t".join(relationship) + "\n" for relationship in World(size).relationships()]
    blocks = ["".join(block).encode() for block in batches(lines, _BLOCK)]
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy(b"COPY bare FROM STDIN") as copy:
        for block in blocks:
            copy.write(block)
    results.add(f"limit.copy.{label(size)}", size / (time.perf_counter() - began), "rows/s")
    row = connection.execute(b"SELECT pg_total_relation_size('bare')").fetchone()
    assert row is not None
    results.add(f"limit.copy.{label(size)}.size", row[0] / size, "bytes/row")
