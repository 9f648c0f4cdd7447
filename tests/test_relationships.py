"""Writing relationships: atomic, idempotent, conditional, and what may not be written."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from organization_calls import Refused, eventually
from permission_rpc import (
    ALLOWED,
    CONDITIONAL,
    DENIED,
    Question,
    Rpcs,
    at_least,
    key,
    refusing,
    row,
)

from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user, user with low, group#member]
type doc
  relations
    define owner: [user]
    define viewer: [user, user:*, group#member] or owner

condition low(x: int) {
  x < 10
}
"""
MUST, MUST_NOT = rpb.PRECONDITION_KIND_MUST_EXIST, rpb.PRECONDITION_KIND_MUST_NOT_EXIST


@pytest.fixture
def rpcs(watchword, channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


def filter_of(text: str) -> rpb.RelationshipFilter:
    found = row(text)
    return rpb.RelationshipFilter(object=found.object, relation=found.relation, subject=found.subject)


def demand(kind: int, text: str = "", **asked: str) -> rpb.Precondition:
    return rpb.Precondition(kind=kind, filter=filter_of(text) if text else rpb.RelationshipFilter(**asked))


def request_of(*writes: str | rpb.Relationship, deletes=(), **more) -> rpb.WriteRelationshipsRequest:
    rows = [row(item) if isinstance(item, str) else item for item in writes]
    return rpb.WriteRelationshipsRequest(writes=rows, deletes=map(key, deletes), **more)


def outcome(change: Callable[[], object]) -> str:
    try:
        change()
    except Refused as refused:
        return refused.reason
    return "done"


# ----- all or none ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ("doc:1#viewer@doc:2", "writes[1]"),  # the model does not allow it
        ("doc:1#nothing@user:ana", "writes[1]"),
        ("nothing:1#viewer@user:ana", "writes[1]"),
        ("doc:1#viewer@user:ana#member", "writes[1]"),
        ("doc:1#viewer@group:a#nothing", "writes[1]"),
        ("doc:*#viewer@user:ana", "writes[1]"),
        ("doc:1#viewer@group:*", "writes[1]"),
        ("group:1#member@group:1#member", "writes[1]"),
        ("doc:a b#viewer@user:ana", "writes[1]"),
        ("doc#viewer@user:ana", "writes[1]"),
    ],
)
def test_one_bad_relationship_and_none_is_written(rpcs, sql, bad, field):
    before = sql("SELECT count(*) FROM events")
    request = request_of("doc:1#viewer@user:ana", bad, "doc:1#owner@user:ana")
    refused = rpcs.refused(request)
    assert (refused.code, refused.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refused.fields == [field]
    assert rpcs.stored() == []
    assert sql("SELECT count(*) FROM events") == before


def test_a_bad_delete_and_nothing_happens(rpcs):
    rpcs.write("doc:1#viewer@user:ana")
    for bad in ("doc:1#viewer@user", "doc:1#viewer@user:*#x", "doc#viewer@user:ana", "doc:1#viewer@user:a b"):
        refused = rpcs.refused(request_of("doc:1#viewer@user:ben", deletes=["doc:1#viewer@user:ana", bad]))
        assert refused.reason == "INVALID_FIELD"
        assert refused.fields[0].startswith("deletes[1]"), refused
    assert rpcs.stored() == ["doc:1#viewer@user:ana"]


def test_writes_and_deletes_come_about_together(rpcs):
    rpcs.write("doc:1#viewer@user:ana", "doc:1#viewer@user:ben")
    rpcs.write("doc:1#owner@user:ana", deletes=["doc:1#viewer@user:ana", "doc:1#viewer@user:nobody"])
    assert rpcs.stored() == ["doc:1#owner@user:ana", "doc:1#viewer@user:ben"]


def test_nothing_at_all_is_refused(rpcs):
    assert rpcs.refused(rpb.WriteRelationshipsRequest()).fields == ["writes"]


def test_a_thousand_at_once_and_not_one_more(rpcs):
    many = [f"doc:{number}#viewer@user:ana" for number in range(1_000)]
    rpcs.write(*many)
    assert len(rpcs.stored()) == 1_000
    for writes, deletes in (
        ([*many, "doc:1000#viewer@user:ana"], []),
        (many, ["doc:x#viewer@user:ana"]),
        ([], [*many, "doc:x#viewer@user:ana"]),
    ):
        refused = rpcs.refused(request_of(*writes, deletes=deletes))
        assert refused.reason == "INVALID_FIELD"
        assert refused.fields[0] in {"writes", "deletes"}
    rpcs.write(deletes=many)
    assert rpcs.stored() == []


def test_what_is_named_twice_is_refused(rpcs):
    text = "doc:1#viewer@user:ana"
    for request in (
        request_of(text, text),
        request_of(row(text), row(text, expire_time=datetime(2040, 1, 1, tzinfo=UTC))),
        request_of(text, deletes=[text]),
        request_of(deletes=[text, text]),
    ):
        refused = rpcs.refused(request)
        assert refused.reason == "INVALID_FIELD"
        assert refused.fields[0] in {"writes[1]", "deletes[0]", "deletes[1]"}
    assert rpcs.stored() == []


# ----- touch ----------------------------------------------------------------------------------------------------------


def test_writing_again_replaces_condition_and_expiry(rpcs):
    text = "group:1#member@user:ana"
    low = rpb.RelationshipCondition(name="low")
    rpcs.write(text)
    assert rpcs.check("user:ana", "member", "group:1").decision == ALLOWED
    rpcs.write(row(text, condition=low))
    assert rpcs.check("user:ana", "member", "group:1").decision == CONDITIONAL
    assert rpcs.check("user:ana", "member", "group:1").missing_context == ["x"]
    low.context.update({"x": 5})
    rpcs.write(row(text, condition=low))
    assert rpcs.check("user:ana", "member", "group:1").decision == ALLOWED
    # What is stored goes before what is asked with.
    assert rpcs.check("user:ana", "member", "group:1", Question({"x": 50})).decision == ALLOWED
    later = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
    rpcs.write(row(text, expire_time=later))
    (stored,) = rpcs.call(rpb.ListRelationshipsRequest()).relationships
    assert not stored.HasField("condition")
    assert stored.expire_time.ToDatetime(UTC) == later
    assert 3_500 < rpcs.check("user:ana", "member", "group:1").remaining_lifetime.seconds <= 3_600
    rpcs.write(row(text, expire_time=datetime.now(UTC) - timedelta(seconds=1)))
    assert rpcs.check("user:ana", "member", "group:1").decision == DENIED
    assert rpcs.stored() == [text]
    rpcs.write(text)
    assert rpcs.check("user:ana", "member", "group:1").decision == ALLOWED


@pytest.mark.parametrize("context", [{"x": "text"}, {"y": 1}, {"x": 1.5}, {"x": None}, {"x": [1]}])
def test_a_context_that_the_condition_cannot_take(rpcs, context):
    condition = rpb.RelationshipCondition(name="low")
    condition.context.update(context)
    refused = rpcs.refused(request_of(row("group:1#member@user:ana", condition=condition)))
    assert (refused.reason, refused.fields) == ("INVALID_FIELD", ["writes[0]"])


# ----- preconditions --------------------------------------------------------------------------------------------------


def test_preconditions(rpcs):
    text = "doc:1#owner@user:ana"
    new = "doc:1#viewer@user:ben"
    with refusing("PRECONDITION_FAILED"):
        rpcs.write(new, preconditions=[demand(MUST, text)])
    rpcs.write(text, preconditions=[demand(MUST_NOT, text)])
    with refusing("PRECONDITION_FAILED"):
        rpcs.write(text, preconditions=[demand(MUST_NOT, text)])
    with pytest.raises(Refused) as refused:
        rpcs.write(new, preconditions=[demand(MUST, text), demand(MUST_NOT, object_type="doc", subject_type="user")])
    assert refused.value.code == "FAILED_PRECONDITION"
    assert refused.value.metadata["index"] == "1"
    assert rpcs.stored() == [text]
    # Each asks of what was there before.
    rpcs.write(new, deletes=[text], preconditions=[demand(MUST, text), demand(MUST_NOT, new)])
    assert rpcs.stored() == [new]


def test_an_expired_relationship_is_absent_for_preconditions(rpcs, watchword_server):
    text = "doc:1#owner@user:ana"
    rpcs.write(row(text, expire_time=datetime.now(UTC) + timedelta(hours=1)))
    rpcs.write("doc:1#viewer@user:ben", preconditions=[demand(MUST, text)])
    watchword_server.advance(3_601)
    with refusing("PRECONDITION_FAILED"):
        rpcs.write("doc:2#viewer@user:ben", preconditions=[demand(MUST, text)])
    rpcs.write("doc:3#viewer@user:ben", preconditions=[demand(MUST_NOT, text)])


@pytest.mark.parametrize(
    "bad",
    [
        rpb.Precondition(kind=MUST, filter=rpb.RelationshipFilter()),
        rpb.Precondition(kind=MUST),
        rpb.Precondition(filter=rpb.RelationshipFilter(object_type="doc")),
        rpb.Precondition(kind=MUST, filter=rpb.RelationshipFilter(object="doc")),
        rpb.Precondition(kind=99, filter=rpb.RelationshipFilter(object_type="doc")),
    ],
)
def test_preconditions_that_make_no_sense(rpcs, bad):
    refused = rpcs.refused(request_of("doc:1#viewer@user:ana", preconditions=[bad]))
    assert refused.reason == "INVALID_FIELD"
    assert refused.fields[0].startswith("preconditions[0]")
    assert rpcs.stored() == []


def test_of_conditional_writers_that_exclude_each_other_one_wins(rpcs):
    """Each makes the others' condition false: who is first on an object, by one key or by all of its type."""

    def write(number: int, attempt: int) -> str:
        text = f"doc:{attempt}#owner@user:{number}"
        condition = demand(MUST_NOT, object=f"doc:{attempt}", relation="owner")
        return outcome(lambda: rpcs.write(text, preconditions=[condition]))

    with ThreadPoolExecutor(6) as threads:
        for attempt in range(15):
            ended = sorted(threads.map(lambda number, a=attempt: write(number, a), range(6)))
            assert ended == [*["PRECONDITION_FAILED"] * 5, "done"]
            assert len(rpcs.stored(object=f"doc:{attempt}")) == 1


def test_of_two_writers_whose_conditions_cross_one_wins(rpcs):
    """Neither writes what the other writes: only what the other asks about."""

    def write(mine: str, other: str) -> str:
        return outcome(lambda: rpcs.write(mine, preconditions=[demand(MUST_NOT, other)]))

    with ThreadPoolExecutor(2) as threads:
        for number in range(30):
            one, other = f"doc:{number}#owner@user:ana", f"group:{number}#member@user:ana"
            assert sorted(threads.map(write, (one, other), (other, one))) == ["PRECONDITION_FAILED", "done"]


# ----- deletion -------------------------------------------------------------------------------------------------------


def delete_docs(rpcs: Rpcs, limit: int) -> tuple[int, bool]:
    asked = rpb.RelationshipFilter(object_type="doc")
    response = rpcs.call(rpb.DeleteRelationshipsRequest(filter=asked, limit=limit))
    return response.deleted_count, response.complete


def test_a_deletion_says_whether_anything_is_left(rpcs):
    rows = [f"doc:{number}#owner@user:ana" for number in range(4)]
    for limit, expected in ((3, (3, False)), (4, (4, True)), (5, (4, True)), (0, (4, True))):
        rpcs.write(*rows)
        assert delete_docs(rpcs, limit) == expected
        assert len(rpcs.stored()) == 4 - expected[0]
    assert delete_docs(rpcs, 1) == (0, True)


def test_a_deletion_passes_over_what_somebody_else_deletes_meanwhile(rpcs, watchword_server):
    rpcs.write(*(f"doc:{number}#owner@user:ana" for number in range(4)))
    with psycopg.connect(watchword_server.database_url) as other, ThreadPoolExecutor(1) as thread:
        other.execute("DELETE FROM relationships WHERE object < 'doc:2'")
        deletion = thread.submit(delete_docs, rpcs, 2)
        with psycopg.connect(watchword_server.database_url, autocommit=True) as watching:
            query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            eventually(lambda: watching.execute(query).fetchone() == (1,))
        other.commit()
        assert deletion.result() == (2, True)
    assert rpcs.stored() == []


# ----- idempotency ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [False, True])
def test_a_request_id_makes_it_once(rpcs, sql, conditional):
    text = "doc:1#owner@user:ana"
    more = {"preconditions": [demand(MUST_NOT, text)]} if conditional else {}
    request = request_of(text, request_id=str(uuid.uuid4()), **more)
    first = rpcs.call(request)
    assert first.revision
    rpcs.write(deletes=[text])
    events = sql("SELECT count(*) FROM events")
    assert rpcs.call(request) == first
    assert rpcs.stored() == []  # it was not done again
    assert sql("SELECT count(*) FROM events") == events
    for other in (
        request_of("doc:2#owner@user:ana", request_id=request.request_id, **more),
        request_of(deletes=[text], request_id=request.request_id),
    ):
        refused = rpcs.refused(other)
        assert refused.reason == "REQUEST_ID_REUSED", other
    assert rpcs.stored() == []


def test_the_same_request_at_the_same_time(rpcs, sql):
    def send(request):
        return outcome(lambda: revisions.add(rpcs.call(request).revision))

    with ThreadPoolExecutor(8) as threads:
        for number in range(10):
            request = request_of(f"doc:{number}#owner@user:ana", request_id=str(uuid.uuid4()))
            revisions = set()
            assert "done" in set(threads.map(send, [request] * 8)) <= {"done", "CONFLICT"}
            assert len(revisions) == 1
    assert sql("SELECT count(*) FROM events WHERE type = 'relationships-changed'") == [{"count": 10}]


# ----- writers and each other -----------------------------------------------------------------------------------------


def test_many_writers_of_the_same_rows_all_come_through(rpcs):
    """In whatever order they name them, they do not wait for each other in a circle."""
    rows = [f"doc:{number}#owner@user:ana" for number in range(40)]

    def write(number: int) -> str:
        mine = rows[number:] + rows[:number]
        if number % 3 == 0:
            return rpcs.write(deletes=mine)
        return rpcs.write(*mine[::-1] if number % 2 else mine)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(write, range(40)))) == 40
    revision = rpcs.write(*rows)
    assert sorted(rpcs.stored()) == sorted(rows)
    asked = [("user:ana", "viewer", f"doc:{number}") for number in range(40)]
    results = rpcs.batch(asked, Question(consistency=at_least(revision))).results
    assert {result.decision for result in results} == {ALLOWED}


def test_after_a_write_the_revision_is_enough_to_see_it(rpcs):
    for number in range(20):
        revision = rpcs.write(f"doc:{number}#owner@user:ana")
        question = Question(consistency=at_least(revision))
        assert rpcs.check("user:ana", "viewer", f"doc:{number}", question).decision == ALLOWED
        revision = rpcs.write(deletes=[f"doc:{number}#owner@user:ana"])
        question = Question(consistency=at_least(revision))
        assert rpcs.check("user:ana", "viewer", f"doc:{number}", question).decision == DENIED
        assert not rpcs.objects("user:ana", "viewer", "doc", question).objects


def test_the_server_says_how_it_is_named(rpcs):
    """Ids may have any sign that OpenFGA lets them have, in every position, and come back as they were."""
    ids = ["a|b", "a*", "a@b.c", "a+/-", "_", "1", "A" * 250, "-", ".", "@", "/"]
    rows = [f"doc:{id_}#owner@user:{id_}" for id_ in ids]
    rpcs.call(rpb.WriteRelationshipsRequest(writes=[_row(id_) for id_ in ids]))
    assert sorted(rpcs.stored()) == sorted(rows)
    for id_ in ids:
        assert rpcs.check(f"user:{id_}", "viewer", f"doc:{id_}").decision == ALLOWED
        assert list(rpcs.objects(f"user:{id_}", "viewer", "doc").objects) == [f"doc:{id_}"]
        assert list(rpcs.subjects(f"doc:{id_}", "viewer", ["user"]).subjects) == [f"user:{id_}"]


def _row(id_: str) -> rpb.Relationship:
    return rpb.Relationship(object=f"doc:{id_}", relation="owner", subject=f"user:{id_}")


def test_questions_about_what_the_model_lacks(rpcs):
    for ask in (
        lambda: rpcs.check("user:ana", "nothing", "doc:1"),
        lambda: rpcs.check("user:ana", "viewer", "nothing:1"),
        lambda: rpcs.check("nothing:1", "viewer", "doc:1"),
        lambda: rpcs.check("user:ana", "viewer", "doc:1", Question(contextual=[row("doc:1#viewer@doc:2")])),
        lambda: rpcs.objects("user:ana", "viewer", "nothing"),
        lambda: rpcs.objects("user:ana", "viewer", "doc", Question(contextual=[row("doc:1#viewer@doc:2")])),
        lambda: rpcs.subjects("doc:1", "viewer", ["nothing"]),
        lambda: rpcs.subjects("doc:1", "viewer", ["user"], Question(contextual=[row("doc:1#viewer@doc:2")])),
        lambda: rpcs.explain("user:ana", "nothing", "doc:1"),
    ):
        with pytest.raises(Refused) as refused:
            ask()
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    results = rpcs.batch([("user:ana", "viewer", "doc:1"), ("user:ana", "nothing", "doc:1")]).results
    assert results[0].decision == DENIED
    assert results[1].error.reason
    assert results[1].decision == pb.DECISION_UNSPECIFIED
