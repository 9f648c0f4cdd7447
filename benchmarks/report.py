"""The reports of a run: tables on the terminal, the same as Markdown, and everything as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.comparisons import Comparison
from benchmarks.plots import comparison_plot, spread_plot
from benchmarks.results import Figure, Results, Settings, ratio
from benchmarks.tables import comparison_table, figure_table, growth_table, histogram

_MOST_VALUES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is about."""

    name: str
    """Of its files."""
    title: str
    how_to_read: str
    comparisons: Sequence[Comparison]
    peer: str = "SpiceDB"
    """Whose figures stand beside ours."""
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
        "spreads": {name: thinned(values) for name, values in results.spreads.items()},
        "comparisons": [_compared(row, results.figures) for row in report.comparisons],
    }


def thinned(values: Sequence[float]) -> list[float]:
    """Keep at most a thousand values, in order and evenly chosen: enough for any plot, and the file stays small."""
    ordered = sorted(values)
    last = min(len(ordered), _MOST_VALUES) - 1
    return [round(ordered[number * (len(ordered) - 1) // max(last, 1)], 3) for number in range(last + 1)]


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
    text = comparison_table(report.comparisons, figures, report.earlier, peer=report.peer)
    grown = [row for row in report.growth if row[1] in figures and row[2] in figures]
    if grown:
        text += f"\n{growth_table(grown, figures, report.sizes)}"
    for name, values in results.spreads.items():
        text += f"\n{histogram(name, values)}"
    return text


def write(folder: Path, report: Report, settings: Settings, results: Results, content: dict[str, Any]) -> list[Path]:
    """Write the report; a quick run leaves that of a full one alone."""
    name = report.name if settings.name == "full" else f"{report.name}-{settings.name}"
    pictures = {f"{name}.svg": comparison_plot(report.title, report.comparisons, results.figures, peer=report.peer)}
    if results.spreads:
        pictures[f"{name}-spreads.svg"] = spread_plot(
            f"{report.title.partition(':')[0]}: how it spreads", results.spreads
        )
    machine = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
    notes = "".join(f"\n- {note}" for note in content["notes"])
    shown = "".join(f"\n![{report.title}]({picture})\n" for picture in pictures)
    text = (
        f"# {report.title}\n\nMade by `{content['command']}` on {content['date']}: {machine}.\n{notes}\n\n"
        f"{report.how_to_read}{shown}\n{tables(report, results)}\n## All figures\n\n{figure_table(results.figures)}"
    )
    texts = {f"{name}.json": json.dumps(content, indent=1) + "\n", f"{name}.md": text, **pictures}
    folder.mkdir(parents=True, exist_ok=True)
    for file, written in texts.items():
        (folder / file).write_text(written)
    return [folder / file for file in texts]
