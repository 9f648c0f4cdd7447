"""What the log tells of relationships: the whole of it, in the order in which each of them changed."""

import random
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from organization_calls import Refused, World, eventually
from permission_rpc import Rpcs, key, row

from watchword.client.testing import LocalServer
from watchword.v1 import organizations_pb2
from watchword.v1 import relationships_pb2 as pb

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user, group#member]
type document
  relations
    define viewer: [user, group#member]
"""
TEXT = "document:1#viewer@user:ana"


@pytest.fixture
def rpcs(watchword, channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


def nothing() -> pb.Precondition:
    """A condition that always holds: by it a write takes the way of conditional ones."""
    kind = pb.PRECONDITION_KIND_MUST_NOT_EXIST
    return pb.Precondition(kind=kind, filter=pb.RelationshipFilter(object="document:none"))


def payloads(sql) -> list[dict[str, Any]]:
    """What the log tells, in its order."""
    rows = sql("SELECT payload FROM events WHERE type = 'relationships-changed' ORDER BY event_id")
    return [row["payload"] for row in rows]


def replayed(payloads: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """The relationships that are left when all that the log tells is done again, and when each expires."""
    found: dict[str, str | None] = {}
    for payload in payloads:
        for text in payload.get("deleted", ()):
            # What was not there must not be told as deleted.
            del found[text]
        for told in payload.get("written", ()):
            whole = {"relationship": told} if isinstance(told, str) else told
            found[whole["relationship"]] = whole.get("expire_time")
    return found


def stored(sql) -> dict[str, str | None]:
    """The relationships that are stored, and when each expires."""
    rows = sql("""
        SELECT object || '#' || relation || '@' || subject || CASE subject_relation WHEN '' THEN '' ELSE '#' END
            || subject_relation AS text, expire_time AT TIME ZONE 'UTC' AS expires
        FROM relationships
    """)
    return {row["text"]: row["expires"] and f"{row['expires'].isoformat()}+00:00" for row in rows}


def is_waiting(connection: psycopg.Connection[Any]) -> bool:
    """Whether some transaction waits for another one."""
    return connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is not None


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
@pytest.mark.parametrize("deletes", [False, True], ids=["write", "delete"])
def test_who_waits_for_another_writer_comes_after_it_in_the_log(
    rpcs: Rpcs, sql, watchword_server: LocalServer, deletes, conditional
):
    """The other writer has the row and has not told of it yet, when the second one begins."""
    rpcs.write(TEXT, "document:2#viewer@user:ana")
    preconditions = [nothing()] if conditional else []
    with psycopg.connect(watchword_server.database_url) as first, ThreadPoolExecutor(1) as pool:
        first.execute("UPDATE relationships SET expire_time = '2999-01-01' WHERE object = 'document:1'")
        if deletes:
            second = pool.submit(rpcs.write, deletes=[TEXT], preconditions=preconditions)
        else:
            second = pool.submit(rpcs.write, TEXT, preconditions=preconditions)
        with psycopg.connect(watchword_server.database_url, autocommit=True) as watching:
            eventually(lambda: is_waiting(watching))
        first.execute("""
            INSERT INTO events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload)
            VALUES (now(), 'relationships-changed', 'success', 'service:first', '{document:1}', '{}', '', '', '{}')
        """)
        first.commit()
        second.result()
    log = sql("SELECT actor FROM events WHERE objects = '{document:1}' ORDER BY event_id")
    assert [event["actor"] == "service:first" for event in log] == [True, False]


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
def test_only_what_was_there_is_told_as_deleted(rpcs: Rpcs, sql, conditional):
    preconditions = [nothing()] if conditional else []
    there = ["document:1#viewer@group:eng#member", TEXT]
    rpcs.write(*there)
    gone = "document:1#viewer@user:gone"
    rpcs.write("document:2#viewer@user:ana", deletes=[*there, gone], preconditions=preconditions)
    rpcs.write(deletes=[gone], preconditions=preconditions)
    both, neither = payloads(sql)[1:]
    assert both["written"] == ["document:2#viewer@user:ana"]
    assert sorted(both["deleted"]) == there
    assert neither == {}


@pytest.mark.parametrize("conditional", [False, True], ids=["plain", "conditional"])
def test_what_another_is_writing_is_not_told_as_deleted(rpcs: Rpcs, sql, watchword_server: LocalServer, conditional):
    """It cannot be seen yet, so it is not deleted, and is there afterwards."""
    with psycopg.connect(watchword_server.database_url) as writer:
        writer.execute(
            "INSERT INTO relationships (object, relation, subject) VALUES ('document:1', 'viewer', 'user:ana')"
        )
        rpcs.write(deletes=[TEXT], preconditions=[nothing()] if conditional else [])
        writer.commit()
    assert rpcs.stored() == [TEXT]
    assert payloads(sql) == [{}]


def test_a_role_that_is_lost_already_is_not_told_as_taken(watchword, channel, metadata, sql, watchword_server):
    """Somebody deletes the relationship itself while the member is being removed."""
    world = World(watchword, channel, metadata)
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana)
    world.add("acme", ben)
    before = len(payloads(sql))
    with psycopg.connect(watchword_server.database_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("DELETE FROM relationships WHERE subject = %s", [ben])
        removal = pool.submit(world.call, organizations_pb2.RemoveMemberRequest(organization_id="acme", subject=ben))
        with psycopg.connect(watchword_server.database_url, autocommit=True) as watching:
            eventually(lambda: is_waiting(watching))
        other.commit()
        assert removal.result().removed_count == 0
    assert payloads(sql)[before:] == []


ROWS = [f"document:{number}#viewer@{who}" for number in (1, 2) for who in ("user:ana", "group:eng#member")]
EXPIRY = [None, *(datetime(year, 1, 1, tzinfo=UTC) for year in (2998, 2999))]
"""So that of two writers of the same relationship it shows who was the later one."""


def rows_at_random(texts: Iterable[str], chance: random.Random) -> list[pb.Relationship]:
    return [row(text, expire_time=chance.choice(EXPIRY)) for text in texts]


def write_at_random(rpcs: Rpcs, chance: random.Random, texts: list[str]) -> None:
    """Make a change that may be refused for nothing but that others were in the way."""
    chosen = chance.sample(texts, chance.randint(1, 3))
    some = chance.randint(0, len(chosen))
    way = chance.random()
    try:
        if way < 0.2:
            asked = pb.RelationshipFilter(object=key(chosen[0]).object)
            rpcs.call(pb.DeleteRelationshipsRequest(filter=asked, limit=chance.randint(1, 3)))
        elif way < 0.4:
            rpcs.imported(rows_at_random(chosen, chance), rows_at_random(reversed(chosen), chance))
        else:
            preconditions = [nothing()] if way < 0.6 else []
            writes = rows_at_random(chosen[:some], chance)
            rpcs.write(*writes, deletes=chosen[some:], preconditions=preconditions)
    except Refused as refused:
        if refused.reason != "CONFLICT":
            raise


@pytest.mark.parametrize("seed", range(3))
def test_replaying_the_log_gives_what_is_stored(rpcs: Rpcs, sql, seed: int):
    """Many write and delete the same few relationships at the same time, in all ways there are."""
    chances = [random.Random(f"{seed}/{writer}") for writer in range(8)]
    with ThreadPoolExecutor(len(chances)) as pool:
        for _ in range(30):
            for writer in [pool.submit(write_at_random, rpcs, chance, ROWS) for chance in chances]:
                writer.result()
            # Not only in the end: what comes later would cover up most of what went wrong before.
            assert replayed(payloads(sql)) == stored(sql)


def manage_at_random(world: World, chance: random.Random, people: list[str]) -> None:
    """Change who has a role in the organization, or in a group that is made and deleted."""
    who = chance.choice(people)
    group_id = chance.choice(["", "eng"])
    role = "" if group_id else chance.choice(["member", "admin"])
    eng = organizations_pb2.Group(organization_id="acme", group_id=f"g{chance.randrange(10**9)}")
    try:
        match chance.randrange(4):
            case 0 | 1:
                world.add("acme", who, role, group_id=group_id)
            case 2:
                world.remove("acme", who, role, group_id=group_id)
            case 3:
                world.call(organizations_pb2.CreateGroupRequest(group=eng))
                world.add("acme", who, group_id=eng.group_id)
                world.call(organizations_pb2.DeleteGroupRequest(organization_id="acme", group_id=eng.group_id))
    except Refused as refused:
        if refused.reason != "CONFLICT":
            raise


def test_replaying_the_log_gives_who_has_which_role(watchword, channel, metadata, sql):
    """Roles are given and taken while the relationships that they are are written and deleted themselves."""
    world, rpcs = World(watchword, channel, metadata), Rpcs(channel, metadata)
    people = [world.user(name) for name in ("ana", "ben", "cleo")]
    world.organization("acme", people[0])
    world.group("acme", "eng", people[1])
    texts = [f"{node}@{who}" for node in ("organization:acme#member", "group:eng#member") for who in people[1:]]
    chances = [random.Random(f"roles/{writer}") for writer in range(6)]
    with ThreadPoolExecutor(len(chances)) as pool:
        for _ in range(15):
            managing = [pool.submit(manage_at_random, world, chance, people[1:]) for chance in chances[:3]]
            writing = [pool.submit(write_at_random, rpcs, chance, texts) for chance in chances[3:]]
            for writer in (*managing, *writing):
                writer.result()
            assert replayed(payloads(sql)) == stored(sql)
