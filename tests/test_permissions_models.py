"""Permission models over gRPC: what they do to stored relationships, versions, hostile ones; and pages of lists."""

import json
import time
import uuid
from typing import Any

import pytest
from organization_calls import Refused
from permission_rpc import ALLOWED, DENIED, QUICK, Question, Rpcs, reason, refusing

from watchword.client.testing import LocalServer
from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

STARTER = "00000000-0000-0000-0000-000000000000"
HEAD = "model\n  schema 1.1\ntype user\n"
MODEL = f"""{HEAD}type document
  relations
    define owner: [user]
    define viewer: [user, user:*] or owner
"""
WITHOUT_OWNER = f"""{HEAD}type document
  relations
    define viewer: [user]
"""


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    return Rpcs(channel, metadata)


def got(rpcs: Rpcs, model_id: str = "") -> pb.Model:
    return rpcs.call(pb.GetModelRequest(model_id=model_id)).model


# ----- versions -------------------------------------------------------------------------------------------------------


def test_the_starter_model_is_in_force_until_one_is_written(rpcs: Rpcs):
    starter = got(rpcs)
    assert starter.model_id == STARTER
    assert not starter.HasField("create_time")
    assert "define member" in starter.dsl
    assert got(rpcs, STARTER) == starter
    rpcs.write("organization:acme#member@user:ana")
    rpcs.model(MODEL, allow_orphans=True)
    assert got(rpcs).model_id != STARTER
    assert got(rpcs, STARTER) == starter


def test_models_are_kept_and_listed_newest_first(rpcs: Rpcs):
    written = []
    for number in range(7):
        answer = rpcs.model(f"{HEAD}type document\n  relations\n    define viewer{number}: [user]\n")
        assert answer.revision
        written.append(answer.model)
        assert got(rpcs) == answer.model
        rpcs.write(f"document:1#viewer{number}@user:ana")
        rpcs.write(deletes=[f"document:1#viewer{number}@user:ana"])
    for model in written:
        assert got(rpcs, model.model_id) == model
    for size in (1, 3, 7, 100):
        found, token = [], ""
        while True:
            page = rpcs.call(pb.ListModelsRequest(page_size=size, page_token=token))
            found += page.models
            token = page.next_page_token
            if not token:
                break
        assert [model.model_id for model in found] == [model.model_id for model in reversed(written)]
        assert not any(model.dsl or model.openfga_json for model in found)
    assert rpcs.refused(pb.GetModelRequest(model_id=str(uuid.uuid4()))).code == "NOT_FOUND"


def test_json_in_and_out(rpcs: Rpcs):
    by_dsl = rpcs.model(MODEL).model
    by_json = rpcs.call(pb.WriteModelRequest(openfga_json=by_dsl.openfga_json)).model
    assert by_json.model_id != by_dsl.model_id
    assert (by_json.dsl, json.loads(by_json.openfga_json)) == (by_dsl.dsl, json.loads(by_dsl.openfga_json))
    assert rpcs.model(by_json.dsl).model.openfga_json == by_dsl.openfga_json


def test_a_retry_writes_no_second_model(rpcs: Rpcs):
    request = pb.WriteModelRequest(dsl=MODEL, request_id=str(uuid.uuid4()))
    first = rpcs.call(request)
    assert rpcs.call(request) == first
    assert len(rpcs.call(pb.ListModelsRequest()).models) == 1


def test_a_new_model_counts_for_the_next_question(rpcs: Rpcs):
    rpcs.model(MODEL)
    rpcs.write("document:1#owner@user:ana")
    for _ in range(10):
        for dsl, expected in ((MODEL.replace(" or owner", ""), DENIED), (MODEL, ALLOWED)):
            revision = rpcs.model(dsl).revision
            assert rpcs.check("user:ana", "viewer", "document:1").decision == expected
            request = pb.CheckRequest(subject="user:ana", relation="viewer", object="document:1")
            request.consistency.at_least = revision
            assert rpcs.call(request).decision == expected


# ----- orphans --------------------------------------------------------------------------------------------------------


def test_orphans_are_counted_and_shown(rpcs: Rpcs, sql):
    rpcs.model(MODEL)
    rpcs.write(*(f"document:{number}#owner@user:ana" for number in range(25)), "document:1#viewer@user:*")
    rpcs.write("document:1#viewer@user:ana", "watchword:deployment#read_users@service:billing")
    refused = rpcs.refused(pb.WriteModelRequest(dsl=WITHOUT_OWNER))
    assert (refused.code, refused.reason, refused.metadata["count"]) == ("FAILED_PRECONDITION", "MODEL_ORPHANS", "26")
    with refusing("MODEL_ORPHANS"):
        rpcs.model(WITHOUT_OWNER, validate_only=True)
    validated = rpcs.model(WITHOUT_OWNER, validate_only=True, allow_orphans=True)
    assert (validated.orphan_count, validated.model.model_id, validated.revision) == (26, "", "")
    assert len(rpcs.call(pb.ListModelsRequest()).models) == 1
    answer = rpcs.model(WITHOUT_OWNER, allow_orphans=True)
    assert answer.orphan_count == 26
    examples = {(item.object, item.relation, item.subject) for item in answer.orphan_examples}
    assert len(examples) == len(answer.orphan_examples) == 10
    assert all(relation == "owner" or subject == "user:*" for _, relation, subject in examples)

    assert rpcs.check("user:bob", "viewer", "document:1").decision == DENIED
    assert list(rpcs.objects("user:ana", "viewer", "document").objects) == ["document:1"]
    assert len(rpcs.stored()) == 28
    rpcs.model(MODEL)
    assert rpcs.check("user:bob", "viewer", "document:1").decision == ALLOWED
    assert len(rpcs.objects("user:ana", "viewer", "document").objects) == 25


def test_validation_changes_nothing_and_warns(rpcs: Rpcs):
    unused = f"{MODEL}condition early(hour: int) {{\n  hour < 12\n}}\n"
    answer = rpcs.model(unused, validate_only=True)
    assert [warning.kind for warning in answer.warnings] == ["condition-not-used"]
    assert answer.warnings[0].line == 8
    assert got(rpcs).model_id == STARTER
    assert [warning.kind for warning in rpcs.model(unused).warnings] == ["condition-not-used"]


def test_mistakes_are_named_with_their_places(rpcs: Rpcs):
    refused = rpcs.refused(pb.WriteModelRequest(dsl=MODEL.replace("or owner", "or boss")))
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "MODEL_INVALID")
    assert refused.fields[0].startswith("dsl:7:")
    with refusing("INVALID_FIELD"):
        rpcs.call(pb.WriteModelRequest())
    with refusing("MODEL_INVALID"):
        rpcs.model(f"{HEAD}type watchword\n  relations\n    define administrator: [user]\n")


# ----- parameters of any type -----------------------------------------------------------------------------------------


def taking_any(expression: str) -> str:
    restricted = {"relations": {"viewer": {"directly_related_user_types": [{"type": "user", "condition": "c"}]}}}
    document = {"type": "document", "relations": {"viewer": {"this": {}}}, "metadata": restricted}
    condition = {"name": "c", "expression": expression, "parameters": {"x": {"type_name": "TYPE_NAME_ANY"}}}
    types = [{"type": "user"}, document]
    return json.dumps({"schema_version": "1.1", "type_definitions": types, "conditions": {"c": condition}})


def given(object_: str, **context: Any) -> rpb.Relationship:
    found = rpb.Relationship(object=object_, relation="viewer", subject="user:ana")
    found.condition.name = "c"
    found.condition.context.update(context)
    return found


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else "a"


ANA_VIEWS_1 = ("user:ana", "viewer", "document:1")


def test_a_parameter_of_any_type_decides_by_whatever_it_is_given(rpcs: Rpcs):
    by_type = (
        'type(x) == string && x.startsWith("a") || type(x) == double && x > 1.5 || type(x) == list && "a" in x || '
        "type(x) == map && x.a[0].b == 1 || type(x) == null_type || type(x) == bool && x"
    )
    written = rpcs.call(pb.WriteModelRequest(openfga_json=taking_any(by_type))).model
    assert (written.dsl, json.loads(written.openfga_json)["conditions"]["c"]["parameters"]) == (
        "", {"x": {"type_name": "TYPE_NAME_ANY"}}
    )  # fmt: skip
    again = rpcs.call(pb.WriteModelRequest(openfga_json=written.openfga_json)).model
    assert (got(rpcs), again.openfga_json) == (again, written.openfga_json)
    rpcs.write(given("document:1"))
    assert rpcs.check(*ANA_VIEWS_1).missing_context == ["x"]
    allowed = ("abc", 2, 1e300, ["b", 1, "a"], {"a": [{"b": 1}]}, None, True)
    denied = ("b", 1, -1.5, [["a"]], {"a": [{"b": "1"}]}, False)
    for decision, values in ((ALLOWED, allowed), (DENIED, denied)):
        for value in values:
            assert rpcs.check(*ANA_VIEWS_1, Question({"x": value})).decision == decision, value
        rpcs.write(*(given(f"document:{decision}-{number}", x=value) for number, value in enumerate(values)))
    expected = [f"document:{ALLOWED}-{number}" for number in range(len(allowed))]
    listing = rpcs.objects("user:ana", "viewer", "document")
    assert (list(listing.objects), [item.name for item in listing.conditional]) == (expected, ["document:1"])


def test_what_cannot_be_done_with_a_value_of_any_type_fails_as_other_conditions_do(rpcs: Rpcs):
    rpcs.call(pb.WriteModelRequest(openfga_json=taking_any("x < 5 || x.size() > 2")))
    rpcs.write(given("document:1"))
    for value in ("a", True, None, [1], {"a": 1}, deep(15)):
        question = Question({"x": value})
        for ask in (rpcs.check, rpcs.explain):
            with refusing("CONDITION_FAILED"):
                ask(*ANA_VIEWS_1, question)
        (result,) = rpcs.batch([ANA_VIEWS_1], question).results
        assert reason(result.error.reason) == "CONDITION_FAILED"
    for value in (float("nan"), [float("-inf")], deep(16), deep(40)):
        with refusing("INVALID_FIELD"):
            rpcs.check(*ANA_VIEWS_1, Question({"x": value}))
        with refusing("INVALID_FIELD"):
            rpcs.write(given("document:2", x=value))


# ----- hostile models -------------------------------------------------------------------------------------------------


def nested(depth: int) -> str:
    return f"{HEAD}type document\n  relations\n    define viewer: {'(' * depth}[user]{')' * depth}\n"


def as_json(rewrite: str, conditions: str = "{}") -> str:
    return (
        '{"schema_version":"1.1","type_definitions":[{"type":"user"},{"type":"document","relations":{"viewer":'
        f'{rewrite}}},"metadata":{{"relations":{{"viewer":{{"directly_related_user_types":[{{"type":"user"}}]}}}}}}}}]'
        f',"conditions":{conditions}}}'
    )


DEEP = 20_000
HOSTILE = {
    "parentheses": pb.WriteModelRequest(dsl=nested(10_000)),
    "open parentheses": pb.WriteModelRequest(dsl=f"{HEAD}type d\n  relations\n    define v: {'(' * 100_000}"),
    "a megabyte": pb.WriteModelRequest(dsl=HEAD + "type a\n" * 150_000),
    "one long line": pb.WriteModelRequest(dsl=HEAD + "type " + "a" * 250_000),
    "many types": pb.WriteModelRequest(dsl=HEAD + "type a\n" * 30_000),
    "or or or": pb.WriteModelRequest(dsl=f"{HEAD}type d\n  relations\n    define v: [user]{' or v' * 40_000}\n"),
    "spaces": pb.WriteModelRequest(dsl=HEAD + " " * 250_000 + "x"),
    "lines": pb.WriteModelRequest(dsl=HEAD + "\n" * 250_000 + "x"),
    "brackets": pb.WriteModelRequest(openfga_json="[" * 1_000_000),
    "objects": pb.WriteModelRequest(openfga_json='{"a":' * 200_000),
    "closed brackets": pb.WriteModelRequest(openfga_json="[" * DEEP + "]" * DEEP),
    "deep union": pb.WriteModelRequest(
        openfga_json=as_json('{"union":{"child":[' * DEEP + '{"this":{}}' + "]}}" * DEEP)
    ),
    "deep difference": pb.WriteModelRequest(
        openfga_json=as_json('{"difference":{"subtract":{"this":{}},"base":' * 300 + '{"this":{}}' + "}}" * 300)
    ),
    "a long number": pb.WriteModelRequest(openfga_json=as_json("1" * 900_000)),
    "a number beyond all": pb.WriteModelRequest(openfga_json=as_json("1e999999999")),
    "not a number": pb.WriteModelRequest(openfga_json=as_json("NaN")),
    "half a character": pb.WriteModelRequest(
        openfga_json=as_json(
            '{"this":{}}',
            '{"c":{"name":"c","expression":"\'\\ud800\' == x","parameters":{"x":{"type_name":"TYPE_NAME_STRING"}}}}',
        )
    ),
    "nothing": pb.WriteModelRequest(openfga_json="null"),
    "a text": pb.WriteModelRequest(openfga_json='"model"'),
    "wrong kinds": pb.WriteModelRequest(openfga_json='{"schema_version":[],"type_definitions":{"a":1}}'),
    "a list of nothing": pb.WriteModelRequest(openfga_json='{"schema_version":"1.1","type_definitions":[null]}'),
    "a condition without end": pb.WriteModelRequest(
        dsl=MODEL.replace("[user]", "[user with c]") + f"condition c(x: int) {{\n  {'(' * 10_000}x{')' * 10_000}\n}}\n"
    ),
    "a sum without end": pb.WriteModelRequest(
        dsl=MODEL.replace("[user]", "[user with c]") + f"condition c(x: int) {{\n  x {'+ x' * 40_000} < 1\n}}\n"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models_are_refused_soon(rpcs: Rpcs, name: str):
    started = time.monotonic()
    refused = rpcs.refused(HOSTILE[name])
    seconds = time.monotonic() - started
    assert refused.code == "INVALID_ARGUMENT", refused
    assert refused.reason in {"MODEL_INVALID", "INVALID_FIELD"}
    assert len(refused.message) < 10_000
    assert seconds < 3  # a second, on a machine that does nothing else
    assert got(rpcs).model_id == STARTER


def test_a_nesting_that_is_taken_is_answered_by(rpcs: Rpcs):
    """Whatever depth of nesting the language lets through, the rest of the server can do with."""
    depth = 1
    while depth < 5_000:
        try:
            rpcs.model(nested(depth))
        except Refused as refused:
            if refused.reason == "MODEL_INVALID":
                break
            raise
        rpcs.write("document:1#viewer@user:ana")
        assert rpcs.check("user:ana", "viewer", "document:1").decision == ALLOWED
        assert got(rpcs).dsl
        depth *= 2
    assert depth > 4


# ----- pages of lists -------------------------------------------------------------------------------------------------


def objects_request(**more) -> pb.ListObjectsRequest:
    return pb.ListObjectsRequest(subject="user:ana", relation="viewer", object_type="document", page_size=100, **more)


@pytest.fixture
def documents(rpcs: Rpcs) -> list[str]:
    rpcs.model(MODEL)
    names = sorted(f"document:{number}" for number in range(950))
    rpcs.write(*(f"{name}#viewer@user:ana" for name in names))
    return names


def test_all_pages_are_of_one_snapshot_whatever_changes_between_them(rpcs: Rpcs, documents: list[str]):
    found, token = [], ""
    for number in range(10):
        page = rpcs.call(objects_request(page_token=token))
        found += page.objects
        token = page.next_page_token
        assert page.complete == (number == 9)
        rpcs.write(f"document:a{number}#viewer@user:ana", deletes=[f"{documents[-number - 1]}#viewer@user:ana"])
    assert found == documents
    assert not token

    page = rpcs.call(
        pb.ListSubjectsRequest(object="document:0", relation="viewer", subject_filters=["user"], page_size=1)
    )
    assert page.complete


def test_a_page_can_be_read_again_and_by_other_sizes(rpcs: Rpcs, documents: list[str]):
    token = rpcs.call(objects_request()).next_page_token
    request = objects_request(page_token=token)
    assert rpcs.call(request).objects == rpcs.call(request).objects == documents[100:200]
    request.page_size = 10_000
    rest = rpcs.call(request)
    assert list(rest.objects) == documents[100:]
    assert rest.complete


def test_a_page_token_is_bound_to_its_query(rpcs: Rpcs, documents: list[str], metadata):
    token = rpcs.call(objects_request()).next_page_token
    others = [objects_request(page_token=token) for _ in range(5)]
    others[0].subject = "user:bob"
    others[1].relation = "owner"
    others[2].context.update({"x": 1})
    others[3].consistency.full = True
    others[4].contextual_relationships.add(subject="user:ana", relation="owner", object="document:x")
    for request in others:
        assert rpcs.refused(request).reason == "INVALID_PAGE_TOKEN"
    subjects = pb.ListSubjectsRequest(
        object="document:1", relation="viewer", subject_filters=["user"], page_token=token
    )
    assert rpcs.refused(subjects).reason == "INVALID_PAGE_TOKEN"


def test_a_page_token_is_good_for_ten_minutes(rpcs: Rpcs, documents: list[str], watchword_server: LocalServer):
    token = rpcs.call(objects_request()).next_page_token
    watchword_server.advance(590)
    assert rpcs.call(objects_request(page_token=token)).objects == documents[100:200]
    watchword_server.advance(20)
    assert rpcs.refused(objects_request(page_token=token)).reason == "INVALID_PAGE_TOKEN"


def test_many_subjects_in_pages_with_those_that_are_left_out(rpcs: Rpcs):
    rpcs.model(
        f"{HEAD}type document\n  relations\n    define banned: [user]\n"
        "    define viewer: [user, user:*] but not banned\n"
    )
    rpcs.write("document:1#viewer@user:*", *(f"document:1#banned@user:b{number:03}" for number in range(250)))
    rpcs.write(*(f"document:1#viewer@user:v{number:03}" for number in range(250)))
    subjects, excluded, token = [], [], ""
    while True:
        page = rpcs.subjects("document:1", "viewer", ["user"], QUICK, page_size=60, page_token=token)
        assert not (page.subjects and excluded)
        subjects += page.subjects
        excluded += page.excluded
        token = page.next_page_token
        assert page.complete == (not token)
        if not token:
            break
    assert subjects == ["user:*", *(f"user:v{number:03}" for number in range(250))]
    assert excluded == [f"user:b{number:03}" for number in range(250)]
