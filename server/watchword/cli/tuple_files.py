"""Tuples, which are relationships as OpenFGA's files write them: in YAML, JSON, lines of JSON, or CSV."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from watchword.cli.documents import Folder, Item, Node, parse_json, parse_yaml, read_text
from watchword.cli.failures import Failure

if TYPE_CHECKING:
    from watchword.server.permissions.plan import Plan
    from watchword.server.permissions.relationships import Relationship

MAX_PROBLEMS: Final = 20
"""How many tuples are named as wrong, at most."""

_CSV_NEEDED: Final = ("user_type", "user_id", "relation", "object_type", "object_id")
_CSV_COLUMNS: Final = (*_CSV_NEEDED, "user_relation", "condition_name", "condition_context")
_Key: TypeAlias = tuple[str, str, str]
"""Object, relation and subject."""


def items_in(fields: Mapping[str, Item], name: str) -> list[Item]:
    """The items of a list that may be left out."""
    return fields[name].items() if name in fields else []


def context_in(fields: Mapping[str, Item]) -> dict[str, Any]:
    """The values for conditions' parameters, which may be left out."""
    if "context" not in fields:
        return {}
    return {name: value.plain() for name, value in fields["context"].members().items()}


class Tuples:
    """Collects the tuples of a store or a test. What the model does not allow is collected too, to be said at once."""

    def __init__(self, plan: "Plan", below: "Mapping[_Key, Relationship]") -> None:
        self._plan = plan
        self._below = below
        self._problems: list[str] = []
        self.found: dict[_Key, Relationship] = {}

    def relationships(self) -> "tuple[Relationship, ...]":
        """All that there are."""
        return tuple(self.found.values())

    def read(self, fields: Mapping[str, Item], folder: Folder) -> None:
        """Read what the fields hold and the files that they name."""
        for item in items_in(fields, "tuples"):
            self._add(item)
        files = [fields["tuple_file"]] if "tuple_file" in fields else []
        for named in (*files, *items_in(fields, "tuple_files")):
            for item in _tuple_items(named, folder.file(named)):
                self._add(item)
        if self._problems:
            raise Failure("\n".join(self._problems))

    def _add(self, item: Item) -> None:
        relationship = _relationship(item)
        key = relationship.object, relationship.relation, relationship.subject
        other = self.found.get(key) or self._below.get(key)
        problem = self._plan.misfit(relationship)
        if problem is None and other is not None and other != relationship:
            problem = "There is another tuple with the same user, relation and object, but another condition: keep one."
        if problem is None:
            self.found[key] = relationship
            return
        self._problems.append(f"{item.place}: {item.path}: {problem}")
        if len(self._problems) >= MAX_PROBLEMS:
            raise Failure("\n".join([*self._problems, "There may be more."]))


def _relationship(item: Item) -> "Relationship":
    from watchword.server.permissions.relationships import Relationship  # noqa: PLC0415

    fields = item.fields("user", "relation", "object", "condition")
    object_, relation, subject = (item.needed(fields, name).text() for name in ("object", "relation", "user"))
    if "condition" not in fields:
        return Relationship(object_, relation, subject)
    condition = fields["condition"].fields("name", "context")
    name = fields["condition"].needed(condition, "name").text()
    return Relationship(object_, relation, subject, name, context_in(condition))


def _tuple_items(named: Item, file: Path) -> Iterator[Item]:
    text = read_text(file)
    match file.suffix:
        case ".yaml" | ".yml":
            yield from parse_yaml(text, str(file)).items()
        case ".json":
            yield from parse_json(text, str(file)).items()
        case ".jsonl":
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    yield parse_json(line, str(file), line=number)
        case ".csv":
            yield from csv_items(io.StringIO(text, newline=""), str(file))
        case _:
            raise named.wrong("names a file of tuples that ends in none of .yaml, .yml, .json, .jsonl and .csv")


def csv_items(lines: Iterable[str], file: str, *, more: Collection[str] = ()) -> Iterator[Item]:
    """Tuples as rows, each turned into what YAML would hold. Columns besides OpenFGA's become members of their name."""
    rows = csv.reader(lines, strict=True)
    columns = (*_CSV_COLUMNS, *more)
    try:
        header = [name.strip() for name in next(rows, [])]
        top = Item(file, Node(None, 1, 1), "The header")
        if lacking := [name for name in _CSV_NEEDED if name not in header]:
            raise top.wrong(f"lacks the columns {', '.join(lacking)}")
        if len(set(header)) < len(header) or not set(header) <= set(columns):
            raise top.wrong(f"must have each column once, and none but {', '.join(columns)}")
        if "condition_context" in header and "condition_name" not in header:
            raise top.wrong("has the column condition_context, which needs condition_name")
        for row in rows:
            if not row:
                continue
            item = Item(file, Node(None, rows.line_num, 1), "The row")
            if len(row) != len(header):
                raise item.wrong(f"must have {len(header)} columns, as the header does, and has {len(row)}")
            yield _csv_item(item, dict(zip(header, row, strict=True)), more)
    except csv.Error as error:
        raise Item(file, Node(None, rows.line_num, 1), "The row").wrong(f"is not CSV: {error}") from None


def _csv_item(row: Item, columns: Mapping[str, str], more: Collection[str]) -> Item:
    line = row.node.line

    def scalar(text: str) -> Node:
        return Node(text, line, 1, text)

    relation = columns.get("user_relation")
    user = f"{columns['user_type']}:{columns['user_id']}" + (f"#{relation}" if relation else "")
    members = {
        "user": scalar(user),
        "relation": scalar(columns["relation"]),
        "object": scalar(f"{columns['object_type']}:{columns['object_id']}"),
    }
    if name := columns.get("condition_name"):
        condition = {"name": scalar(name)}
        if context := columns.get("condition_context"):
            condition["context"] = parse_json(context, row.file, line=line).node
        members["condition"] = Node(condition, line, 1)
    members |= {name: scalar(columns[name]) for name in more if columns.get(name)}
    return Item(row.file, Node(members, line, 1), row.path)
