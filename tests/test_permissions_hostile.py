"""Models and questions that are made to hurt: refused within a second, and the server goes on serving."""

import json
import time

import pytest
from permission_rpc import DENIED, Rpcs

from watchword.v1 import permissions_pb2 as pb

USER = "model\n  schema 1.1\ntype user\n"


def relation(text: str) -> str:
    return f"{USER}type doc\n  relations\n    define viewer: [user]\n    define editor: {text}\n"


def expression(text: str) -> str:
    return f"{USER}type doc\n  relations\n    define viewer: [user with c]\ncondition c(x: int) {{\n  {text}\n}}\n"


def document(definition: object) -> str:
    return json.dumps({"schema_version": "1.1", "type_definitions": definition})


def nested(depth: int, inner: str, opening: str, closing: str) -> str:
    return opening * depth + inner + closing * depth


def unions(depth: int) -> str:
    definition = nested(depth, '{"this": {}}', '{"union": {"child": [', "]}}")
    return f'{{"schema_version":"1.1","type_definitions":[{{"type":"doc","relations":{{"a":{definition}}}}}]}}'


DSL = {
    "nested 10,000 deep": relation(nested(10_000, "viewer", "(", ")")),
    "nested 10,000 deep with operators": relation(nested(10_000, "viewer", "(viewer or ", ")")),
    "never closed": relation("(" * 100_000),
    "an or of 20,000": relation(" or ".join(["nobody"] * 20_000)),
    "20,000 types to grant to": relation(f"[{', '.join(['user'] * 20_000)}]"),
    "a name of 200,000 characters": relation("x" * 200_000),
    "200,000 spaces": relation(" " * 200_000),
    "200,000 lines": USER + "\n" * 200_000 + "x",
    "a megabyte": USER + "# " + "x" * 1_000_000,
    "a megabyte of types": USER + "".join(f"type t{number}\n" for number in range(100_000)),
    "20,000 types, one of them wrong": USER + "".join(f"type t{number}\n" for number in range(18_000)) + "type user\n",
    "a condition nested 10,000 deep": expression(nested(10_000, "x", "(", ")") + " > 1"),
    "a condition nested 50,000 deep": expression(nested(50_000, "x", "-(", ")") + " > 1"),
    "a condition with lists in lists": expression(nested(20_000, "x", "[", "]") + " == []"),
    "a condition of 10,000 terms": expression(" || ".join(["x > 1"] * 10_000) + " ||"),
    "a condition with ten thousand negations": expression("!" * 50_000 + "true"),
    "a condition with a huge number": expression("x > " + "9" * 100_000),
    "a condition with a huge text": expression("x == '" + "a" * 200_000),
    "a circle of 3,000 relations": USER
    + "type doc\n  relations\n"
    + "".join(f"    define r{number}: r{(number + 1) % 3000}\n" for number in range(3_000)),
    "3,000 undefined relations": USER
    + "type doc\n  relations\n"
    + "".join(f"    define r{number}: u{number}\n" for number in range(3_000)),
}
LEAF = {"this": {}}
JSON = {
    "arrays 100,000 deep": nested(100_000, "", "[", "]"),
    "objects 50,000 deep": nested(50_000, "1", '{"a":', "}"),
    "objects of the form 900 deep": unions(900),
    "objects of the form 90 deep": unions(90),
    "a number of 100,000 digits": '{"schema_version": ' + "9" * 100_000 + "}",
    "a number of 5,000 digits": '{"schema_version": 1.1, "type_definitions": ' + "9" * 5_000 + "}",
    "a huge exponent": '{"schema_version": 1e999999999}',
    "NaN": '{"schema_version": NaN, "type_definitions": [Infinity]}',
    "half a pair": '{"schema_version": "1.1", "type_definitions": [{"type": "\\ud800"}]}',
    "half a pair in a relation": '{"type_definitions":[{"type":"d","relations":{"\\udfff":{}}}]}',
    "NUL": '{"schema_version": "1.1", "type_definitions": [{"type": "a\\u0000b"}]}',
    "an array": "[]",
    "null": "null",
    "a text": '"model"',
    "a number": "1",
    "types of the wrong kind": document("user"),
    "a type of the wrong kind": document([1]),
    "a type without a name": document([{}]),
    "a name of the wrong kind": document([{"type": 1}]),
    "relations of the wrong kind": document([{"type": "doc", "relations": [1]}]),
    "a relation of the wrong kind": document([{"type": "doc", "relations": {"a": 1}}]),
    "a relation of no kind": document([{"type": "doc", "relations": {"a": {}}}]),
    "a relation of unknown kind": document([{"type": "doc", "relations": {"a": {"other": {}}}}]),
    "a child of the wrong kind": document([{"type": "doc", "relations": {"a": {"union": {"child": [1]}}}}]),
    "children of the wrong kind": document([{"type": "doc", "relations": {"a": {"union": {"child": {}}}}}]),
    "a union of nothing": document([{"type": "doc", "relations": {"a": {"union": {}}}}]),
    "a union of no children": document([{"type": "doc", "relations": {"a": {"union": {"child": []}}}}]),
    "half a difference": document([{"type": "doc", "relations": {"a": {"difference": {"base": LEAF}}}}]),
    "metadata of the wrong kind": document([{"type": "doc", "relations": {"a": LEAF}, "metadata": [1]}]),
    "a restriction of the wrong kind": document(
        [{"type": "d", "relations": {"a": LEAF}, "metadata": {"relations": {"a": {"directly_related_user_types": 1}}}}]
    ),
    "conditions of the wrong kind": '{"schema_version": "1.1", "type_definitions": [], "conditions": [1]}',
    "a condition of the wrong kind": '{"schema_version": "1.1", "type_definitions": [], "conditions": {"a": 1}}',
    "parameters of the wrong kind": json.dumps(
        {
            "schema_version": "1.1",
            "type_definitions": [{"type": "user"}],
            "conditions": {"a": {"name": "a", "expression": "x > 1", "parameters": [1]}},
        }
    ),
    "a condition that comes to a map by lists": json.dumps(
        {
            "schema_version": "1.1",
            "type_definitions": [{"type": "user"}],
            "conditions": {
                "a": {"name": "a", "expression": "{[x]: 1}", "parameters": {"x": {"type_name": "TYPE_NAME_INT"}}}
            },
        }
    ),
    "another version": '{"schema_version": "9.9", "type_definitions": [{"type": "user"}]}',
    "200,000 types": json.dumps({"schema_version": "1.1", "type_definitions": [{"type": "a"}] * 60_000}),
}


@pytest.fixture
def rpcs(watchword, channel, metadata) -> Rpcs:
    return Rpcs(channel, metadata)


def assert_refused_soon(rpcs: Rpcs, request: pb.WriteModelRequest) -> None:
    started = time.monotonic()
    refused = rpcs.refused(request)
    took = time.monotonic() - started
    assert refused.code == "INVALID_ARGUMENT", refused
    assert refused.reason in {"INVALID_FIELD", "MODEL_INVALID"}, refused
    assert len(refused.message) < 10_000
    # Generous, for machines that are busy: what grows with the square of its size takes minutes.
    assert took < 5, took
    assert rpcs.check("user:ana", "member", "organization:acme").decision == DENIED


@pytest.mark.parametrize("name", DSL)
def test_dsl(rpcs, name):
    assert_refused_soon(rpcs, pb.WriteModelRequest(dsl=DSL[name]))


@pytest.mark.parametrize("name", JSON)
def test_json(rpcs, name):
    assert_refused_soon(rpcs, pb.WriteModelRequest(openfga_json=JSON[name]))
