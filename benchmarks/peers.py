"""The peer: SpiceDB's embedded build on the same PostgreSQL, asked the same about the same world.

It is measured where it is present (see `install_peer.py`), and skipped, with a word about it, where it is not.
`EARLIER` then still tells what it did on a machine of the same kind.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.deployment import ROOT, Postgres
from benchmarks.load import Timing
from benchmarks.results import CALLS, CHECKS, MILLISECONDS, Figure, Results, Settings

HOME = ROOT / "benchmarks" / ".peer"
VERSION = "0.7.1"
"""Of the packages; it holds SpiceDB v1.54.0, for which spicedb.sql was made."""

EARLIER = {
    "peer.check.direct.c1": Figure(2.1, MILLISECONDS),
    "peer.check.direct.c16": Figure(995, CALLS),
    "peer.check.miss.c1": Figure(10.3, MILLISECONDS),
    "peer.check.miss.c16": Figure(185, CALLS),
    "peer.check.folder.c1": Figure(6.7, MILLISECONDS),
    "peer.check.folder.c16": Figure(275, CALLS),
    "peer.check.group.c1": Figure(7.4, MILLISECONDS),
    "peer.check.group.c16": Figure(270, CALLS),
    "peer.check.mixed.c1": Figure(7.0, MILLISECONDS),
    "peer.check.mixed.c16": Figure(307, CALLS),
    "peer.batch.c1": Figure(249, MILLISECONDS),
    "peer.batch.c4": Figure(342, CHECKS),
    "peer.list.100.c1": Figure(12, MILLISECONDS),
    "peer.list.10000.c1": Figure(782, MILLISECONDS),
    "peer.list.ordinary.c1": Figure(14, MILLISECONDS),
    "peer.write.c1": Figure(1.7, MILLISECONDS),
    "peer.write.c16": Figure(1458, CALLS),
    "peer.load": Figure(22_500, "rows/s"),
}
"""SpiceDB v1.54.0, embedded, on PostgreSQL 18, 107,185 relationships of another world of this kind: November 2026."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Where SpiceDB is."""

    python: Path
    library: Path


def find() -> Peer | None:
    """Find it, where `install_peer.py` puts it or where the environment says."""
    python = Path(os.environ.get("BENCHMARK_SPICEDB_PYTHON", HOME / "bin" / "python"))
    library = Path(os.environ.get("SPICEDB_LIBRARY_PATH", HOME / "libspicedb.so"))
    return Peer(python, library) if python.exists() and library.exists() else None


def measure(postgres: Postgres, settings: Settings, results: Results) -> None:
    """Measure it, or tell that it is not there."""
    peer = find()
    if peer is None:
        results.note("SpiceDB is not here (python -m benchmarks.install_peer fetches it): not measured.")
        return
    url = postgres.create("spicedb")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((ROOT / "benchmarks" / "spicedb.sql").read_bytes())
    job = {
        "url": f"{url}&sslmode=disable",
        "postgres": postgres.pid,
        "size": settings.sizes[0],
        "visible": settings.visible,
        "questions": settings.questions,
        "verified": settings.verified,
        "people": settings.people,
        "seconds": settings.pace.seconds,
        "repeats": settings.pace.repeats,
        "warm_up": settings.pace.warm_up,
    }
    with _worker(peer, job, log=postgres.folder / "spicedb.log") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "loaded" in said:
                postgres.settle(url)
                size = postgres.size(url, "relation_tuple")
                results.add("peer.size", size / settings.sizes[0], "bytes/row")
                process.stdin.write("\n")
                process.stdin.flush()
            elif "timing" in said:
                timing = Timing(**said["timing"])
                results.add_loop(f"peer.{said['name']}", timing, in_flight=said["in_flight"], each=said["each"])
            else:
                results.add(f"peer.{said['name']}", said["value"], said["unit"])


@contextmanager
def _worker(peer: Peer, job: dict[str, Any], *, log: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run the worker; the figures of one that fails are worth nothing, so it takes the run with it."""
    with log.open("w") as errors:
        process = subprocess.Popen(
            [peer.python, "-m", "benchmarks.spicedb_worker", json.dumps(job)],
            env={**os.environ, "SPICEDB_LIBRARY_PATH": str(peer.library)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
        if process.wait() != 0:
            raise RuntimeError(f"SpiceDB's worker failed:\n{log.read_text()[-3000:]}")
    finally:
        process.kill()
        process.communicate()
