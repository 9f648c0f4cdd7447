"""Watchword's benchmark: `python -m benchmarks`, or `make bench`. See README.md in docs/benchmarks."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# As for `watchword serve`: root starts PostgreSQL by a real fork, and gRPC's care for that writes to the console.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import uvloop

from benchmarks import limits, machine, peers, permission_report, permissions, report
from benchmarks.deployment import ROOT, postgres
from benchmarks.feed import measure as feed
from benchmarks.feed import report as feed_report
from benchmarks.results import FULL, QUICK, Results, Settings
from benchmarks.spine import measure as spine
from benchmarks.spine import report as spine_report

PARTS = ("limits", "peers", "permissions", "feed", "spine")
REPORTS = {"permissions": permission_report.report, "feed": feed_report.report, "spine": spine_report.report}


def run(settings: Settings, parts: Sequence[str], *, command: str, folder: Path) -> dict[str, Results]:
    """Measure, show and write."""
    with postgres() as server:
        about = machine.describe(server.version())
        measured: dict[str, Results] = {}
        if set(parts) & {"limits", "peers", "permissions"}:
            measured["permissions"] = results = _results(settings)
            if "limits" in parts:
                uvloop.run(limits.measure(server, settings, results))
            if "peers" in parts:
                peers.measure(server, settings, results)
            if "permissions" in parts:
                uvloop.run(permissions.measure(server, settings, results))
        if "feed" in parts:
            measured["feed"] = results = _results(settings)
            uvloop.run(feed.measure(server, settings, results))
        if "spine" in parts:
            measured["spine"] = results = _results(settings)
            spine.measure(server, settings, results)
    for name, results in measured.items():
        chosen = REPORTS[name](settings)
        content = report.document(chosen, settings, results, about, command=command)
        sys.stdout.write(report.tables(chosen, results))
        for file in report.write(folder, chosen, settings, results, content):
            results.say(f"written: {file.name}")
    return measured


def _results(settings: Settings) -> Results:
    results = Results()
    if settings.name != FULL.name:
        results.note(f"This was a {settings.name} run: small worlds and short loops. The targets are for a full one.")
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
