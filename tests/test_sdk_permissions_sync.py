# Made by client/make_sync.py from tests/test_sdk_permissions_async.py: do not edit.
"""The SDK's permissions and relationships against the real server."""

import datetime as dt
import json
import uuid

import pytest

from watchword.client import (
    CheckAnswer,
    CheckError,
    CheckItem,
    Client,
    Consistency,
    Decision,
    Precondition,
    Relationship,
    RelationshipFilter,
    RelationshipKey,
    errors,
)
from watchword.client.explanation import explanation_lines

MODEL = """model
  schema 1.1

type user

type group
  relations
    define member: [user]

type document
  relations
    define owner: [user]
    define viewer: [user, user:*, group#member, user with in_hours] or owner
    define blocked: [user]
    define can_view: viewer but not blocked

condition in_hours(hour: int, until: int) {
  hour < until
}
"""
FULL = Consistency.full()


def viewer(subject: str, document: int | str, **more) -> Relationship:
    return Relationship(subject, "viewer", f"document:{document}", **more)


def names(source) -> list[str]:
    return list(source)


@pytest.fixture
def client(watchword: Client) -> Client:
    watchword.permissions.write_model(dsl=MODEL)
    return watchword


def test_models(watchword: Client):
    permissions = watchword.permissions
    starter = permissions.get_model()
    assert starter.create_time is None
    tried = permissions.write_model(dsl=MODEL, validate_only=True)
    assert (tried.model.model_id, tried.revision) == (None, None)
    assert (permissions.get_model()) == starter
    written = permissions.write_model(dsl=MODEL)
    assert written.revision
    assert (written.orphan_count, written.orphan_examples) == (0, ())
    found = permissions.get_model()
    assert found.model_id == written.model.model_id
    assert "define can_view" in (found.dsl or "")
    assert permissions.get_model(found.model_id) == found
    again = permissions.write_model(openfga_json=found.openfga_json)
    listed = list(permissions.list_models(page_size=1))
    assert [model.model_id for model in listed][:2] == [again.model.model_id, found.model_id]
    assert (listed[0].dsl, listed[0].openfga_json) == (None, None)
    assert len((permissions.list_models_page(page_size=1)).items) == 1
    assert json.loads(found.openfga_json or "")["schema_version"] == "1.1"
    with pytest.raises(errors.ModelInvalidError) as caught:
        permissions.write_model(dsl=MODEL.replace("[user]", "[usr]"))
    assert caught.value.field_violations[0].field.startswith("dsl:")
    for wrong in ({}, {"dsl": "x", "openfga_json": "{}"}):
        with pytest.raises(ValueError, match="either"):
            permissions.write_model(**wrong)


def test_orphans(client: Client):
    client.relationships.write([viewer("user:ana", 1)])
    other = MODEL.replace("document", "paper")
    with pytest.raises(errors.ModelOrphansError) as caught:
        client.permissions.write_model(dsl=other)
    assert caught.value.metadata["count"] == "1"
    written = client.permissions.write_model(dsl=other, allow_orphans=True)
    assert written.orphan_count == 1
    assert written.orphan_examples == (RelationshipKey("user:ana", "viewer", "document:1"),)


def test_checks(client: Client):
    permissions = client.permissions
    assert not permissions.check("user:ana", "can_view", "document:1")
    revision = client.relationships.write([viewer("group:eng#member", 1), viewer("user:eve", 1)])
    client.relationships.write([Relationship("user:ana", "member", "group:eng")])
    answer = permissions.check("user:ana", "can_view", "document:1", consistency=FULL)
    assert answer
    assert answer.allowed
    assert answer.decision is Decision.ALLOWED
    assert answer.horizon
    assert answer.nodes
    at_least = Consistency.at_least(revision)
    assert permissions.check("user:eve", "can_view", "document:1", consistency=at_least)
    blocked = Relationship("user:eve", "blocked", "document:1")
    answer = permissions.check(
        "user:eve", "can_view", "document:1", contextual_relationships=[blocked], consistency=FULL
    )
    assert (answer.decision, answer.horizon) == (Decision.DENIED, None)
    with pytest.raises(errors.InvalidArgumentError):
        permissions.check("user:ana", "no_such", "document:1")
    with pytest.raises(errors.WatchwordError):
        permissions.check("user:ana", "viewer", "document:1", consistency=Consistency.at_least("nonsense"))


def test_conditions_and_expiry(client: Client, watchword_server):
    permissions = client.permissions
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    client.relationships.write(
        [
            viewer("user:ana", 1, condition="in_hours", context={"until": 18}),
            viewer("user:eve", 1, expire_time=soon),
        ]
    )
    answer = permissions.check("user:ana", "viewer", "document:1", consistency=FULL)
    assert not answer
    assert (answer.decision, answer.missing_context) == (Decision.CONDITIONAL, ("hour",))
    assert permissions.check("user:ana", "viewer", "document:1", context={"hour": 9}, consistency=FULL)
    assert not permissions.check("user:ana", "viewer", "document:1", context={"hour": 19}, consistency=FULL)
    with pytest.raises(errors.ConditionFailedError):
        permissions.check("user:ana", "viewer", "document:1", context={"hour": "x"}, consistency=FULL)
    expiring = permissions.check("user:eve", "viewer", "document:1", consistency=FULL)
    assert dt.timedelta() < expiring.remaining_lifetime <= dt.timedelta(hours=1)
    page = permissions.list_objects_page("user:ana", "viewer", "document", consistency=FULL)
    assert page.objects == ()
    assert [(each.name, each.missing_context) for each in page.conditional] == [("document:1", ("hour",))]


def test_batches(client: Client):
    client.relationships.write([viewer("user:ana", 1), viewer("user:eve", 1, condition="in_hours")])
    ana, eve, wrong, failing = client.permissions.batch_check(
        [
            CheckItem("user:ana", "viewer", "document:1"),
            CheckItem("user:eve", "viewer", "document:1"),
            CheckItem("user:ana", "no_such", "document:1"),
            CheckItem("user:eve", "viewer", "document:1", context={"hour": "x", "until": 1}),
        ],
        consistency=FULL,
    )
    assert isinstance(ana, CheckAnswer)
    assert ana.allowed
    assert ana.horizon
    assert isinstance(eve, CheckAnswer)
    assert not eve
    assert eve.missing_context == ("hour", "until")
    assert isinstance(wrong, CheckError)
    assert not wrong
    assert wrong.message
    assert isinstance(failing, CheckError)
    assert failing.reason == "CONDITION_FAILED"


def test_lists(client: Client):
    permissions = client.permissions
    documents = [f"document:{number}" for number in range(5)]
    client.relationships.write([viewer("user:ana", number) for number in range(5)])
    revision = client.relationships.write([viewer("user:*", 0), Relationship("user:eve", "blocked", "document:0")])
    fresh = Consistency.at_least(revision)
    found = permissions.list_objects("user:ana", "viewer", "document", consistency=fresh, page_size=2)
    assert sorted(names(found)) == documents
    first = permissions.list_objects_page("user:ana", "viewer", "document", consistency=fresh, page_size=2)
    assert (len(first.objects), first.complete) == (2, False)
    with pytest.raises(errors.InvalidPageTokenError):
        permissions.list_objects_page("user:eve", "viewer", "document", page_token=first.next_page_token)
    found = permissions.list_subjects("document:0", "can_view", ["user"], consistency=fresh, page_size=1)
    assert sorted(names(found)) == ["user:*", "user:ana"]
    page = permissions.list_subjects_page("document:0", "can_view", ["user"], consistency=fresh)
    assert (sorted(page.subjects), page.excluded, page.complete) == (["user:*", "user:ana"], ("user:eve",), True)
    assert page.next_page_token is None
    assert page.horizon


def test_explanations(client: Client):
    client.relationships.write(
        [viewer("user:ana", 1), Relationship("user:eve", "blocked", "document:1"), viewer("user:eve", 1)]
    )
    why = client.permissions.explain("user:ana", "can_view", "document:1")
    assert why
    assert why.tree.verdict is Decision.ALLOWED
    lines = explanation_lines(why.tree, subject="user:ana")
    assert lines[0].startswith("+ document:1#can_view")
    kinds, steps = set(), [why.tree]
    while steps:
        step = steps.pop()
        kinds.add(step.kind)
        steps += step.children
    assert "grant" in kinds
    denied = client.permissions.explain("user:bob", "can_view", "document:1")
    assert not denied.allowed
    assert {step.kind for step in denied.nearest} == {"missing-grant"}
    assert explanation_lines(denied.tree, subject="user:bob")[0].startswith("-")


def test_writes(client: Client):
    relationships = client.relationships
    expire_time = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    stored = [
        viewer("user:ana", 1, condition="in_hours", context={"until": 18}, expire_time=expire_time),
        viewer("user:eve", 2),
    ]
    request_id = str(uuid.uuid4())
    revision = relationships.write(stored, request_id=request_id)
    assert relationships.write(stored, request_id=request_id) == revision
    assert list(relationships.list(page_size=1)) == stored
    of_ana = RelationshipFilter(subject="user:ana")
    assert (relationships.list_page(of_ana)).items == (stored[0],)
    with pytest.raises(errors.PreconditionFailedError) as caught:
        relationships.write(
            [viewer("user:bob", 1)],
            preconditions=[
                Precondition(must_exist=True, filter=of_ana),
                Precondition(must_exist=False, filter=of_ana),
            ],
        )
    assert caught.value.metadata["index"] == "1"
    relationships.write(deletes=[stored[0], RelationshipKey("user:eve", "viewer", "document:2")])
    assert list(relationships.list()) == []
    relationships.write([viewer("user:ana", number) for number in range(5)])
    of_documents = RelationshipFilter(object_type="document", relation="viewer", subject_type="user")
    gone = relationships.delete(of_documents, limit=3)
    assert (gone.deleted_count, gone.complete) == (3, False)
    gone = relationships.delete(of_documents)
    assert (gone.deleted_count, gone.complete) == (2, True)
    assert gone.revision
    with pytest.raises(errors.InvalidArgumentError):
        relationships.delete(RelationshipFilter())
    with pytest.raises(errors.InvalidArgumentError):
        relationships.write([Relationship("user:ana", "no_such", "document:1")])


def test_imports_and_exports(client: Client):
    stored = [viewer(f"user:u{number:04}", number % 7) for number in range(2500)]
    seen = []
    done = client.relationships.import_(iter(stored), batch_size=300, on_progress=seen.append)
    assert done.relationship_count == 2500
    assert done.revision
    assert seen == [*range(300, 2500, 300), 2500]
    exported = list(client.relationships.export())
    assert exported == sorted(stored, key=lambda each: (each.object, each.relation, each.subject))
    of_one = RelationshipFilter(object="document:3")
    assert {each.object for each in client.relationships.export(of_one)} == {"document:3"}
    nothing = client.relationships.import_([])
    assert (nothing.relationship_count, nothing.revision) == (0, None)
    with pytest.raises(errors.InvalidArgumentError):
        client.relationships.import_([viewer("user:new", 1), Relationship("user:ana", "no_such", "document:1")])
    with pytest.raises(ValueError, match="batch_size"):
        client.relationships.import_([], batch_size=0)
