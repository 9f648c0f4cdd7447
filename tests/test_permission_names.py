"""Names of objects and subjects: `type:id`, `type:id#relation`, `type:*`."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchword.server.permissions.names import (
    InvalidName,
    ObjectName,
    SubjectName,
    is_object_id,
    is_relation_name,
    is_type_name,
    parse_object,
    parse_subject,
)

CORPUS = Path(__file__).parents[2] / "shared/corpora/openfga-language/object-id-validation-cases.yaml"


def id_cases() -> list[Any]:
    if not CORPUS.is_file():
        return [pytest.param(None, marks=pytest.mark.skip("no corpora beside the project"))]
    cases = yaml.safe_load(CORPUS.read_text(encoding="utf-8"))
    assert cases
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", id_cases())
def test_ids_of_openfga(case: dict[str, Any]) -> None:
    assert is_object_id(case["object_id"]) is case["valid"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("document:42", ObjectName("document", "42")),
        ("a/b.c:x|y*@z.+/-_", ObjectName("a/b.c", "x|y*@z.+/-_")),
        ("type:" + "i" * 251, ObjectName("type", "i" * 251)),
    ],
)
def test_objects(text: str, name: ObjectName) -> None:
    assert parse_object(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("user:ana", SubjectName("user", "ana")),
        ("group:eng#member", SubjectName("group", "eng", "member")),
        ("user:*", SubjectName("user", "*")),
        (f"t:{'i' * 254}#{'r' * 50}", SubjectName("t", "i" * 254, "r" * 50)),
    ],
)
def test_subjects(text: str, name: SubjectName) -> None:
    assert parse_subject(text) == name
    assert str(name) == text
    assert name.is_wildcard is text.endswith("*")


NO_OBJECTS = ["", ":", "document", "document:", ":42", "document:a:b", "document:a b", "document:é", "document:42\n"]
NO_OBJECTS += ["document:*", "document:*a", "do cument:1", "or:1", "1a:1", "type:" + "i" * 252, "document:\0", " a:b"]


@pytest.mark.parametrize("text", [*NO_OBJECTS, "group:eng#member", "user:ana#"])
def test_texts_that_are_no_objects(text: str) -> None:
    with pytest.raises(InvalidName, match="must be type:id"):
        parse_object(text)


NO_SUBJECTS = [text for text in NO_OBJECTS if text != "document:*"]
NO_SUBJECTS += [
    "*",
    "user:*#member",
    "user:ana#",
    "user:ana#a#b",
    "user:ana#a b",
    "user:ana#or",
    f"a:b#{'r' * 51}",
    "#a",
]


@pytest.mark.parametrize("text", NO_SUBJECTS)
def test_texts_that_are_no_subjects(text: str) -> None:
    with pytest.raises(InvalidName, match="must be type:id"):
        parse_subject(text)


def test_lengths_of_types_and_relations() -> None:
    assert is_type_name("t" * 254)
    assert not is_type_name("t" * 255)
    assert is_relation_name("r" * 50)
    assert not is_relation_name("r" * 51)


@given(st.text(max_size=12) | st.text(alphabet="ab1:#*|@ .\n", max_size=12))
def test_any_text_is_read_back_or_refused(text: str) -> None:
    try:
        name = parse_subject(text)
    except InvalidName:
        return
    assert str(name) == text
    if name.relation is None and not name.is_wildcard:
        assert str(parse_object(text)) == text
