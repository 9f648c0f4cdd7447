"""Figures as tables, in Markdown that reads as well on a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.comparisons import Comparison, Target
from benchmarks.results import Figure, ratio

NOTHING = "-"
_VERDICTS = {True: "met", False: "NOT met", None: NOTHING}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table; the first column to the left, the others to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    laid = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in cells
    ]
    return "".join("| " + " | ".join(row) + " |\n" for row in [laid[0], rule, *laid[1:]])


def number(value: float) -> str:
    """Write a number with about three digits that count."""
    for least, digits in ((100, 0), (10, 1), (0, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:,.2f}"


def told(figure: Figure | None) -> str:
    """Write a figure with its unit."""
    return NOTHING if figure is None else f"{number(figure.value)} {figure.unit}"


def times(ours: Figure | None, other: Figure | None) -> str:
    """Write how many times better ours is."""
    return NOTHING if ours is None or other is None else f"{number(ratio(ours, other))} x"


def target_text(target: Target | None, ours: Figure | None, *, peer: str) -> str:
    """Write what a figure should come to."""
    if target is None or ours is None:
        return NOTHING
    if target.of != "value":
        return f">= {number(target.bound)} x {peer if target.of == 'peer' else 'limit'}"
    return f"{'>=' if ours.more_is_better else '<='} {number(target.bound)} {ours.unit}"


def comparison_table(
    comparisons: Iterable[Comparison], figures: Mapping[str, Figure], earlier: Mapping[str, Figure], *, peer: str
) -> str:
    """Hold our figures against limits, peer and targets; rows of which nothing was measured are left out."""
    rows = []
    for row in comparisons:
        ours, limit, other = (figures.get(name or "") for name in (row.ours, row.limit, row.peer))
        if ours is None and limit is None and other is None:
            continue
        rows.append(
            [
                row.title,
                told(ours),
                told(limit),
                times(ours, limit),
                told(other),
                times(ours, other),
                told(earlier.get(row.peer or "")),
                target_text(row.target, ours, peer=peer),
                _VERDICTS[row.is_met(figures)],
            ]
        )
    head = ["", "Watchword", "limit", "to limit", peer, f"to {peer}", f"{peer} earlier", "target", ""]
    # A column in which nothing stands, such as that of an absent peer, would only take width.
    told_columns = [c for c in range(len(head)) if c == 0 or any(row[c] != NOTHING for row in rows)]
    return table([head[c] for c in told_columns], [[row[c] for c in told_columns] for row in rows])


def growth_table(rows: Iterable[tuple[str, str, str]], figures: Mapping[str, Figure], head: Sequence[str]) -> str:
    """Hold the figures of the largest world against those of the smallest."""
    return table(
        ["", *head, "large to small"],
        [
            [title, told(figures[small]), told(figures[large]), times(figures[large], figures[small])]
            for title, small, large in rows
        ],
    )


def figure_table(figures: Mapping[str, Figure]) -> str:
    """Tell all figures with what stands behind them."""
    rows = []
    for name, figure in figures.items():
        timing = figure.timing
        if timing is None:
            rows.append([name, told(figure), *[NOTHING] * 6])
            continue
        costs = [number(timing.cpu_us[who]) if who in timing.cpu_us else NOTHING for who in _PROCESSES]
        rows.append(
            [name, told(figure), number(timing.throughput), number(timing.p50_ms), number(timing.p99_ms), *costs]
        )
    head = ["figure", "value", "calls/s", "p50 ms", "p99 ms", "CPU us/call: server", "PostgreSQL", "client"]
    return table(head, rows)


_PROCESSES = ("server", "postgres", "client")


_BOUNDS_MS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)
_BAR = 40


def classes(milliseconds: Sequence[float]) -> list[tuple[str, int]]:
    """Count values by classes, from the first to the last that holds any."""
    counts: list[tuple[str, int]] = []
    low = 0
    for high in _BOUNDS_MS:
        counts.append((f"{low} to {high} ms", sum(low < value <= high for value in milliseconds)))
        low = high
    counts.append((f"over {low} ms", sum(value > low for value in milliseconds)))
    held = [place for place, (_, count) in enumerate(counts) if count]
    return counts[held[0] : held[-1] + 1] if held else []


def histogram(title: str, milliseconds: Sequence[float]) -> str:
    """Show how values spread."""
    found = classes(milliseconds)
    most = max((count for _, count in found), default=0)
    return table(
        [title, "number", "share", ""],
        [
            [name, f"{count:,}", f"{count / len(milliseconds):.1%}", "#" * round(_BAR * count / most)]
            for name, count in found
        ],
    )
