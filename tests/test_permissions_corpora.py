"""OpenFGA's own vectors over gRPC: each check as Check, BatchCheck and Explain, each list, stored and contextual."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from organization_calls import Refused
from permission_rpc import ALLOWED, CONDITIONAL, DENIED, Question, Rpcs, reason

from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

pytestmark = pytest.mark.timeout(180)

UNDECIDED = "undecided"
ERRORS = {
    2000: {"INVALID_ARGUMENT", UNDECIDED},
    2021: {"INVALID_ARGUMENT"},
    2022: {"INVALID_ARGUMENT"},
    2027: {"INVALID_ARGUMENT"},
    2002: {"RESOLUTION_LIMIT"},
}
"""OpenFGA's error codes as ours. What is undecided for want of context is an error 2000 there and an answer here."""
DECISIONS = {ALLOWED: True, DENIED: False, CONDITIONAL: UNDECIDED}
REFUSALS = {"INVALID_FIELD": "INVALID_ARGUMENT", "CONDITION_FAILED": "INVALID_ARGUMENT"}


@pytest.fixture
def rpcs(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> Rpcs:
    return Rpcs(channel, metadata)


def relationship(item: dict[str, Any]) -> rpb.Relationship:
    found = rpb.Relationship(object=item["object"], relation=item["relation"], subject=item["user"])
    condition = item.get("condition")
    if condition:
        found.condition.name = condition["name"]
        found.condition.context.update(condition.get("context") or {})
    return found


def stores_of(corpora: Path) -> list[dict[str, Any]]:
    with (corpora / "permissions.jsonl").open() as lines:
        return [json.loads(line) for line in lines]


def name_of(store: dict[str, Any]) -> str:
    return store["id"].rpartition("/")[0]


def as_text(refused: Refused) -> str:
    """A refusal as the table of errors has it; the status code and the reason must belong together."""
    if refused.reason == "RESOLUTION_LIMIT":
        assert refused.code == "RESOURCE_EXHAUSTED"
        return refused.reason
    assert refused.code == REFUSALS[refused.reason], refused
    return refused.code


def outcome(ask) -> Any:
    try:
        return ask()
    except Refused as refused:
        return as_text(refused)


def checked(rpcs: Rpcs, case: dict[str, Any], question: Question) -> Any:
    asked = (case["user"], case["relation"], case["object"])
    found = outcome(lambda: DECISIONS[rpcs.check(*asked, question).decision])
    explained = outcome(lambda: DECISIONS[rpcs.explain(*asked, question).decision])
    assert explained == found, (case, found, explained)
    batch = outcome(lambda: rpcs.batch([asked], question))
    if isinstance(batch, str):
        # A number that is not finite is refused before anybody looks at the items.
        assert "Infinity" in json.dumps(dict(question.context)), case
        assert batch == found
        return found
    (result,) = batch.results
    in_batch = reason(result.error.reason) if result.HasField("error") else DECISIONS[result.decision]
    assert REFUSALS.get(in_batch, in_batch) == found, (case, found, result)
    return found


def listed_objects(rpcs: Rpcs, case: dict[str, Any], question: Question) -> Any:
    def ask():
        listing = rpcs.objects(case["user"], case["relation"], case["type"], question)
        assert listing.complete
        return UNDECIDED if listing.conditional else set(listing.objects)

    return outcome(ask)


def listed_subjects(rpcs: Rpcs, case: dict[str, Any], question: Question) -> Any:
    def ask():
        listing = rpcs.subjects(case["object"], case["relation"], case["filters"], question)
        assert listing.complete
        return UNDECIDED if listing.conditional else set(listing.subjects)

    return outcome(ask)


QUESTIONS = {"checks": checked, "lo": listed_objects, "lu": listed_subjects}


def is_as_expected(expected: Any, found: Any) -> bool:
    if isinstance(expected, dict):
        return found in ERRORS[expected["error"]] if isinstance(found, str) else False
    return found == (set(expected) if isinstance(expected, list) else expected)


def differences(rpcs: Rpcs, store: dict[str, Any], contextual: list[rpb.Relationship]) -> list[Any]:
    """Assertions of a store that the server fails."""
    wrong = []
    for kind, ask in QUESTIONS.items():
        for case in store[kind]:
            with_case = [*contextual, *map(relationship, case.get("ctx_tuples") or [])]
            found = ask(rpcs, case, Question(case.get("context") or {}, with_case))
            if not is_as_expected(case["expect"], found):
                wrong.append((store["id"], kind, case, found))
    return wrong


def put_into_force(rpcs: Rpcs, store: dict[str, Any]) -> None:
    rpcs.call(pb.WriteModelRequest(dsl=store["model"], allow_orphans=True))


def test_all_of_openfgas_assertions_hold(corpora, watchword_server, rpcs: Rpcs):
    stores = stores_of(corpora)
    assert sum(len(store[kind]) for store in stores for kind in QUESTIONS) == 1074
    wrong = []
    before, written = "", set()
    for store in stores:
        tuples = {json.dumps(item): item for item in store["tuples"]}
        # A later stage adds to the one before it: what its model no longer allows was stored in an earlier one.
        if name_of(store) != before or not written <= tuples.keys():
            before, written = name_of(store), set()
            watchword_server.reset()
        put_into_force(rpcs, store)
        new = [item for text, item in tuples.items() if text not in written]
        written = set(tuples)
        if new:
            rpcs.call(rpb.WriteRelationshipsRequest(writes=map(relationship, new)))
        wrong += differences(rpcs, store, [])
    assert not wrong


def test_they_hold_with_all_relationships_contextual(corpora, watchword_server, rpcs: Rpcs):
    stores = stores_of(corpora)
    names = [name_of(store) for store in stores]
    single = [store for store, name in zip(stores, names, strict=True) if names.count(name) == 1]
    assert len(single) > 50
    wrong = []
    for store in single:
        put_into_force(rpcs, store)
        wrong += differences(rpcs, store, [relationship(item) for item in store["tuples"]])
    assert not wrong
