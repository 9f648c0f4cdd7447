"""Batches that are large: each question gets its answer, and nobody else waits for that."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from organization_calls import Refused, eventually
from permission_rpc import ALLOWED, DENIED, QUICK, Question, Rpcs, reason

from watchword.v1 import permissions_pb2 as pb

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type doc
  relations
    define banned: [user]
    define viewer: [user, group#member]
    define reader: viewer but not banned
"""
# Faster than through the server, which has nothing to do with it: what is asked here has not been asked before.
WRITE = """
INSERT INTO relationships (object, relation, subject, subject_relation)
SELECT format(%s, d, g), %s, format(%s, g, d), %s FROM generate_series(1, %s) AS d, generate_series(1, %s) AS g
ON CONFLICT DO NOTHING
"""


@pytest.fixture
def rpcs(watchword, channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


def outcomes(response: pb.BatchCheckResponse) -> list[int | str]:
    return [reason(item.error.reason) if item.HasField("error") else item.decision for item in response.results]


def test_a_question_beyond_the_limit_leaves_the_others_their_answers(rpcs, sql):
    sql(WRITE, "doc:big", "viewer", "group:%s", "member", 1, 100_000)
    rpcs.write("doc:1#viewer@user:ana")
    big, small, other = (("user:ana", "viewer", f"doc:{name}") for name in ("big", "1", "2"))
    with pytest.raises(Refused) as refused:
        rpcs.check(*big)
    assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "RESOLUTION_LIMIT")
    assert refused.value.metadata["limit"] == "work"
    for question in (Question(), QUICK):
        response = rpcs.batch([small, big, other, small], question)
        assert outcomes(response) == [ALLOWED, "RESOLUTION_LIMIT", DENIED, ALLOWED]
        assert response.horizon
        response = rpcs.batch([big, ("user:ana", "nothing", "doc:1"), big], question)
        assert outcomes(response) == ["RESOLUTION_LIMIT", "INVALID_FIELD", "RESOLUTION_LIMIT"]


def test_a_list_beyond_the_limit_is_refused_and_not_cut(rpcs, sql):
    sql(WRITE, "doc:%s", "viewer", "user:ana", "", 300_000, 1)
    with pytest.raises(Refused) as refused:
        rpcs.objects("user:ana", "viewer", "doc")
    assert (refused.value.reason, refused.value.metadata["limit"]) == ("RESOLUTION_LIMIT", "work")
    sql("DELETE FROM relationships WHERE object LIKE %s", "doc:77%")
    assert rpcs.objects("user:ana", "viewer", "doc", page_size=10).next_page_token


def test_questions_that_need_too_much_together_are_all_answered(rpcs, sql):
    sql(WRITE, "doc:%s", "viewer", "group:%s", "member", 1_000, 150)
    rpcs.write("group:77#member@user:ana", "doc:500#banned@user:ana", deletes=["doc:7#viewer@group:77#member"])
    asked = [("user:ana", "reader", f"doc:{number}") for number in range(1, 1_001)]
    expected = [DENIED if number in {7, 500} else ALLOWED for number in range(1, 1_001)]
    assert outcomes(rpcs.batch(asked)) == expected


def test_what_was_counted_when_one_subject_had_everything_makes_no_check_slow(rpcs, sql):
    """The statement that gathers is planned by that count, and the plan stays; it is given up after three seconds."""
    asked = [("user:ana", "reader", f"doc:{number}") for number in range(1, 1_001)]
    for write in (
        "SELECT 'doc:' || n, 'viewer', 'group:1', 'member' FROM generate_series(1, 100000) AS n",
        "SELECT 'group:1', 'member', 'user:' || n, '' FROM generate_series(1, 100000) AS n",
        "SELECT 'doc:' || n, 'viewer', 'user:ana', '' FROM generate_series(1, 100000) AS n",
    ):
        sql(f"INSERT INTO relationships (object, relation, subject, subject_relation) {write}")
        sql("ANALYZE relationships")
        assert len(rpcs.batch(asked[:5]).results) == 5
        rpcs.check(*asked[0])
        sql("DELETE FROM relationships")
    sql(WRITE, "group:%2$s", "member", "group:%2$s", "member", 60, 60)
    rpcs.write(*(f"doc:{number}#viewer@group:1#member" for number in range(1, 1_001)))
    assert set(outcomes(rpcs.batch(asked))) <= {DENIED, "RESOLUTION_LIMIT"}


@pytest.mark.parametrize("question", [Question(), QUICK], ids=["cold", "warm"])
def test_others_have_their_turn_while_a_batch_is_answered(rpcs, sql, question):
    sql(WRITE, "group:%2$s", "member", "group:%2$s", "member", 60, 60)
    # Of different documents: an answer that was given is kept, and to give it again takes no time.
    documents = [f"doc:{number}" for number in range(10, 1_009)]
    rpcs.write(*(f"{document}#viewer@group:1#member" for document in documents), "doc:2#viewer@user:ana")
    asked = [("user:ana", "reader", document) for document in documents]
    quick = ("user:ana", "reader", "doc:2")
    rpcs.batch(asked, QUICK)
    rpcs.check(*quick, QUICK)
    eventually(lambda: rpcs.check(*quick, QUICK).decision == ALLOWED)
    with ThreadPoolExecutor(1) as thread:
        batch = thread.submit(rpcs.batch, asked, question)
        meanwhile = 0
        while not batch.done():
            assert rpcs.check(*quick, QUICK).decision == ALLOWED
            meanwhile += 1
        assert set(outcomes(batch.result())) <= {DENIED, "RESOLUTION_LIMIT"}
    assert meanwhile > 5
