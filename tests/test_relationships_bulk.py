"""Relationships by filter and in bulk: lists and deletions, page by page, and the streams of import and export."""

from random import Random

import grpc
import pytest
from organization_calls import Refused
from permission_rpc import ALLOWED, DENIED, QUICK, Question, Rpcs, at_least, refusing, row, text_of

from watchword.client.testing import LocalServer
from watchword.v1 import relationships_pb2 as rpb

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type document
  relations
    define owner: [user]
    define viewer: [user, user:*, group#member] or owner
type doc
  relations
    define viewer: [user]
"""
STORED = [
    "doc:1#viewer@user:ana",
    "document:1#owner@user:ana",
    "document:1#viewer@group:1#member",
    "document:1#viewer@user:*",
    "document:1#viewer@user:ana",
    "document:10#viewer@user:ana",
    "document:2#viewer@group:10#member",
    "group:1#member@group:2#member",
    "group:1#member@user:ana",
]
FILTERS = [
    {},
    {"object_type": "document"},
    {"object_type": "doc"},
    {"object": "document:1"},
    {"object": "document:1", "relation": "viewer"},
    {"relation": "viewer"},
    {"subject": "user:ana"},
    {"subject": "group:1#member"},
    {"subject": "group:1"},
    {"subject": "user:*", "object_type": "document"},
    {"subject_type": "group"},
    {"subject_type": "user", "relation": "member"},
    {"object_type": "document", "object": "group:1"},
    {"object_type": "nothing"},
]


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    found = Rpcs(channel, metadata)
    found.model(MODEL)
    return found


def fits(text: str, asked: dict[str, str]) -> bool:
    """Whether a filter selects a relationship, by the words of the proto."""
    found = row(text)
    have = {
        "object_type": found.object.split(":")[0],
        "object": found.object,
        "relation": found.relation,
        "subject": found.subject,
        "subject_type": found.subject.split(":")[0],
    }
    return all(have[name] == value for name, value in asked.items())


# ----- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", FILTERS, ids=str)
def test_a_list_has_what_its_filter_selects_whatever_the_pages(rpcs: Rpcs, asked: dict[str, str]):
    rpcs.write(*STORED)
    expected = [text for text in STORED if fits(text, asked)]
    for size in (1, 2, 3, 500, 100_000):
        found: list[str] = []
        token = ""
        while True:
            request = rpb.ListRelationshipsRequest(
                filter=rpb.RelationshipFilter(**asked), page_size=size, page_token=token
            )
            page = rpcs.call(request)
            assert len(page.relationships) <= size
            found += map(text_of, page.relationships)
            token = page.next_page_token
            if not token:
                break
        assert sorted(found) == sorted(expected)
        assert len(found) == len(expected)
    assert rpcs.stored(**asked) == found
    if "subject" not in asked:
        assert [text.partition("@")[0] for text in found] == sorted(text.partition("@")[0] for text in found)


def test_a_page_token_is_good_for_its_filter_only(rpcs: Rpcs):
    rpcs.write(*STORED)
    first = rpcs.call(rpb.ListRelationshipsRequest(page_size=1))
    other = rpb.ListRelationshipsRequest(filter={"relation": "viewer"}, page_token=first.next_page_token)
    assert rpcs.refused(other).reason == "INVALID_PAGE_TOKEN"
    assert rpcs.refused(rpb.ListRelationshipsRequest(page_token="AAAA")).reason == "INVALID_PAGE_TOKEN"
    with refusing("INVALID_FIELD"):
        rpcs.call(rpb.ListRelationshipsRequest(page_size=-1))
    bigger = rpb.ListRelationshipsRequest(page_size=500, page_token=first.next_page_token)
    assert len(rpcs.call(bigger).relationships) == len(STORED) - 1


# ----- deletion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", FILTERS[1:], ids=str)
def test_deletion_takes_what_its_filter_selects(rpcs: Rpcs, asked: dict[str, str]):
    rpcs.write(*STORED)
    count = 0
    while True:
        request = rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter(**asked), limit=2)
        answer = rpcs.call(request)
        assert answer.deleted_count <= 2
        count += answer.deleted_count
        if answer.complete:
            break
    assert count == sum(fits(text, asked) for text in STORED)
    assert set(rpcs.stored()) == {text for text in STORED if not fits(text, asked)}


def test_deletion_of_everything_takes_a_filter_that_says_so(rpcs: Rpcs):
    rpcs.write(*STORED)
    for request in (
        rpb.DeleteRelationshipsRequest(),
        rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter()),
        rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter(relation="viewer"), limit=-1),
    ):
        assert rpcs.refused(request).code == "INVALID_ARGUMENT"
    assert len(rpcs.stored()) == len(STORED)


def test_a_check_sees_a_deletion_by_its_revision(rpcs: Rpcs):
    rpcs.write(*STORED)
    assert rpcs.check("user:ana", "owner", "document:1", QUICK).decision == ALLOWED
    delete = rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter(subject="user:ana"))
    answer = rpcs.call(delete)
    assert (answer.deleted_count, answer.complete) == (5, True)
    fresh = Question(consistency=at_least(answer.revision))
    assert rpcs.check("user:ana", "owner", "document:1", fresh).decision == DENIED


# ----- import and export ----------------------------------------------------------------------------------------------


def many(start: int, count: int) -> list[rpb.Relationship]:
    return [row(f"document:{number:06}#viewer@user:{number % 7}") for number in range(start, start + count)]


def test_import_and_export_of_much(rpcs: Rpcs):
    messages = [many(0, 10_000), many(10_000, 5_000), [row(text) for text in STORED], many(10_000, 5_000)]
    answers = rpcs.imported(*messages)
    assert [answer.message_count for answer in answers] == [1, 2, 3, 4]
    assert [answer.relationship_count for answer in answers] == [10_000, 15_000, 15_009, 20_009]
    fresh = Question(consistency=at_least(answers[-1].revision))
    assert rpcs.check("user:0", "viewer", "document:000007", fresh).decision == ALLOWED
    exported = list(rpcs.exported())
    assert max(len(message.relationships) for message in exported) == 1_000
    texts = [text_of(item) for message in exported for item in message.relationships]
    assert len(texts) == len(set(texts)) == 15_009
    assert texts == rpcs.stored()
    assert set(texts) == {text_of(item) for message in messages for item in message}


def test_an_export_resumes_behind_any_message(rpcs: Rpcs):
    rpcs.imported(many(0, 3_500))
    whole = list(rpcs.exported(object_type="document"))
    assert len(whole) == 4
    for index, message in enumerate(whole):
        rest = list(rpcs.exported(message.resume_token, object_type="document"))
        assert [list(item.relationships) for item in rest] == [list(item.relationships) for item in whole[index + 1 :]]
    with pytest.raises(grpc.RpcError) as refused:
        list(rpcs.exported(whole[0].resume_token, object_type="doc"))
    assert Refused.of(refused.value).reason == "INVALID_PAGE_TOKEN"
    assert "resume_token does not belong" in str(refused.value.details())


def test_a_refusal_in_the_middle_keeps_what_was_committed_and_the_rest_can_be_sent_again(rpcs: Rpcs):
    good, bad = many(0, 100), [*many(100, 50), row("document:1#editor@user:ana")]
    with pytest.raises(Refused) as refused:
        rpcs.imported(good, bad, many(200, 50))
    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    (answered,) = refused.value.answers
    assert (answered.message_count, answered.relationship_count) == (1, 100)
    assert len(rpcs.stored()) == 100
    rpcs.imported(bad[:-1], many(200, 50))
    assert len(rpcs.stored()) == 200


def test_of_one_named_twice_the_last_counts(rpcs: Rpcs, sql):
    first, last = row("document:1#viewer@user:ana"), row("document:1#viewer@user:ana")
    first.expire_time.FromSeconds(1)
    (answer,) = rpcs.imported([first, last])
    assert answer.relationship_count == 2
    assert rpcs.check("user:ana", "viewer", "document:1").decision == ALLOWED
    with pytest.raises(Refused):
        rpcs.imported(many(0, 10_001))


def test_answers_fall_when_an_import_changes_what_they_rest_on(rpcs: Rpcs, watchword_server: LocalServer):
    """An import names relations and not nodes: the cache forgets all nodes of the relations, and of no other."""
    random = Random(1)
    rpcs.write("document:1#owner@user:ana")
    for _ in range(20):
        user, document = f"user:{random.randrange(1000)}", f"document:{random.randrange(1000)}"
        while rpcs.check(user, "viewer", document, QUICK).decision == ALLOWED:
            user = f"user:{random.randrange(1000)}"
        (answer,) = rpcs.imported([row(f"{document}#viewer@{user}")])
        fresh = Question(consistency=at_least(answer.revision))
        assert rpcs.check(user, "viewer", document, fresh).decision == ALLOWED
        assert rpcs.check(user, "viewer", document, fresh).decision == ALLOWED
