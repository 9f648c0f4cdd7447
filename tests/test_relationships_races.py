"""Writes of relationships that race: for conditions, with a new model, and with the permissions that they give."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from organization_calls import Refused, eventually
from permission_rpc import ALLOWED, Question, Rpcs, at_least, refusing, row

from watchword.client import Client
from watchword.v1 import relationships_pb2 as rpb
from watchword.v1 import users_pb2

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
"""
WITHOUT = MODEL.replace("[user, user:*, group#member] or owner", "owner")
MUST_NOT_EXIST = rpb.PRECONDITION_KIND_MUST_NOT_EXIST


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    found = Rpcs(channel, metadata)
    found.model(MODEL)
    return found


def nothing(**asked: str) -> rpb.Precondition:
    return rpb.Precondition(kind=MUST_NOT_EXIST, filter=rpb.RelationshipFilter(**asked))


def made(reasons: set[str], call, *values, **more) -> bool:
    """Whether a call was made; it may be refused for some reasons."""
    try:
        call(*values, **more)
    except Refused as refused:
        if refused.reason in reasons:
            return False
        raise
    return True


@pytest.mark.parametrize("asked", [{"object_type": "document"}, {"relation": "owner"}, {"subject_type": "user"}])
def test_of_racing_writes_that_exclude_each_other_one_is_made(rpcs: Rpcs, asked: dict[str, str]):
    """Each asks that there be nothing yet, and writes something: two passing is what must not be."""
    texts = [f"document:{number}#owner@user:{number}" for number in range(4)]
    for _ in range(15):
        barrier = Barrier(4)

        def write(text: str, barrier: Barrier = barrier) -> bool:
            barrier.wait()
            return made({"PRECONDITION_FAILED"}, rpcs.write, text, preconditions=[nothing(**asked)])

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(write, texts)) == 1
        assert len(rpcs.stored()) == 1
        rpcs.write(deletes=texts)


@pytest.mark.parametrize("preconditions", [[], [nothing(object="document:nothing")]], ids=["plain", "conditional"])
def test_no_orphan_gets_in_while_a_model_comes_into_force(rpcs: Rpcs, sql, preconditions):
    """Writers write what the new model forbids while it comes into force: one of the two is refused."""
    in_force = 0
    for number in range(15):
        barrier = Barrier(5)

        def write(writer: int, barrier: Barrier = barrier, number: int = number) -> None:
            barrier.wait()
            for item in range(10):
                text = f"document:{number}-{writer}-{item}#viewer@user:ana"
                more = {"deletes": [f"document:{number}-{writer}-{item - 1}#viewer@user:ana"]}
                if not made({"INVALID_FIELD", "CONFLICT"}, rpcs.write, text, preconditions=preconditions, **more):
                    rpcs.write(**more)

        def change(barrier: Barrier = barrier) -> bool:
            barrier.wait()
            return made({"MODEL_ORPHANS", "CONFLICT"}, rpcs.model, WITHOUT, allow_orphans=True)

        with ThreadPoolExecutor(5) as pool:
            writers = [pool.submit(write, writer) for writer in range(4)]
            changing = pool.submit(change)
            for writer in writers:
                writer.result()
        if changing.result():
            in_force += 1
            # What is there was there before the model: its event is of an earlier transaction.
            late = sql("""
                SELECT payload FROM events WHERE type = 'relationships-changed' AND payload ? 'written'
                    AND event_id > (SELECT max(event_id) FROM events WHERE 'permission_model:' || (
                        SELECT model_id::text FROM permission_models ORDER BY sequence DESC LIMIT 1) = ANY(objects))
            """)
            assert late == []
        rpcs.model(MODEL, allow_orphans=True)
        sql("DELETE FROM relationships")
    assert in_force


# ----- the reserved type ----------------------------------------------------------------------------------------------


@pytest.fixture
def billing(rpcs: Rpcs, watchword: Client) -> Rpcs:
    """A service account, with a key that may do nothing but verify tokens."""
    watchword.service_accounts.create("billing")
    return rpcs.with_key(watchword.service_accounts.create_key("billing", permissions=["verify_tokens"]).api_key)


def may_read(rpcs: Rpcs) -> bool:
    return made({"PERMISSION_MISSING"}, rpcs.call, users_pb2.ListUsersRequest())


def test_a_granted_account_may_call_and_not_after_the_revocation(rpcs: Rpcs, billing: Rpcs):
    grant = "watchword:deployment#read_users@service:billing"
    for _ in range(20):
        eventually(lambda: not may_read(billing))
        fresh = Question(consistency=at_least(rpcs.write(grant)))
        assert rpcs.check("service:billing", "read_users", "watchword:deployment", fresh).decision == ALLOWED
        eventually(lambda: may_read(billing))
        rpcs.write(deletes=[grant])
    eventually(lambda: not may_read(billing))


def test_a_grant_expires(rpcs: Rpcs, billing: Rpcs, watchword_server):
    grant = row("watchword:deployment#read_users@service:billing")
    grant.expire_time.FromSeconds(int(watchword_server.time()) + 3600)
    rpcs.write(grant)
    eventually(lambda: may_read(billing))
    watchword_server.advance(3601)
    assert not may_read(billing)


def test_nobody_hands_out_or_takes_away_what_they_do_not_hold(rpcs: Rpcs, billing: Rpcs, watchword: Client):
    def key(*permissions: str) -> Rpcs:
        return rpcs.with_key(watchword.service_accounts.create_key("billing", permissions=permissions).api_key)

    read, administrator = (f"watchword:deployment#{name}@service:mail" for name in ("read_users", "administrator"))
    watchword.service_accounts.create("mail")
    key("write_relationships", "read_users").write(read)
    weak = key("write_relationships")
    rpcs.write(administrator, "document:1#owner@user:ana")
    delete = rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter(object_type="watchword"))
    for refused in (
        lambda: weak.write(administrator),
        lambda: weak.write("document:2#owner@user:ana", deletes=[administrator]),
        lambda: weak.write(administrator, preconditions=[nothing(object="document:9")]),
        lambda: weak.imported([row("document:2#owner@user:ana"), row(administrator)]),
        lambda: weak.call(delete),
    ):
        with refusing("PERMISSION_MISSING"):
            refused()
    assert rpcs.stored() == ["document:1#owner@user:ana", administrator, read]
    rpcs.write("watchword:deployment#administrator@service:billing")
    eventually(lambda: made({"PERMISSION_MISSING"}, weak.call, delete))  # it holds all by the grant itself
    assert rpcs.stored() == ["document:1#owner@user:ana"]


@pytest.mark.parametrize(
    "text",
    [
        "watchword:deployment#read_users@user:ana",
        "watchword:deployment#read_users@service:*",
        "watchword:deployment#administrator@group:1#member",
    ],
)
def test_permissions_are_for_service_accounts_only(rpcs: Rpcs, text: str):
    with refusing("INVALID_FIELD"):
        rpcs.write(text)
