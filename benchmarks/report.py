"""The reports of a run: tables on the terminal, the same as Markdown, and everything as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.comparisons import Comparison
from benchmarks.results import Figure, Results, Settings, ratio
from benchmarks.tables import comparison_table, figure_table, growth_table, histogram


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is about."""

    name: str
    """Of its files."""
    title: str
    how_to_read: str
    comparisons: Sequence[Comparison]
    earlier: Mapping[str, Figure] = field(default_factory=dict)
    """Figures of the peer from another run."""
    growth: Sequence[tuple[str, str, str]] = ()
    """What is held against itself: title and two names of figures."""
    sizes: Sequence[str] = ()
    """The heads of those two."""


def document(
    report: Report, settings: Settings, results: Results, machine: Mapping[str, str], *, command: str
) -> dict[str, Any]:
    """Put everything together that JSON shall hold."""
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": dict(machine),
        "settings": asdict(settings),
        "notes": results.notes,
        "figures": {name: asdict(figure) for name, figure in results.figures.items()},
        "spreads": {name: [round(value, 3) for value in values] for name, values in results.spreads.items()},
        "comparisons": [_compared(row, results.figures) for row in report.comparisons],
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


def tables(report: Report, results: Results) -> str:
    """Write what is held against what."""
    figures = results.figures
    text = comparison_table(report.comparisons, figures, report.earlier)
    grown = [row for row in report.growth if row[1] in figures and row[2] in figures]
    if grown:
        text += f"\n{growth_table(grown, figures, report.sizes)}"
    for name, values in results.spreads.items():
        text += f"\n{histogram(name, values)}"
    return text


def write(folder: Path, report: Report, settings: Settings, results: Results, content: dict[str, Any]) -> list[Path]:
    """Write the report; a quick run leaves that of a full one alone."""
    name = report.name if settings.name == "full" else f"{report.name}-{settings.name}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(content, indent=1) + "\n")
    machine = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    notes = "".join(f"\n- {note}" for note in content["notes"])
    files[1].write_text(
        f"# {report.title}\n\nMade by `{content['command']}` on {content['date']}: {machine}.\n{notes}\n\n"
        f"{report.how_to_read}\n{tables(report, results)}\n## All figures\n\n{figure_table(results.figures)}"
    )
    return files
