"""Files of tests for a permission model, in the format of OpenFGA's `fga model test`: `.fga.yaml`.

All that such a file names is read and checked here: the model, the tuples, and that the tests are made as they should
be. What they ask may still be nonsense to the model; to find out is what they are run for.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from watchword.cli.documents import Folder, Item, parse_json, parse_yaml, read_text
from watchword.cli.failures import Failure
from watchword.cli.tuple_files import Tuples, context_in, items_in

if TYPE_CHECKING:
    from watchword.server.permissions.model import Model
    from watchword.server.permissions.plan import Plan
    from watchword.server.permissions.problems import Position
    from watchword.server.permissions.relationships import Relationship

MAX_QUESTIONS: Final = 100_000
"""Assertions in one file. A few lines can ask for the product of many users, objects and relations."""
MAX_CONTEXT_TEXT: Final = 200
"""How many characters of a context a person is shown."""

_TUPLES: Final = ("tuples", "tuple_file", "tuple_files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and what should be answered.

    place: where that stands, as `file:line`.
    context_text: the context as a person is shown it. Made once for all questions that share it.
    """

    place: str
    relation: str
    context: Mapping[str, Any]
    context_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Question):
    """Whether a subject has a relation to an object."""

    subject: str
    object: str
    expected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListObjects(Question):
    """All objects of a type to which a subject has a relation."""

    subject: str
    type: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsers(Question):
    """All who have a relation to an object. filters: of which kinds, as `type` or `type#relation`."""

    object: str
    filters: tuple[str, ...]
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoreTest:
    """A test: relationships that are there for it only, and what to ask."""

    name: str
    relationships: "tuple[Relationship, ...]"
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """A model, relationships and tests."""

    name: str
    plan: "Plan"
    relationships: "tuple[Relationship, ...]"
    tests: tuple[StoreTest, ...]


def read_store(file: Path, *, external: bool = False) -> Store:
    """Read a file and those that it names. external: whether they may be outside its folder.

    Raises:
        Failure: something in them is not as it should be. Says where.

    """
    top = parse_yaml(read_text(file), str(file))
    folder = Folder(file.parent, external=external)
    fields = top.fields("name", "model", "model_file", *_TUPLES, "tests")
    plan = _plan(top, fields, folder)
    stored = Tuples(plan, {})
    stored.read(fields, folder)
    tests = []
    left = MAX_QUESTIONS
    for index, item in enumerate(items_in(fields, "tests")):
        names = ("name", "description", *_TUPLES, "check", "list_objects", "list_users")
        parts = item.fields(*names)
        name = parts["name"].text() if "name" in parts else f"test {index + 1}"
        own = Tuples(plan, stored.found)
        own.read(parts, folder)
        questions = []
        for question in _questions(parts):
            left -= 1
            if left < 0:
                raise item.wrong(f"is beyond the {MAX_QUESTIONS:,} assertions that a file may have: split the file")
            questions.append(question)
        tests.append(StoreTest(name, own.relationships(), tuple(questions)))
    name = fields["name"].text() if "name" in fields else ""
    return Store(name, plan, stored.relationships(), tuple(tests))


# ----- the model ------------------------------------------------------------------------------------------------------


def _plan(top: Item, fields: Mapping[str, Item], folder: Folder) -> "Plan":
    from watchword.server.permissions.checks import require_sound  # noqa: PLC0415
    from watchword.server.permissions.conditions import CompiledCondition, InvalidCondition  # noqa: PLC0415
    from watchword.server.permissions.plan import Plan  # noqa: PLC0415
    from watchword.server.permissions.problems import InvalidModel  # noqa: PLC0415

    given = [fields[name] for name in ("model", "model_file") if name in fields]
    if len(given) != 1:
        raise top.wrong("must have one of model and model_file")
    source = _Source.inline(given[0]) if "model" in fields else _Source.named(given[0], folder)
    try:
        model = source.parsed()
        require_sound(model)
    except InvalidModel as error:
        problems = [f"{source.place(problem.position)}{problem.message}" for problem in error.problems]
        raise Failure("\n".join(problems)) from None
    for condition in model.conditions.values():
        try:
            CompiledCondition(condition)
        except InvalidCondition as error:
            place = source.place(condition.position)
            raise Failure(f"{place}The condition '{condition.name}' cannot be used: {error}") from None
    return Plan(model)


@dataclass(frozen=True, slots=True)
class _Source:
    """A model as text. line: the line of the file before its first one; None if its lines are not the file's."""

    file: str
    text: str
    line: int | None = 0
    prefix: str = ""

    @classmethod
    def inline(cls, item: Item) -> "_Source":
        if item.node.block:
            return cls(item.file, item.text(), item.node.line)
        return cls(item.file, item.text(), None, f"{item.place}: The model: ")

    @classmethod
    def named(cls, item: Item, folder: Folder) -> "_Source":
        if item.text().endswith(".mod"):
            raise item.wrong("names a model made of modules, which is not supported yet: join the modules in one file")
        file = folder.file(item)
        return cls(str(file), read_text(file), None if file.suffix == ".json" else 0, f"{file}: ")

    def parsed(self) -> "Model":
        from watchword.server.permissions.dsl import parse_dsl  # noqa: PLC0415
        from watchword.server.permissions.fga_json import from_json  # noqa: PLC0415

        if Path(self.file).suffix == ".json" and self.line is None:
            return from_json(parse_json(self.text, self.file).plain())
        return parse_dsl(self.text)

    def place(self, position: "Position | None") -> str:
        if position is None:
            return self.prefix or f"{self.file}: "
        if self.line is None:
            return f"{self.prefix}{position}: "
        return f"{self.file}:{self.line + position.line + 1}: "


# ----- questions ------------------------------------------------------------------------------------------------------


def _questions(test: Mapping[str, Item]) -> Iterator[Question]:
    for item in items_in(test, "check"):
        yield from _checks(item)
    for item in items_in(test, "list_objects"):
        yield from _object_lists(item)
    for item in items_in(test, "list_users"):
        yield from _user_lists(item)


def _checks(item: Item) -> Iterator[Check]:
    fields = item.fields("user", "users", "object", "objects", "context", "assertions")
    context, text = _context(fields)
    assertions = item.needed(fields, "assertions").members()
    objects = _one_or_many(item, fields, "object")
    for subject in _one_or_many(item, fields, "user"):
        for object_ in objects:
            for relation, expected in assertions.items():
                yield Check(
                    place=expected.place,
                    relation=relation,
                    context=context,
                    context_text=text,
                    subject=subject,
                    object=object_,
                    expected=expected.flag(),
                )


def _context(fields: Mapping[str, Item]) -> tuple[dict[str, Any], str]:
    context = context_in(fields)
    text = json.dumps(context) if context else ""
    return context, text if len(text) <= MAX_CONTEXT_TEXT else f"{text[:MAX_CONTEXT_TEXT]}…"


def _one_or_many(item: Item, fields: Mapping[str, Item], name: str) -> list[str]:
    one, many = fields.get(name), items_in(fields, f"{name}s")
    if (one is None) == (not many):
        raise item.wrong(f"must have one of {name} and {name}s")
    return [value.text() for value in many] if one is None else [one.text()]


def _object_lists(item: Item) -> Iterator[ListObjects]:
    fields = item.fields("user", "type", "context", "assertions")
    context, text = _context(fields)
    for relation, expected in item.needed(fields, "assertions").members().items():
        yield ListObjects(
            place=expected.place,
            relation=relation,
            context=context,
            context_text=text,
            subject=item.needed(fields, "user").text(),
            type=item.needed(fields, "type").text(),
            expected=tuple(name.text() for name in expected.items()),
        )


def _user_lists(item: Item) -> Iterator[ListUsers]:
    fields = item.fields("object", "user_filter", "context", "assertions")
    context, text = _context(fields)
    filters = tuple(map(_filter, item.needed(fields, "user_filter").items()))
    if not filters:
        raise fields["user_filter"].wrong("must have at least one type")
    for relation, expected in item.needed(fields, "assertions").members().items():
        yield ListUsers(
            place=expected.place,
            relation=relation,
            context=context,
            context_text=text,
            object=item.needed(fields, "object").text(),
            filters=filters,
            expected=tuple(name.text() for name in expected.needed(expected.fields("users"), "users").items()),
        )


def _filter(item: Item) -> str:
    fields = item.fields("type", "relation")
    type_ = item.needed(fields, "type").text()
    return f"{type_}#{fields['relation'].text()}" if "relation" in fields else type_
