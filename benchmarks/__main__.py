"""Watchword's benchmark: `python -m benchmarks`, or `make bench`. See README.md in docs/benchmarks."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# As for `watchword serve`: root starts PostgreSQL by a real fork, and gRPC's care for that writes to the console.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import uvloop

from benchmarks import limits, machine, peers, permission_report, permissions, report
from benchmarks.deployment import ROOT, Postgres, postgres
from benchmarks.feed import measure as feed
from benchmarks.feed import report as feed_report
from benchmarks.results import FULL, QUICK, Results, Settings
from benchmarks.spine import measure as spine
from benchmarks.spine import report as spine_report


def run(settings: Settings, parts: Sequence[str], *, command: str, folder: Path) -> dict[str, Results]:
    """Measure, show and write, one report after the other: what fails late takes nothing along."""
    measured: dict[str, Results] = {}
    with postgres() as server:
        about = machine.describe(server.version())
        for name, measure in _REPORTS.items():
            if not set(parts) & set(measure.parts):
                continue
            measured[name] = results = _results(settings)
            measure.run(server, settings, results, parts)
            chosen = measure.report(settings)
            content = report.document(chosen, settings, results, about, command=command)
            sys.stdout.write(report.tables(chosen, results))
            for file in report.write(folder, chosen, settings, results, content):
                results.say(f"written: {file.name}")
    return measured


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a report is made of."""

    parts: tuple[str, ...]
    run: Callable[[Postgres, Settings, Results, Sequence[str]], None]
    report: Callable[[Settings], report.Report]


def _feed(server: Postgres, settings: Settings, results: Results, _: Sequence[str]) -> None:
    uvloop.run(feed.measure(server, settings, results))


def _spine(server: Postgres, settings: Settings, results: Results, _: Sequence[str]) -> None:
    spine.measure(server, settings, results)


def _permissions(server: Postgres, settings: Settings, results: Results, parts: Sequence[str]) -> None:
    if "limits" in parts:
        uvloop.run(limits.measure(server, settings, results))
    if "peers" in parts:
        peers.measure(server, settings, results)
    if "permissions" in parts:
        uvloop.run(permissions.measure(server, settings, results))


_REPORTS: Final = {
    "feed": _Measured(("feed",), _feed, feed_report.report),
    "spine": _Measured(("spine",), _spine, spine_report.report),
    "permissions": _Measured(("limits", "peers", "permissions"), _permissions, permission_report.report),
}


_PARTS: Final = tuple(part for measured in _REPORTS.values() for part in measured.parts)


def _results(settings: Settings) -> Results:
    results = Results()
    if settings.name != FULL.name:
        results.note(f"This was a {settings.name} run: small worlds and short loops. The targets are for a full one.")
    return results


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small world and short loops: under a minute")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks", help="folder of the report")
    chosen = parser.parse_args()
    command = "python -m benchmarks" + " --quick" * chosen.quick
    run(QUICK if chosen.quick else FULL, chosen.only, command=command, folder=chosen.output)


if __name__ == "__main__":
    main()
