"""YAML and JSON written by strangers, read as trees that know where each value stands.

YAML is built from the parser's events, not by the library's loaders: those keep no places, recurse as deep as the
document does, and read `no` as false and a time as an object. Plain values mean what YAML 1.2 says.

Threat: a small file that means a large one. What aliases repeat is counted as if it were written out, so that neither
a few lines of them nor deep nesting cost more than a second.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from watchword.cli.failures import Code, Failure

if TYPE_CHECKING:
    from yaml._yaml import Mark as CMark
    from yaml.error import Mark
    from yaml.events import Event, ScalarEvent

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_VALUES: Final = 250_000
"""Values in a document, those that aliases repeat counted each time."""
MAX_DEPTH: Final = 64

_TOO_MANY: Final = f"holds more than {MAX_VALUES:,} values, aliases counted: split it, or put tuples into a CSV file"
_TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} levels deep: nothing that belongs here is"


@dataclass(frozen=True, slots=True)
class Node:
    """A value: a mapping, a list or a scalar; with its line and column, counted from 1, or 0 if they are not known.

    text: a scalar as it was written.
    block: whether it is a literal block (`|`), whose content starts on the next line.
    """

    value: "dict[str, Node] | list[Node] | str | float | bool | None"
    line: int = 0
    column: int = 0
    text: str = ""
    block: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A value in a document, to be read as what it should be. Whatever is not as it should be raises `Failure`."""

    file: str
    node: Node
    path: str = ""

    @property
    def place(self) -> str:
        """Where it stands: `file:line`, or the file alone."""
        return f"{self.file}:{self.node.line}" if self.node.line else self.file

    def wrong(self, rule: str) -> Failure:
        """Make the failure that says where a rule is broken."""
        column = f":{self.node.column}" if self.node.line else ""
        return Failure(f"{self.place}{column}: {self.path or 'The file'} {rule}.")

    def fields(self, *names: str) -> "dict[str, Item]":
        """The members of a mapping that has no others than these. Empty ones are left out."""
        members = self.members()
        for name, item in members.items():
            if name not in names:
                raise item.wrong(f"is not known here: {', '.join(names)} are")
        return {name: item for name, item in members.items() if item.node.value is not None}

    def needed(self, fields: "Mapping[str, Item]", name: str) -> "Item":
        """One of the members, which must be there."""
        if name not in fields:
            raise self.wrong(f"must have a value for {name}")
        return fields[name]

    def members(self) -> "dict[str, Item]":
        """The members of a mapping."""
        if not isinstance(self.node.value, dict):
            raise self.wrong("must be a mapping, with a name and a value in each line")
        prefix = f"{self.path}." if self.path else ""
        # A name of a stranger's choice may be as long as the file.
        return {name: Item(self.file, node, f"{prefix}{name[:100]}") for name, node in self.node.value.items()}

    def items(self) -> "list[Item]":
        """The items of a list."""
        if not isinstance(self.node.value, list):
            raise self.wrong("must be a list, [] if it is to be empty")
        return [Item(self.file, node, f"{self.path}[{index}]") for index, node in enumerate(self.node.value)]

    def text(self) -> str:
        """A text. A number is one too, as it is written."""
        if isinstance(self.node.value, bool | dict | list) or self.node.value is None:
            raise self.wrong("must be a text")
        return self.node.text

    def flag(self) -> bool:
        """True or false; YAML's older words for them as well, as OpenFGA takes those where only a truth can stand."""
        if isinstance(self.node.value, bool):
            return self.node.value
        if isinstance(self.node.value, str) and self.node.value in _FLAGS:
            return _FLAGS[self.node.value]
        raise self.wrong("must be true or false")

    def plain(self) -> Any:
        """The value in JSON's types."""
        return _plain(self.node)


_FLAGS: Final = {"yes": True, "on": True, "no": False, "off": False}


def _plain(node: Node) -> Any:
    match node.value:
        case dict() as members:
            return {name: _plain(member) for name, member in members.items()}
        case list() as items:
            return [_plain(item) for item in items]
    return node.value


def read_text(file: Path) -> str:
    """Read a file that is not too large and is text."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror or "it is no file") if isinstance(error, OSError) else "its name is no name of a file"
        raise Failure(f"{file} cannot be read: {reason}.", code=Code.USAGE) from None
    if len(content) > MAX_BYTES:
        raise Failure(f"{file} is too large: {MAX_BYTES // 1024 // 1024} MiB are the most. Split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Failure(f"{file}:{line}: The file is not text in UTF-8: convert it.") from None


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files are that a file names.

    Threat: a file of tests from elsewhere has others read and shown, or a device from which reading never ends. So
    what it names is a regular file in its own folder, unless it is trusted as `external` says.
    """

    path: Path
    external: bool

    def file(self, item: Item) -> Path:
        """The file that a value names."""
        file = self.path / item.text()
        try:
            regular = file.is_file()
            within = file.resolve().is_relative_to(self.path.resolve())
        except (OSError, ValueError, RuntimeError):
            regular, within = False, True
        if not within and not self.external:
            raise item.wrong("names a file outside the folder: use --allow-external-files if you trust this file")
        if not regular:
            raise item.wrong(f"names {item.text()[:100]}, which is no file: paths start at the folder of this file")
        return file


# ----- JSON -----------------------------------------------------------------------------------------------------------


def parse_json(text: str, file: str, *, line: int = 0) -> Item:
    """Read JSON. All of it is said to stand on the given line, if there is one."""
    top = Item(file, Node(None, line))
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Item(file, Node(None, line or error.lineno, error.colno)).wrong(f"is not JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise top.wrong(f"is not JSON that can be read: it {_TOO_DEEP}, or has a number that is too long") from None
    return Item(file, _JsonTree(top).node(value, 0))


class _JsonTree:
    def __init__(self, top: Item) -> None:
        self._top = top
        self._left = MAX_VALUES

    def node(self, value: Any, depth: int) -> Node:
        self._left -= 1
        if self._left < 0:
            raise self._top.wrong(_TOO_MANY)
        if depth > MAX_DEPTH:
            raise self._top.wrong(_TOO_DEEP)
        line = self._top.node.line
        match value:
            case dict():
                return Node({name: self.node(member, depth + 1) for name, member in value.items()}, line)
            case list():
                return Node([self.node(item, depth + 1) for item in value], line)
        return Node(value, line, text=str(value))


# ----- YAML -----------------------------------------------------------------------------------------------------------

_PLAIN_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]{1,300}|0o[0-7]{1,300}|0x[0-9a-fA-F]{1,300}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_TEXT_TAGS: Final = {None, "!", "tag:yaml.org,2002:str"}
_COLLECTION_TAGS: Final = {None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_TAGGED: Final = "has a tag (!…) that means nothing here: remove it"


def parse_yaml(text: str, file: str) -> Item:
    """Read the one document of YAML that a text is."""
    import yaml  # noqa: PLC0415 - only two commands need it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _YamlTree(file, yaml.events)
    try:
        for event in yaml.parse(text, Loader=loader):
            tree.take(event)
    except yaml.MarkedYAMLError as error:
        node = _at(error.problem_mark or error.context_mark)
        raise Item(file, node).wrong(f"is not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "it cannot be read")
        raise Item(file, Node(None)).wrong(f"is not YAML: {reason}") from None
    return Item(file, tree.root)


def _at(mark: "Mark | CMark | None") -> Node:
    return Node(None) if mark is None else Node(None, mark.line + 1, mark.column + 1)


@dataclass(slots=True)
class _Open:
    """A mapping or a list of which the end was not seen yet."""

    node: Node
    anchor: str | None
    started: int
    """How many values there were before it."""
    height: int = 0
    key: str | None = None


@dataclass(slots=True)
class _YamlTree:
    """Builds a tree of events."""

    file: str
    events: Any
    """The library's module of this name. It is not loaded with this one, for the sake of all other commands."""
    root: Node = field(default_factory=lambda: Node(None))
    documents: int = 0
    values: int = 0
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int, int]] = field(default_factory=dict)
    """What is named: the node, how many values it is made of, and how deep it is."""

    def take(self, event: "Event") -> None:
        """Take the next event."""
        events = self.events
        match event:
            case events.ScalarEvent():
                self._add(self._scalar(event), event.anchor, 1, 0)
            case events.CollectionStartEvent():
                at = _at(event.start_mark)
                if len(self.open) >= MAX_DEPTH:
                    raise self._wrong(at, _TOO_DEEP)
                if event.tag not in _COLLECTION_TAGS:
                    raise self._wrong(at, _TAGGED)
                mapping = isinstance(event, events.MappingStartEvent)
                self.open.append(_Open(Node({} if mapping else [], at.line, at.column), event.anchor, self.values))
            case events.CollectionEndEvent():
                closed = self.open.pop()
                self._add(closed.node, closed.anchor, self.values - closed.started + 1, closed.height + 1, counted=True)
            case events.AliasEvent():
                self._alias(event.anchor, _at(event.start_mark))
            case events.DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    message = "has more than one document: remove the line --- and what does not belong here"
                    raise self._wrong(_at(event.start_mark), message)

    def _scalar(self, event: "ScalarEvent") -> Node:
        mark, text = event.start_mark, event.value
        if event.tag not in _TEXT_TAGS:
            raise self._wrong(_at(mark), _TAGGED)
        value = text if event.style or event.tag else _resolved(text)
        # Not by `_at`: most values are scalars, and time counts.
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        return Node(value, line, column, text, event.style == "|")

    def _alias(self, name: str, at: Node) -> None:
        if any(item.anchor == name for item in self.open):
            raise self._wrong(at, f"has the alias *{name[:100]} within what it stands for: write that out")
        if name not in self.anchors:
            raise self._wrong(at, f"has the alias *{name[:100]}, but no anchor &{name[:100]} before it")
        node, size, height = self.anchors[name]
        if len(self.open) + height > MAX_DEPTH:
            raise self._wrong(at, _TOO_DEEP)
        self._add(node, None, size, height)

    def _add(self, node: Node, anchor: str | None, size: int, height: int, *, counted: bool = False) -> None:
        """Put a value where it belongs. Of a list or a mapping, all but itself was counted already."""
        self.values += 1 if counted else size
        if self.values > MAX_VALUES:
            raise self._wrong(node, _TOO_MANY)
        if anchor is not None:
            self.anchors[anchor] = node, size, height
        if not self.open:
            self.root = node
            return
        above = self.open[-1]
        above.height = max(above.height, height)
        match above.node.value:
            case list() as items:
                items.append(node)
            case dict() as members if above.key is None:
                if isinstance(node.value, dict | list):
                    raise self._wrong(node, "has a list or a mapping as a name: names are texts")
                if node.text in members:
                    raise self._wrong(node, f"has '{node.text[:100]}' twice in one mapping: keep one")
                above.key = node.text
            case dict() as members:
                members[above.key] = node
                above.key = None

    def _wrong(self, at: Node, rule: str) -> Failure:
        return Item(self.file, at).wrong(rule)


def _resolved(text: str) -> str | float | bool | None:
    """What a plain scalar means."""
    if text in _PLAIN_WORDS:
        return _PLAIN_WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0 if text.startswith(("0o", "0x")) else 10)
    if _FLOAT.fullmatch(text) or _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1) if _INFINITE.fullmatch(text) else text)
    return text
