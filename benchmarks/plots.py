"""The tables as pictures: SVG that reads on light and on dark, and is the same for the same figures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from benchmarks.comparisons import Comparison
from benchmarks.results import Figure
from benchmarks.tables import classes, told

_TITLE_WIDTH: Final = 380
_BAR_WIDTH: Final = 330
_WIDTH: Final = _TITLE_WIDTH + _BAR_WIDTH + 160
_BAR: Final = 11
_GAP: Final = 9
_HEAD: Final = 54
_STYLE: Final = """
text { font: 11px system-ui, sans-serif; fill: #24292f }
.head { font-size: 16px; font-weight: 600 }
.ours { fill: #2f6fde } .limit { fill: #9aa4af } .peer { fill: #e08a2e }
.mark { stroke: #c2255c; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ours { fill: #5b93f5 } .limit { fill: #6e7781 } .peer { fill: #e8a04c }
  .mark { stroke: #f783ac }
}"""


@dataclass(frozen=True, slots=True)
class _Bar:
    kind: str
    value: float
    told: str


@dataclass(frozen=True, slots=True)
class _Row:
    """Bars on a scale of their own, with what they should come to, or on that of all."""

    title: str
    bars: Sequence[_Bar]
    mark: float | None = None
    top: float = 0.0


def comparison_plot(title: str, comparisons: Iterable[Comparison], figures: Mapping[str, Figure], *, peer: str) -> str:
    """Show our figures beside their limits, those of the peer, and the targets."""
    rows = [row for row in (_row(each, figures) for each in comparisons) if row is not None]
    legend = [("ours", "Watchword"), ("limit", "limit")]
    if any(bar.kind == "peer" for row in rows for bar in row.bars):
        legend.append(("peer", peer))
    note = "Each row has a scale of its own. Of rates (…/s) more is better, of all else less. Line: the target."
    return _chart(title, legend, note, rows)


def _row(row: Comparison, figures: Mapping[str, Figure]) -> _Row | None:
    ours = figures.get(row.ours)
    others = {kind: figures.get(name or "") for kind, name in (("limit", row.limit), ("peer", row.peer))}
    if ours is None or (row.target is None and not any(others.values())):
        return None
    found = {"ours": ours, **{kind: figure for kind, figure in others.items() if figure is not None}}
    bars = [_Bar(kind, figure.value, told(figure)) for kind, figure in found.items()]
    mark = None
    if row.target is not None:
        base = found.get(row.target.of)
        if row.target.of == "value":
            mark = row.target.bound
        elif base is not None:
            mark = base.value * row.target.bound if ours.more_is_better else base.value / row.target.bound
    return _Row(row.title, bars, mark, max([mark or 0.0, *(bar.value for bar in bars)]))


def spread_plot(title: str, spreads: Mapping[str, Sequence[float]]) -> str:
    """Show how values spread, as shares of their classes."""
    rows: list[_Row] = []
    for name, milliseconds in spreads.items():
        found = classes(milliseconds)
        most = max((count for _, count in found), default=0)
        rows.append(_Row(name, []))
        for label, count in found:
            rows.append(_Row(label, [_Bar("ours", count, f"{count / len(milliseconds):.1%}")], top=most))
    return _chart(title, [], "Shares of all values.", rows)


def _chart(title: str, legend: Iterable[tuple[str, str]], note: str, rows: Sequence[_Row]) -> str:
    parts = [_text(10, 22, title, kind="head"), _text(10, 42, note)]
    left = _TITLE_WIDTH
    for kind, name in legend:
        parts += [_rectangle(kind, left, 14, 10), _text(left + 14, 23, name)]
        left += 30 + 7 * len(name)
    top = _HEAD
    for row in rows:
        height = max(len(row.bars), 1) * _BAR
        parts.append(_text(_TITLE_WIDTH - 10, top + height / 2 + 3, row.title, anchor="end"))
        mark = None if row.mark is None or not row.top else _BAR_WIDTH * row.mark / row.top
        for place, bar in enumerate(row.bars):
            width = max(_BAR_WIDTH * bar.value / row.top if row.top else 0, 1)
            parts.append(_rectangle(bar.kind, _TITLE_WIDTH, top + place * _BAR, width))
            # Behind the mark, or the line would go through the figure.
            end = max(width, mark or 0) if bar.kind == "ours" else width
            parts.append(_text(_TITLE_WIDTH + end + 6, top + place * _BAR + 9, bar.told))
        if mark is not None:
            x = _TITLE_WIDTH + mark
            parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 2}" y2="{top + _BAR}"/>')
        top += height + (_GAP if len(row.bars) > 1 or row.mark is not None else 2)
    size = f'width="{_WIDTH}" height="{top}" viewBox="0 0 {_WIDTH} {top}"'
    body = "\n".join(parts)
    label = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">\n'
        f"<style>{_STYLE}\n</style>\n{body}\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _rectangle(kind: str, x: float, y: float, width: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR - 2}" rx="2"/>'
