"""OpenFGA's JSON form of a model: what is refused, and how."""

from typing import Any

import pytest

from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.fga_json import from_json
from watchword.server.permissions.problems import InvalidModel


def with_type(**fields: Any) -> dict[str, Any]:
    return {"schema_version": "1.1", "type_definitions": [{"type": "t", **fields}]}


def with_condition(**fields: Any) -> dict[str, Any]:
    return {"conditions": {"c": {"name": "c", "expression": "x", **fields}}}


T = "type_definitions[0]"
C = "conditions.c"
A = f"{T}.relations.a"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "The model: must be an object."),
        ({1: 2}, "The model: must be an object."),
        ({"schema_version": 1.1}, "schema_version: must be a string."),
        ({"type_definitions": {}}, "type_definitions: must be a list."),
        ({"type_definitions": ["t"]}, f"{T}: must be an object."),
        ({"type_definitions": [{}]}, f"{T}.type: must be a string."),
        ({"type_definitions": [{"type": "t"}, {"type": "t"}]}, "type_definitions[1]: the type 't' is already defined"),
        (with_type(relations=[]), f"{T}.relations: must be an object."),
        (with_type(relations={"a": {}}), f"{A}: must be one of this, computedUserset"),
        (with_type(relations={"a": {"this": {}, "union": {}}}), f"{A}: must be one of this"),
        (
            with_type(relations={"a": {"union": {"child": [{"this": {}}]}}}),
            f"{A}.union.child: must have at",
        ),
        (with_type(relations={"a": {"union": {"child": 1}}}), f"{A}.union.child: must be a list."),
        (
            with_type(relations={"a": {"computedUserset": {}}}),
            f"{A}.computedUserset.relation: must be a str",
        ),
        (
            with_type(metadata={"relations": {"a": []}}, relations={"a": {"this": {}}}),
            f"{T}.metadata.relations.a: must",
        ),
        (
            {"conditions": {"c": {"name": "d", "expression": "x"}}},
            f"{C}.name: the condition is named 'd' inside",
        ),
        (with_condition(expression=None), f"{C}.expression: must be a string."),
        (with_condition(parameters={"x": {"type_name": "TYPE_NAME_SET"}}), f"{C}.parameters.x.type_name: must"),
        (
            with_condition(parameters={"x": {"type_name": "TYPE_NAME_LIST"}}),
            f"{C}.parameters.x.generic_types: ",
        ),
    ],
)
def test_json_of_another_shape_is_refused_with_its_path(document: Any, message: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        from_json(document)
    assert str(caught.value).startswith(message)


def test_json_as_other_tools_write_it() -> None:
    restriction = {"type": "t", "relation": "", "condition": "", "wildcard": None}
    document = with_type(
        relations={"a": {"this": {}, "union": None}},
        metadata={"relations": {"a": {"directly_related_user_types": [restriction], "module": ""}}, "module": ""},
    )
    model = from_json({**document, "id": "01", "conditions": None})
    assert model == parse_dsl("model\n  schema 1.1\ntype t\n  relations\n    define a: [t]\n")


def test_deep_json_is_refused() -> None:
    rewrite: dict[str, Any] = {"this": {}}
    for _ in range(10_000):
        rewrite = {"difference": {"base": rewrite, "subtract": {"this": {}}}}
    with pytest.raises(InvalidModel, match="nested too deep"):
        from_json({"type_definitions": [{"type": "t", "relations": {"a": rewrite}}]})
