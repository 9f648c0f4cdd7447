"""Changes of members at the same time: what must hold whichever comes first."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from organization_calls import Refused, World

from watchword.client.testing import LocalServer
from watchword.v1 import organizations_pb2 as pb
from watchword.v1 import permissions_pb2

ROUNDS = range(8)


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    return World(watchword, channel, metadata)


def at_once(*calls: Callable[[], object]) -> list[str]:
    """Make calls at the same time; give for each of them "" or the reason of its refusal."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], object]) -> str:
        barrier.wait()
        try:
            call()
        except Refused as refused:
            return refused.reason
        return ""

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("round_", ROUNDS)
def test_two_last_owners_are_not_removed_at_once(world: World, round_):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, owner=[ben])
    reasons = at_once(lambda: world.remove("acme", ana), lambda: world.remove("acme", ben))
    assert sorted(reasons) == ["", "LAST_OWNER"]
    assert len(world.members("acme", role="owner")) == 1


def test_the_second_removal_waits_for_the_first(world: World, watchword_server: LocalServer):
    """The same, held still: the first has taken away its owner, and has not committed."""
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, owner=[ben])
    with (
        psycopg.connect(watchword_server.database_url) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        connection.execute("select 1 from organizations where organization_id = 'acme' for update")
        connection.execute("delete from relationships where subject = %s", [ana])
        second = pool.submit(world.refused, pb.RemoveMemberRequest(organization_id="acme", subject=ben))
        while not connection.execute("select 1 from pg_locks where not granted").fetchone():
            assert not second.done()
        connection.commit()
        assert second.result().reason == "LAST_OWNER"


@pytest.mark.parametrize("round_", ROUNDS)
def test_nothing_is_added_to_what_is_being_deleted(world: World, sql, round_):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana)
    world.group("acme", "eng")
    token = world.invite("acme").invitation_token
    reasons = at_once(
        lambda: world.call(pb.DeleteOrganizationRequest(organization_id="acme")),
        lambda: world.add("acme", ben),
        lambda: world.add("acme", ben, group_id="eng"),
        lambda: world.add("acme", "group:eng#member"),
        lambda: world.group("acme", "ops"),
        lambda: world.call(pb.AcceptInvitationRequest(invitation_token=token, user_id=ben.removeprefix("user:"))),
    )
    assert reasons[0] == ""
    assert set(reasons) <= {"", "WRONG_STATUS", "INVITATION_INVALID"}
    assert sql("select * from relationships") == []
    assert sql("select * from groups where status = 'active'") == []
    assert sql("select * from invitations where end_time is null") == []


@pytest.mark.parametrize("round_", ROUNDS)
def test_no_deleted_group_is_a_member(world: World, sql, round_):
    world.organization("acme")
    for name in ("eng", "ops"):
        world.group("acme", name)
    reasons = at_once(
        lambda: world.call(pb.DeleteGroupRequest(organization_id="acme", group_id="eng")),
        lambda: world.add("acme", "group:eng#member", "admin"),
        lambda: world.add("acme", "group:eng#member", group_id="ops"),
        lambda: world.add("acme", "group:ops#member", group_id="eng"),
    )
    assert reasons[0] == ""
    assert set(reasons) <= {"", "WRONG_STATUS"}
    assert sql("select * from relationships where object ~ 'eng' or subject ~ 'eng'") == []


@pytest.mark.parametrize("round_", ROUNDS)
def test_no_deleted_account_is_a_member(world: World, sql, round_):
    ana = world.user("ana")
    user_id = ana.removeprefix("user:")
    accounts = world.watchword.service_accounts
    accounts.create(f"shop-{round_}")
    world.organization("acme")
    token = world.invite("acme").invitation_token
    reasons = at_once(
        lambda: world.watchword.users.delete(user_id),
        lambda: accounts.delete(f"shop-{round_}"),
        lambda: world.add("acme", ana),
        lambda: world.add("acme", f"service:shop-{round_}"),
        lambda: world.call(pb.AcceptInvitationRequest(invitation_token=token, user_id=user_id)),
    )
    assert set(reasons) <= {"", "WRONG_STATUS"}
    assert sql("select * from relationships") == []


WITH = "model\n  schema 1.1\ntype user\ntype organization\n  relations\n    define member: [user]\n"
WITHOUT = "model\n  schema 1.1\ntype user\ntype organization\n  relations\n    define owner: [user]\n"


@pytest.mark.parametrize("round_", ROUNDS)
def test_no_role_is_given_by_a_model_that_is_no_longer_in_force(world: World, sql, round_):
    world.model(WITH)
    world.organization("acme")
    users = [world.user(f"u{number}") for number in range(4)]
    write = permissions_pb2.WriteModelRequest(dsl=WITHOUT)
    reasons = at_once(lambda: world.call(write), *(lambda user=user: world.add("acme", user) for user in users))
    if reasons[0] == "MODEL_ORPHANS":
        # The new model came after a member, and is refused: the old one is in force.
        assert sql("select * from relationships") != []
    else:
        assert reasons[0] == ""
        assert set(reasons[1:]) == {"MODEL_LACKS_RELATION"}
        assert sql("select * from relationships") == []


def test_a_role_waits_for_a_model_that_is_being_put_into_force(world: World, watchword_server: LocalServer, sql):
    """The same, held still: the new model has counted what it would make orphans of, and has not committed."""
    ana = world.user("ana")
    world.model(WITH)
    world.organization("acme")
    with (
        psycopg.connect(watchword_server.database_url) as connection,
        ThreadPoolExecutor(1) as pool,
    ):
        connection.execute("lock table relationships in share row exclusive mode")
        adding = pool.submit(world.refused, pb.AddMemberRequest(organization_id="acme", subject=ana))
        while not connection.execute("select 1 from pg_locks where not granted").fetchone():
            assert not adding.done()
        (model,) = sql("select openfga_json from permission_models order by sequence desc limit 1")
        other = model["openfga_json"].replace('"member"', '"guest"')
        connection.execute(
            "insert into permission_models (model_id, openfga_json, create_time) values (gen_random_uuid(), %s, now())",
            [other],
        )
        connection.commit()
        assert adding.result().reason == "MODEL_LACKS_RELATION"
    assert sql("select * from relationships") == []


@pytest.mark.parametrize("round_", range(3))
def test_members_change_from_all_sides(world: World, sql, round_):
    """Many changes of one organization at the same time: every one is made or refused for a reason, none is stuck."""
    users = [world.user(f"u{number}") for number in range(4)]
    world.organization("acme", users[0])
    world.group("acme", "eng")
    calls: list[Callable[[], object]] = []
    for user, role in itertools.product(users, ("member", "admin", "owner")):
        calls.append(lambda user=user, role=role: world.add("acme", user, role))
        calls.append(lambda user=user, role=role: world.remove("acme", user, role))
    reasons = at_once(*calls)
    assert set(reasons) <= {"", "LAST_OWNER", "CONFLICT"}
    assert world.members("acme", role="owner")
    told = sql("select payload from events where type = 'relationships-changed' order by event_id")
    written = {row for event in told for row in event["payload"].get("written", ())}
    stored = {f"organization:acme#{role}@{subject}" for subject, role in world.members("acme")}
    assert stored <= written
