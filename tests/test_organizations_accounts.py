"""What becomes of an account's roles and grants when it is suspended, reinstated and deleted."""

from collections.abc import Callable

import pytest
from conftest import PASSWORD
from organization_calls import ALLOWED, DENIED, Refused, World, eventually

from watchword.client import Client, PermissionDeniedError
from watchword.server.identifiers import node
from watchword.v1 import permissions_pb2 as pb


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    return World(watchword, channel, metadata)


MODEL = """model
  schema 1.1
type user
type service
type group
  relations
    define member: [user, service, group#member]
type document
  relations
    define owner: [user, service]
    define viewer: [user, service, user:*, group#member] or owner
    define banned: [user]
    define reader: viewer but not banned
"""


def answers(world: World, subject: str, *, full: bool) -> dict[str, object]:
    """What all questions say of a subject's way to a document."""
    consistency = pb.Consistency(full=True) if full else pb.Consistency(minimize_latency=True)
    question = {"subject": subject, "relation": "reader", "object": "document:1"}
    kind = subject.partition(":")[0]
    batch = world.call(pb.BatchCheckRequest(items=[pb.BatchCheckItem(**question)] * 2, consistency=consistency))
    objects = world.call(
        pb.ListObjectsRequest(subject=subject, relation="reader", object_type="document", consistency=consistency)
    )
    subjects = world.call(
        pb.ListSubjectsRequest(object="document:1", relation="reader", subject_filters=[kind], consistency=consistency)
    )
    return {
        "check": world.call(pb.CheckRequest(**question, consistency=consistency)).decision,
        "batch": {result.decision for result in batch.results},
        "objects": list(objects.objects),
        "listed": subject in subjects.subjects,
        "explain": world.call(pb.ExplainRequest(**question)).decision,
    }


YES = {"check": ALLOWED, "batch": {ALLOWED}, "objects": ["document:1"], "listed": True, "explain": ALLOWED}
NO = {"check": DENIED, "batch": {DENIED}, "objects": [], "listed": False, "explain": DENIED}


def closing(world: World, subject: str) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """Suspend, reinstate and delete."""
    kind, _, id_ = subject.partition(":")
    group = world.watchword.users if kind == "user" else world.watchword.service_accounts
    return lambda: group.suspend(id_), lambda: group.reinstate(id_), lambda: group.delete(id_)


@pytest.mark.parametrize(
    ("kind", "way"),
    [("user", "direct"), ("user", "group"), ("user", "everybody"), ("service", "direct"), ("service", "group")],
)
def test_an_account_is_denied_everything_while_it_is_suspended(world: World, sql, kind: str, way: str):
    if kind == "user":
        subject = world.user("ana")
    else:
        subject = f"service:{world.watchword.service_accounts.create('web-shop').service_account_id}"
    world.model(MODEL)
    paths = {
        "direct": [f"document:1#owner@{subject}"],
        "group": [f"group:eng#member@{subject}", "document:1#viewer@group:eng#member"],
        "everybody": ["document:1#viewer@user:*"],
    }
    world.write(*paths[way])
    suspend, reinstate, delete = closing(world, subject)
    # A wildcard names nobody: lists of subjects hold it as it is.
    yes = YES if way != "everybody" else YES | {"listed": False}

    def is_everywhere(expected: dict[str, object]) -> None:
        assert answers(world, subject, full=True) == expected
        # From the cache as soon as it has heard of it.
        eventually(lambda: answers(world, subject, full=False) == expected)

    is_everywhere(yes)
    suspend()
    is_everywhere(NO)
    (step,) = world.call(pb.ExplainRequest(subject=subject, relation="reader", object="document:1")).steps
    assert step.kind == pb.EXPLANATION_STEP_KIND_ACCOUNT_DISABLED
    reinstate()
    is_everywhere(yes)
    delete()
    is_everywhere(NO)
    assert sql("select * from relationships where subject = %s or object = %s", subject, subject) == []


def test_a_deleted_account_leaves_no_relationships(world: World, sql):
    ana, ben = world.user("ana"), world.user("ben")
    world.watchword.service_accounts.create("web-shop")
    world.organization("acme", ana, admin=["service:web-shop"], member=[ben])
    world.group("acme", "eng", ana, ben)
    sql(
        "insert into relationships (object, relation, subject, subject_relation) values "
        "(%s, 'manager', %s, ''), ('document:1', 'viewer', %s, 'friend')",
        *(ana, ben, ana),
    )
    before = sql("select max(event_id) as id from events")[0]["id"]
    world.watchword.users.delete(ana.removeprefix("user:"))
    world.watchword.service_accounts.delete("web-shop")
    assert world.members("acme") == {(ben, "member")}
    assert world.members("acme", group_id="eng") == {(ben, "member")}
    # Of the last owner too: an account goes for good whatever its roles.
    assert sql("select * from relationships where subject in (%s, 'service:web-shop') or object = %s", ana, ana) == []
    events = sql(
        "select * from events where event_id > %s and type = 'relationships-changed' order by event_id", before
    )
    told = sorted(row for event in events for row in event["payload"]["deleted"])
    assert told == sorted(
        [
            f"organization:acme#owner@{ana}",
            f"group:eng#member@{ana}",
            f"{ana}#manager@{ben}",
            f"document:1#viewer@{ana}#friend",
            "organization:acme#admin@service:web-shop",
        ]
    )
    nodes = {hash_ for event in events for hash_ in event["nodes"]}
    assert {node("organization:acme#owner"), node("group:eng#member"), node("organization:acme#admin")} <= nodes


def test_an_account_with_many_relationships_goes_in_bulk(world: World, sql):
    ana = world.user("ana")
    sql(
        "insert into relationships (object, relation, subject, subject_relation) "
        "select 'document:' || n, 'viewer', %s, '' from generate_series(1, 12000) n",
        ana,
    )
    world.watchword.users.delete(ana.removeprefix("user:"))
    assert sql("select * from relationships") == []
    events = sql("select * from events where type = 'relationships-changed'")
    assert sum(len(event["payload"]["deleted"]) for event in events) == 12_000
    assert max(len(event["nodes"]) for event in events) <= 2
    assert {node("document#viewer"), node("document:*#viewer")} == {
        hash_ for event in events for hash_ in event["nodes"]
    }


def test_a_deletion_that_is_repeated_changes_nothing(world: World, sql):
    ana = world.user("ana").removeprefix("user:")
    world.watchword.users.delete(ana)
    count = sql("select count(*) from events")
    world.watchword.users.delete(ana)
    assert sql("select count(*) from events") == count


# ----- grants of Watchword's own permissions --------------------------------------------------------------------------


def test_nobody_has_a_hand_in_an_account_that_was_granted_more(world: World, watchword_server):
    """Threat: every key of the account can do what the account was granted, a new one too."""
    accounts = world.watchword.service_accounts
    accounts.create("robot")
    accounts.create("clerk")
    key = accounts.create_key("robot", permissions=["read_users"])
    world.write("watchword:deployment#administrator@service:robot")
    clerk = accounts.create_key("clerk", permissions=["write_service_accounts", "read_users"])
    with Client(watchword_server.address, api_key=clerk.api_key) as client:
        mine = client.service_accounts
        for attempt in (
            lambda: mine.create_key("robot", permissions=["read_users"]),
            lambda: mine.rotate_key(key.key.key_id),
            lambda: mine.suspend("robot"),
            lambda: mine.delete("robot"),
        ):
            with pytest.raises(PermissionDeniedError):
                attempt()
        mine.create_key("clerk", permissions=["read_users"])
    # Who may do everything may do this, and the grant goes with the account.
    accounts.create_key("robot", permissions=["read_users"])
    accounts.delete("robot")


def test_a_deleted_owner_can_be_replaced_by_a_service(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana)
    world.watchword.users.delete(ana.removeprefix("user:"))
    assert world.members("acme") == set()
    world.add("acme", ben, "owner")
    with pytest.raises(Refused) as refused:
        world.remove("acme", ben)
    assert refused.value.reason == "LAST_OWNER"
    assert world.watchword.sign_in("ben", password=PASSWORD).session
