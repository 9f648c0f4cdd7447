"""The report of a run: tables on the terminal, the same as Markdown, and everything as JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.comparisons import Comparison, comparisons, growth
from benchmarks.peers import EARLIER
from benchmarks.results import Figure, Results, Settings, label, ratio
from benchmarks.tables import comparison_table, figure_table, growth_table

_TITLE = "Permissions: how fast"
_HOW_TO_READ = """\
Every ratio is of figures of this one run, and above 1 Watchword is the better one, whatever the unit. c1 is one call
in flight, told by its p50; c16 is sixteen, told by throughput. *Cold* is a server without its cache
(`WATCHWORD_CACHE_MIB=0`): every answer comes from PostgreSQL. *Warm* is a server as it comes. All answers were held
against the truth, which is known from how the world was made; one wrong answer ends a run.

The limit of a cold check is one SELECT by primary key behind bare grpc.aio, of a warm one the bare echo, of a write
one INSERT, of an import COPY into a table with two indexes: in the same process layout, on the same durable
PostgreSQL. A bare service checks no API key, validates nothing and writes no event. SpiceDB runs in the process that
asks it, without a network, which is in its favour (its CPU below is that of both); its embedded build has no cache,
which is not: compare it with the cold rows only. "SpiceDB earlier" was measured in November 2026 on a machine of the
same kind, with 107,185 relationships of another world of this kind.
"""


def document(settings: Settings, results: Results, machine: Mapping[str, str], *, command: str) -> dict[str, Any]:
    """Put everything together that JSON shall hold."""
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": dict(machine),
        "settings": asdict(settings),
        "notes": results.notes,
        "figures": {name: asdict(figure) for name, figure in results.figures.items()},
        "comparisons": [_compared(row, results.figures) for row in comparisons(settings)],
    }


def _compared(row: Comparison, figures: Mapping[str, Figure]) -> dict[str, Any]:
    ours, limit, peer = (figures.get(name or "") for name in (row.ours, row.limit, row.peer))
    return {
        "title": row.title,
        "ours": row.ours,
        "limit": row.limit,
        "peer": row.peer,
        "to_limit": None if ours is None or limit is None else ratio(ours, limit),
        "to_peer": None if ours is None or peer is None else ratio(ours, peer),
        "target": None if row.target is None else asdict(row.target),
        "met": row.is_met(figures),
    }


def tables(settings: Settings, results: Results) -> str:
    """Write what is held against what."""
    figures = results.figures
    earlier = EARLIER if label(settings.sizes[0]) == "100k" else {}
    text = comparison_table(comparisons(settings), figures, earlier)
    grown = [row for row in growth(settings) if row[1] in figures and row[2] in figures]
    if grown:
        head = [label(settings.sizes[0]), label(settings.sizes[-1])]
        text += f"\n{growth_table(grown, figures, head)}"
    return text


def write(folder: Path, settings: Settings, results: Results, content: dict[str, Any]) -> list[Path]:
    """Write the report; a quick run leaves that of a full one alone."""
    name = "permissions" if settings.name == "full" else f"permissions-{settings.name}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(content, indent=1) + "\n")
    machine = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    notes = "".join(f"\n- {note}" for note in content["notes"])
    files[1].write_text(
        f"# {_TITLE}\n\nMade by `{content['command']}` on {content['date']}: {machine}.\n{notes}\n\n{_HOW_TO_READ}\n"
        f"{tables(settings, results)}\n## All figures\n\n{figure_table(results.figures)}"
    )
    return files
