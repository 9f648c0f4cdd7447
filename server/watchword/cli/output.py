"""What commands write: results on stdout, for a person or as JSON for a program; all else on stderr.

Threat: names, user agents and reasons are chosen by strangers. A terminal obeys control characters in them, and rich
obeys its markup; so what is shown to a person is plain text without either. JSON escapes everything beyond ASCII.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from watchword.cli.failures import Failure

_UNBROKEN = 10_000  # columns of a line that nobody folds: each row stays one line for grep


class Output:
    """Where one command writes to."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def one(self, value: Any) -> None:
        """Write one thing: a dataclass or a mapping."""
        if self.as_json:
            self._json(value)
            return
        pairs = _flat(_plain(value))
        width = max((len(name) for name, _ in pairs), default=0)
        for name, text in pairs:
            sys.stdout.write(f"{name.ljust(width)}  {text}\n".rstrip(" ") if text else "")

    def many(self, values: Iterable[Any], *, columns: Sequence[str], limit: int | None = None) -> None:
        """Write a list: as JSON all there is to each, for a person some columns.

        With a limit, at most so many; that there are more is said, on stderr.
        """
        rows: list[Any] = []
        cut = False
        for value in values:
            cut = limit is not None and len(rows) == limit
            if cut:
                break
            rows.append(value)
        if self.as_json:
            self._json(rows)
        else:
            _table([dict(_flat(_plain(row))) for row in rows], columns)
        if cut:
            self.note(f"There are more than {limit}: use --limit to see them.")

    def text(self, text: str, *, name: str) -> None:
        """Write one value for pipes: the bare text, or a JSON object with one member."""
        if self.as_json:
            self._json({name: text})
        else:
            sys.stdout.write(text + "\n")

    def lines(self, texts: Iterable[str]) -> None:
        """Write texts for a person, one a line."""
        sys.stdout.writelines(_printable(text) + "\n" for text in texts)

    def document(self, text: str) -> None:
        """Write a text of many lines: for a file or a pipe as it is, without what a terminal would obey otherwise."""
        sys.stdout.write((_printable(text, keep="\n\t") if sys.stdout.isatty() else text).rstrip("\n") + "\n")

    def note(self, text: str) -> None:
        """Tell a person something that is not the result."""
        sys.stderr.write(_printable(text, keep="\n") + "\n")

    def failure(self, failure: Failure) -> None:
        """Tell why the command fails."""
        if self.as_json:
            error = {"message": failure.message, "reason": failure.reason, "request_id": failure.request_id}
            sys.stderr.write(json.dumps({"error": error}) + "\n")
            return
        request = f" (request {failure.request_id})" if failure.request_id else ""
        self.note(failure.message + request)

    def _json(self, value: Any) -> None:
        sys.stdout.write(json.dumps(_plain(value)) + "\n")
        sys.stdout.flush()


def _plain(value: Any) -> Any:
    """Give a value in JSON's types: times in ISO 8601 and UTC, durations in seconds, what is unset as null."""
    match value:
        case Enum():
            plain = value.value
        case datetime():
            plain = value.isoformat().replace("+00:00", "Z")
        case timedelta():
            plain = value.total_seconds()
        case Mapping():
            plain = {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            plain = [_plain(item) for item in value]
        case _ if is_dataclass(value):
            plain = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            plain = value
    return plain


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Give the lines that a person sees: nested names joined by dots."""
    pairs: list[tuple[str, str]] = []
    for name, item in value.items():
        if isinstance(item, dict) and item:
            pairs += _flat(item, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{_printable(name)}", _cell(item)))
    return pairs


def _cell(item: Any) -> str:
    if item is None or item in ([], {}):
        return ""
    if isinstance(item, list):
        return ", ".join(map(_cell, item))
    if isinstance(item, bool):
        return "yes" if item else "no"
    return _printable(str(item))


def _printable(text: str, *, keep: str = "") -> str:
    return "".join(
        character if character.isprintable() or character in keep else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    from rich.console import Console  # noqa: PLC0415 - not needed for most commands
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # Ids come first and are there to be copied; anything else may be folded.
        table.add_column(column, no_wrap=column == columns[0], overflow="fold")
    for row in rows:
        table.add_row(*(Text(row.get(column, "")) for column in columns))
    terminal = sys.stdout.isatty()
    # Rendered first and written by ourselves: rich has its own idea of what to do when nobody reads any longer.
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=shutil.get_terminal_size().columns if terminal else _UNBROKEN,
    )
    with console.capture() as capture:
        console.print(table)
    sys.stdout.writelines(line.rstrip() + "\n" for line in capture.get().splitlines())
