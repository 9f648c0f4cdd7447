"""Watchword's benchmark: `python -m benchmarks`, or `make bench`. See README.md in docs/benchmarks."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# As for `watchword serve`: root starts PostgreSQL by a real fork, and gRPC's care for that writes to the console.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import uvloop

from benchmarks import limits, machine, peers, permissions, report
from benchmarks.deployment import ROOT, postgres
from benchmarks.results import FULL, QUICK, Results, Settings

PARTS = ("limits", "peers", "permissions")


def run(settings: Settings, parts: Sequence[str], *, command: str, folder: Path) -> Results:
    """Measure, show and write."""
    results = Results()
    if settings.name != FULL.name:
        results.note(f"This was a {settings.name} run: small worlds and short loops. The targets are for a full one.")
    with postgres() as server:
        about = machine.describe(server.version())
        if "limits" in parts:
            uvloop.run(limits.measure(server, settings, results))
        if "peers" in parts:
            peers.measure(server, settings, results)
        if "permissions" in parts:
            uvloop.run(permissions.measure(server, settings, results))
    content = report.document(settings, results, about, command=command)
    sys.stdout.write(report.tables(settings, results))
    for file in report.write(folder, settings, results, content):
        results.say(f"written: {file.name}")
    return results


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small world and short loops: under a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the report")
    chosen = parser.parse_args()
    command = "python -m benchmarks" + " --quick" * chosen.quick
    run(QUICK if chosen.quick else FULL, chosen.only, command=command, folder=chosen.output)


if __name__ == "__main__":
    main()
