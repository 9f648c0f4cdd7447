"""How far long work is: a bar on stderr, if that is a terminal, and nothing otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS = 0.1


@contextmanager
def progress(
    title: str, *, total: int | None = None, shown: bool = True, counted: str = "relationships"
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar, or without a total a sign of life; call what this gives with how far it is and what was counted."""
    if not (shown and sys.stderr.isatty()):
        yield lambda _done, _count: None
        return
    from rich.console import Console  # noqa: PLC0415 - not needed for most commands
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = [
        TextColumn("{task.description}"),
        SpinnerColumn() if total is None else BarColumn(),
        TextColumn(f"{{task.fields[count]:,}} {counted}"),
        TimeElapsedColumn(),
    ]
    drawn = 0.0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, count=0)

        def update(done: int, count: int) -> None:
            nonlocal drawn
            if time.monotonic() - drawn >= _SECONDS:
                drawn = time.monotonic()
                bar.update(task, completed=done, count=count)

        yield update
