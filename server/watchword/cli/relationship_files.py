"""Files of relationships, as OpenFGA's CLI has them: CSV or lines of JSON, read and written one by one.

Both know one thing more than OpenFGA's: `expire_time`, in ISO 8601. Neither is ever in memory as a whole.

The CSV is for machines, and what it holds is written as it is: a cell that a spreadsheet would take for a formula stays
what it is, for the import has to read back what the export wrote.
"""

import csv
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any, Final, TextIO

from watchword.cli.documents import Item, Node, parse_json
from watchword.cli.failures import Failure
from watchword.cli.tuple_files import context_in, csv_items

if TYPE_CHECKING:
    from watchword.client import Relationship

MAX_LINE: Final = 1024 * 1024
"""Bytes in a line. The server takes far less of a relationship."""
_SHOWN: Final = 256  # characters of a name, which a stranger may have chosen
_COLUMNS: Final = (
    *("user_type", "user_id", "user_relation", "relation", "object_type", "object_id"),
    *("condition_name", "condition_context", "expire_time"),
)


class Format(StrEnum):
    """How a file holds relationships."""

    CSV = "csv"
    JSONL = "jsonl"


def format_of(name: str) -> Format | None:
    """Tell the format by the end of a file's name."""
    end = name.rpartition(".")[2].lower()
    return Format(end) if end in set(Format) else Format.JSONL if end == "ndjson" else None


# ----- reading --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reader:
    """Reads relationships and knows in which lines those stand that the server has not committed yet.

    A line that is wrong ends the reading and is kept in `failure`, so that all before it can still be committed.
    """

    file: IO[bytes]
    name: str
    format: Format
    skip: int = 0
    committed: int = 0
    failure: Failure | None = None
    at: int = 0
    """How many bytes were read."""
    under_way: deque[tuple[int, str, str, str]] = field(default_factory=deque)
    """Line, object, relation and subject."""

    def __iter__(self) -> "Iterator[Relationship]":
        try:
            for number, item in enumerate(self._items(), start=1):
                if number > self.skip:
                    relationship = _relationship(item)
                    self.under_way.append(
                        (item.node.line, relationship.object, relationship.relation, relationship.subject)
                    )
                    yield relationship
        except Failure as failure:
            self.failure = failure

    def commit(self, count: int) -> None:
        """Take in that so many are committed."""
        for _ in range(count - self.committed):
            self.under_way.popleft()
        self.committed = count

    def place(self, index: int, *, distinct: int | None = None) -> str:
        """Where one of those under way stands, and what it is.

        With `distinct`, the index counts the different ones among the first so many, the last of each being meant.
        """
        rows = list(self.under_way)
        if distinct is not None:
            rows = list({row[1:]: row for row in rows[:distinct]}.values())
        if index >= len(rows):
            return self.name
        line, object_, relation, subject = rows[index]
        return f"{self.name}:{line}: {subject[:_SHOWN]} is {relation[:_SHOWN]} of {object_[:_SHOWN]}"

    def last_place(self) -> str:
        """Where the one stands that was read last, and what it is."""
        return self.place(len(self.under_way) - 1)

    def _items(self) -> Iterator[Item]:
        if self.format is Format.CSV:
            yield from csv_items(self._lines(), self.name, more=("expire_time",))
            return
        number = 0
        for line, text in enumerate(self._lines(), start=1):
            if text.strip():
                number += 1
                # What is skipped needs no reading.
                yield parse_json(text, self.name, line=line) if number > self.skip else _SKIPPED

    def _lines(self) -> Iterator[str]:
        line = 0
        while content := self.file.readline(MAX_LINE + 1):
            line += 1
            self.at += len(content)
            top = Item(self.name, Node(None, line, 1), "The line")
            if len(content) > MAX_LINE:
                raise top.wrong(f"has more than {MAX_LINE:,} bytes, as no relationship does")
            try:
                yield content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError:
                raise top.wrong("is not text in UTF-8: convert the file") from None


_SKIPPED: Final = Item("", Node(None))


def _relationship(item: Item) -> "Relationship":
    from watchword.client import Relationship  # noqa: PLC0415

    fields = item.fields("user", "relation", "object", "condition", "expire_time")
    subject, relation, object_ = (item.needed(fields, name).text() for name in ("user", "relation", "object"))
    condition = context = None
    if "condition" in fields:
        parts = fields["condition"].fields("name", "context")
        condition = fields["condition"].needed(parts, "name").text()
        context = context_in(parts) if "context" in parts else None
    try:
        # Half of a character, which JSON can spell, cannot be sent.
        f"{subject}{relation}{object_}{condition}".encode()
        if context:
            json.dumps(context, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise item.wrong("holds a text or a number that cannot be sent") from None
    ends = _time(fields["expire_time"]) if "expire_time" in fields else None
    return Relationship(subject, relation, object_, condition=condition, context=context, expire_time=ends)


def _time(item: Item) -> datetime:
    try:
        time = datetime.fromisoformat(item.text())
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise item.wrong("must be a time with its zone, such as 2030-01-31T12:00:00Z")
    return time


# ----- writing --------------------------------------------------------------------------------------------------------


class Writer:
    """Writes relationships."""

    def __init__(self, file: TextIO, form: Format) -> None:
        self._file = file
        self._rows = csv.writer(file, lineterminator="\n") if form is Format.CSV else None
        if self._rows is not None:
            self._rows.writerow(_COLUMNS)

    def write(self, relationship: "Relationship") -> None:
        """Write one."""
        if self._rows is None:
            self._file.write(json.dumps(_members(relationship)) + "\n")
        else:
            self._rows.writerow(_cells(relationship))


def _members(relationship: "Relationship") -> dict[str, Any]:
    members: dict[str, Any] = {
        "user": relationship.subject,
        "relation": relationship.relation,
        "object": relationship.object,
    }
    if relationship.condition is not None:
        members["condition"] = {"name": relationship.condition}
        if relationship.context is not None:
            members["condition"]["context"] = dict(relationship.context)
    if relationship.expire_time is not None:
        members["expire_time"] = _written(relationship.expire_time)
    return members


def _cells(relationship: "Relationship") -> Sequence[str]:
    user_type, _, user = relationship.subject.partition(":")
    user_id, _, user_relation = user.partition("#")
    object_type, _, object_id = relationship.object.partition(":")
    context = "" if relationship.context is None else json.dumps(dict(relationship.context))
    ends = "" if relationship.expire_time is None else _written(relationship.expire_time)
    return (
        *(user_type, user_id, user_relation, relationship.relation, object_type, object_id),
        *(relationship.condition or "", context, ends),
    )


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
