"""`watchword model constants`: modules of names that type checkers read."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.cli.constants import constants_module
from watchword.server.permissions.checks import require_sound
from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.fga_json import from_json
from watchword.server.permissions.model import Condition, Model, Relation, This, TypeDefinition, TypeRestriction

WATCHWORD = [sys.executable, "-c", "from watchword.cli import main; main()"]
MODEL = """\
model
  schema 1.1

type user

type team
  relations
    define member: [user, team#member]

type document
  relations
    define owner: [user, team#member]
    define viewer: [user:*, user with weekday] or owner
    define can_edit: owner

condition weekday(day: int) {
  day < 6
}
"""
WRITTEN = '''\
"""The types, relations and conditions of a permission model.

Written by `watchword model constants`. Do not edit: change the model and write this file again.
"""

from typing import Final, Literal, TypeAlias

Type: TypeAlias = Literal[
    "user",
    "team",
    "document",
]


class Condition:
    """The names of conditions."""

    WEEKDAY: Final = "weekday"


class User:
    """Objects of the type `user`, and the relations to them."""

    TYPE: Final = "user"
    EVERYBODY: Final = "user:*"

    @classmethod
    def object(cls, object_id: str) -> str:
        """Name an object by its id."""
        return f"{cls.TYPE}:{object_id}"


class Team:
    """Objects of the type `team`, and the relations to them."""

    Relation: TypeAlias = Literal["member"]

    TYPE: Final = "team"
    MEMBER: Final = "member"

    @classmethod
    def object(cls, object_id: str) -> str:
        """Name an object by its id."""
        return f"{cls.TYPE}:{object_id}"

    @classmethod
    def set(cls, object_id: str, relation: Relation) -> str:
        """Name all who have a relation to an object."""
        return f"{cls.TYPE}:{object_id}#{relation}"


class Document:
    """Objects of the type `document`, and the relations to them."""

    Relation: TypeAlias = Literal[
        "owner",
        "viewer",
        "can_edit",
    ]

    TYPE: Final = "document"
    OWNER: Final = "owner"
    VIEWER: Final = "viewer"
    CAN_EDIT: Final = "can_edit"

    @classmethod
    def object(cls, object_id: str) -> str:
        """Name an object by its id."""
        return f"{cls.TYPE}:{object_id}"

    @classmethod
    def set(cls, object_id: str, relation: Relation) -> str:
        """Name all who have a relation to an object."""
        return f"{cls.TYPE}:{object_id}#{relation}"
'''


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [*WATCHWORD, "model", "constants", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


def tool(name: str, *arguments: object, cwd: Path) -> str:
    command = [sys.executable, "-m", name, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def model_of(types: dict[str, list[str]], conditions: tuple[str, ...] = ()) -> Model:
    """A model of types with relations that everybody can be granted."""
    first = TypeRestriction(next(iter(types)), wildcard=True)
    return Model(
        {
            name: TypeDefinition(name, {relation: Relation(relation, This(), (first,)) for relation in relations})
            for name, relations in types.items()
        },
        {name: Condition(name, {}, "true") for name in conditions},
    )


def loaded(text: str) -> ModuleType:
    spec = importlib.util.spec_from_loader("made", loader=None)
    assert spec
    module = importlib.util.module_from_spec(spec)
    exec(compile(text, "made.py", "exec"), module.__dict__)
    return module


def constants(of: type) -> dict[str, str]:
    return {name: value for name, value in vars(of).items() if name.isupper() and isinstance(value, str)}


def test_what_is_written():
    assert constants_module(parse_dsl(MODEL)) == WRITTEN
    made = loaded(WRITTEN)
    assert made.Document.object("42") == "document:42"
    assert made.Team.set("eng", made.Team.MEMBER) == "team:eng#member"


# ----- type checkers --------------------------------------------------------------------------------------------------

CALLS = """\
from made import Condition, Document, Team, Type, User


def check(*, subject: str, relation: str, object: str) -> None: ...
def may(relation: Document.Relation) -> None: ...
def count(type_: Type) -> None: ...


check(subject=User.object("ana"), relation=Document.CAN_EDIT, object=Document.object("42"))
check(subject=Team.set("eng", Team.MEMBER), relation=Document.VIEWER, object=User.EVERYBODY)
check(subject=Team.set("eng", "member"), relation=Condition.WEEKDAY, object="")
may(Document.OWNER)
may("owner")
count(Team.TYPE)

Document.CAN_EDITT  # wrong
Document.EVERYBODY  # wrong
User.set  # wrong
Team.set("eng", "membr")  # wrong
Team.set("eng", Document.OWNER)  # wrong
may("ownr")  # wrong
may(Team.MEMBER)  # wrong
count("usr")  # wrong
Condition.WEEKDAYS  # wrong
Document.OWNER = "viewer"  # wrong
"""


@pytest.mark.parametrize(
    "checker", [["mypy", "--strict", "--no-error-summary", "--no-color-output"], ["pyright", "--pythonpath"]]
)
def test_checkers_find_what_is_misspelled_and_nothing_else(checker, tmp_path):
    (tmp_path / "made.py").write_text(WRITTEN)
    (tmp_path / "calls.py").write_text(CALLS)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "reportUnusedExpression": "none"}')
    command = [*checker, sys.executable] if checker[0] == "pyright" else checker
    said = tool(*command, "made.py", "calls.py", cwd=tmp_path)
    found = {int(line) for line in re.findall(r"calls\.py:(\d+)(?::\d+)?(?: -|:) error", said)}
    assert found == {number for number, line in enumerate(CALLS.splitlines(), 1) if line.endswith("# wrong")}, said
    assert "made.py:" not in said.replace("calls.py:", "")


# ----- names ----------------------------------------------------------------------------------------------------------


def test_names_that_python_or_the_module_has_use_for():
    model = model_of(
        {
            "class": ["import", "type", "everybody", "relation", "object", "set"],
            "none": ["None"],
            "final": [],
            "literal": [],
            "type": [],
            "type-alias": [],
            "condition": [],
            "str": ["a"],
        },
        ("if-only",),
    )
    made = loaded(constants_module(model))
    assert constants(made.Class) == {
        "TYPE": "class",
        "EVERYBODY": "class:*",
        "IMPORT": "import",
        "TYPE_": "type",
        "EVERYBODY_": "everybody",
        "RELATION": "relation",
        "OBJECT": "object",
        "SET": "set",
    }
    assert made.Class.object("x") == "class:x"
    names = [made.None_, made.Final_, made.Literal_, made.Type_, made.TypeAlias_, made.Condition_, made.Str]
    assert [item.TYPE for item in names] == ["none", "final", "literal", "type", "type-alias", "condition", "str"]
    assert constants(made.Condition) == {"IF_ONLY": "if-only"}


def test_names_that_would_become_one_stay_apart():
    relations = ["can-edit", "can_edit", "canEdit", "can.edit", "can_edit_2", "CAN_EDIT", "_can_edit", "__"]
    made = loaded(constants_module(model_of({"user_group": relations, "user-group": [], "UserGroup": [], "_": []})))
    assert constants(made.UserGroup) == {
        "TYPE": "user_group",
        "EVERYBODY": "user_group:*",
        "CAN_EDIT": "can-edit",
        "CAN_EDIT_2": "can_edit",
        "CAN_EDIT_3": "canEdit",
        "CAN_EDIT_4": "can.edit",
        "CAN_EDIT_2_2": "can_edit_2",
        "CAN_EDIT_5": "CAN_EDIT",
        "CAN_EDIT_6": "_can_edit",
        "NAME": "__",
    }
    assert (made.UserGroup_2.TYPE, made.UserGroup_3.TYPE, made.Name.TYPE) == ("user-group", "UserGroup", "_")


def test_the_same_model_in_either_form_gives_the_same_module():
    from watchword.server.permissions.fga_json import to_json

    model = parse_dsl(MODEL)
    require_sound(model)
    assert constants_module(from_json(json.loads(json.dumps(to_json(model))))) == WRITTEN


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}(?:[/.-][A-Za-z0-9_]{1,4}){0,2}-?", fullmatch=True)


@settings(max_examples=60, deadline=None)
@given(
    types=st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=6), min_size=1, max_size=5),
    conditions=st.lists(NAMES, unique=True, max_size=3),
)
def test_every_name_is_there_once(types, conditions):
    text = constants_module(model_of(types, tuple(conditions)))
    made = loaded(text)
    classes = [item for item in vars(made).values() if isinstance(item, type) and hasattr(item, "object")]
    assert {item.TYPE: set(constants(item).values()) - {item.TYPE, f"{item.TYPE}:*"} for item in classes} == {
        name: set(relations) - {name, f"{name}:*"} for name, relations in types.items()
    }
    assert all(len(constants(item)) == 1 + ("EVERYBODY" in vars(item)) + len(types[item.TYPE]) for item in classes)
    assert not conditions or sorted(constants(made.Condition).values()) == sorted(conditions)


def test_it_is_formatted_and_lints(tmp_path):
    for length in [*range(1, 30), *range(80, 125), 254]:
        name = "n" * length
        # The longest that relations and conditions may have, and the most that a constant's name can grow by.
        long = ("aB" * 25)[: min(length, 50)]
        (tmp_path / f"one_{length}.py").write_text(constants_module(model_of({name: [long]}, (long,))))
        (tmp_path / f"more_{length}.py").write_text(constants_module(model_of({name: ["a", long], "b": [long[:33]]})))
    (tmp_path / "written.py").write_text(WRITTEN)
    (tmp_path / "empty.py").write_text(constants_module(Model({})))
    settings_ = ["--isolated", "--line-length", "120", "--target-version", "py311", "--no-cache"]
    assert tool("ruff", "format", "--check", *settings_, ".", cwd=tmp_path) == ""
    assert tool("ruff", "check", "--select", "E4,E7,E9,F,I,D2,D3,B,A", *settings_, "written.py", cwd=tmp_path) == ""
    (tmp_path / "written.py").write_text(WRITTEN.replace('"user",\n    "team"', '"user", "team"'))
    assert "written.py" in tool("ruff", "format", "--check", *settings_, ".", cwd=tmp_path)


# ----- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_and_checks(tmp_path):
    (tmp_path / "model.fga").write_text(MODEL)
    assert run("model.fga", cwd=tmp_path).stdout == WRITTEN
    assert json.loads(run("model.fga", "--json", cwd=tmp_path).stdout) == {"python": WRITTEN.rstrip("\n")}
    written = ["model.fga", "--output", "made by us.py"]
    stale = run(*written, "--check", cwd=tmp_path)
    assert stale.returncode == 1
    assert "run `watchword model constants model.fga --output 'made by us.py'`" in stale.stderr
    assert not (tmp_path / "made by us.py").exists()
    assert run(*written, cwd=tmp_path).returncode == 0
    assert (tmp_path / "made by us.py").read_text() == WRITTEN
    assert run(*written, "--check", cwd=tmp_path).returncode == 0
    (tmp_path / "made by us.py").write_text(WRITTEN + "\n")
    assert run(*written, "--check", cwd=tmp_path).returncode == 1
    assert (tmp_path / "made by us.py").read_text() == WRITTEN + "\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["model.fga", "--check"], 2, "--output"),
        (["nowhere.fga"], 2, "cannot be read"),
        (["broken.fga"], 1, "editor"),
        (["model.fga", "--output", "no/such/folder.py"], 2, "cannot be written"),
        (["model.fga", "--output", "."], 2, "cannot be written"),
        (["model.fga", "--output", "image.png"], 1, "not overwritten"),
    ],
)
def test_what_goes_wrong_is_said(arguments, code, says, tmp_path):
    (tmp_path / "model.fga").write_text(MODEL)
    (tmp_path / "broken.fga").write_text(MODEL.replace("or owner", "or editor"))
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    ran = run(*arguments, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert (tmp_path / "image.png").read_bytes() == b"\x89PNG"
