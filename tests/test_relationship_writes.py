"""Writes that come at the same time share a transaction, and nobody notices: neither in the log nor by its answer."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import psycopg
import pytest
from deployment import seconds_until, waiting_for_locks
from google.protobuf.empty_pb2 import Empty
from hypothesis import given
from hypothesis import strategies as st

from watchword.client import (
    AsyncClient,
    ConflictError,
    DeadlineExceededError,
    InvalidArgumentError,
    Relationship,
    RelationshipKey,
)
from watchword.client.testing import LocalServer
from watchword.server import relationship_writes
from watchword.server.call import server_call
from watchword.server.permissions.relationships import Relationship as Stored
from watchword.server.relationship_writes import Write
from watchword.server.storage.database import Told
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.relationships import Key, Part

TOLD = Told(server_call("test"), Event(EventType.RELATIONSHIPS_CHANGED, ()), Empty())
MODEL = """model
  schema 1.1
type user
type document
  relations
    define viewer: [user]
"""


def viewer(name: object) -> Relationship:
    return Relationship(object=f"document:{name}", relation="viewer", subject="user:ana")


def key(name: object) -> RelationshipKey:
    return RelationshipKey(object=f"document:{name}", relation="viewer", subject="user:ana")


def text(name: object) -> str:
    return f"document:{name}#viewer@user:ana"


@pytest.fixture
async def client(watchword_async: AsyncClient) -> AsyncClient:
    await watchword_async.permissions.write_model(dsl=MODEL)
    return watchword_async


@st.composite
def parts(draw: st.DrawFn) -> Write:
    names = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True))
    cut = draw(st.integers(0, len(names)))
    writes = [Stored(f"document:{name}", "viewer", "user:ana") for name in names[:cut]]
    deletes = [Key(f"document:{name}", "viewer", "user:ana") for name in names[cut:]]
    return Write(Part(writes, deletes), told=TOLD, model_id=UUID(int=draw(st.integers(0, 1))))


@given(st.lists(parts(), max_size=32), st.integers(4, 20))
def test_what_shares_a_statement_has_one_model_and_no_relationship_in_common(writes, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relationship_writes, "MAX_ITEMS", most)
        found = relationship_writes.groups(writes)
    assert sorted(number for group in found for number in group) == list(range(len(writes)))
    for group in found:
        assert len({writes[number].model_id for number in group}) == 1
        keys = Counter(key for number in group for key in writes[number].keys)
        assert set(keys.values()) == {1}
        assert len(keys) <= most
        assert group == sorted(group)


async def test_each_call_has_its_own_event_and_its_own_answer(client: AsyncClient, sql):
    """A third only writes, a third only deletes what is there or is not, a third does both."""
    await client.relationships.write([viewer(f"old-{number}") for number in range(0, 60, 2)])
    before = sql("SELECT max(event_id) AS last FROM events")[0]["last"]
    ids = [str(uuid4()) for _ in range(60)]
    writes = [[viewer(f"new-{number}")] if number % 3 != 1 else [] for number in range(60)]
    deletes = [[key(f"old-{number}")] if number % 3 != 0 else [] for number in range(60)]

    async def write(number: int) -> str:
        return await client.relationships.write(writes[number], deletes[number], request_id=ids[number])

    revisions = await asyncio.gather(*map(write, range(60)))
    assert len(set(revisions)) < len(revisions), "none of them shared a transaction"
    events = sql("SELECT xid::text, payload FROM events WHERE event_id > %s", before)
    told = {event["payload"].get("written", event["payload"].get("deleted", [""]))[0]: event for event in events}
    assert len(events) == 60
    for number, revision in enumerate(revisions):
        written = [text(f"new-{number}")] if writes[number] else []
        deleted = [text(f"old-{number}")] if deletes[number] and number % 2 == 0 else []
        if written or deleted:
            event = told[(written or deleted)[0]]
            expected = {name: rows for name, rows in (("written", written), ("deleted", deleted)) if rows}
            assert (event["payload"], event["xid"]) == (expected, revision.partition(".")[2])
    # Sent again under their ids, all hear the same, and nothing is written.
    assert await asyncio.gather(*map(write, range(60))) == revisions
    assert sql("SELECT count(*) FROM events WHERE event_id > %s", before)[0]["count"] == 60


async def test_what_one_call_is_refused_for_does_not_sink_the_others(client: AsyncClient, sql):
    """Among many: one that was made before under its id, and one whose id another request has."""
    used = str(uuid4())
    first = await client.relationships.write([viewer("first")], request_id=used)
    for round_ in range(5):
        again = asyncio.create_task(client.relationships.write([viewer("first")], request_id=used))
        other = asyncio.create_task(client.relationships.write([viewer("other")], request_id=used))
        fine = [asyncio.create_task(client.relationships.write([viewer(f"{round_}-{n}")])) for n in range(30)]
        assert await again == first
        with pytest.raises(InvalidArgumentError, match="request_id"):
            await other
        await asyncio.gather(*fine)
    assert sql("SELECT count(*) FROM relationships")[0]["count"] == 1 + 5 * 30


async def test_of_those_who_write_and_delete_the_same_the_log_knows_the_order(client: AsyncClient, sql):
    """They cannot share a statement, which would leave open which of them is the last."""
    for _ in range(10):
        calls = [client.relationships.write(*(([viewer(1)], []) if n % 2 else ([], [key(1)]))) for n in range(40)]
        await asyncio.gather(*calls)
        # An event of a delete that found nothing says nothing, and may be the last one.
        events = sql("SELECT payload FROM events WHERE type = 'relationships-changed' ORDER BY event_id")
        last = [event["payload"] for event in events if event["payload"]][-1]
        assert bool(sql("SELECT object FROM relationships")) is ("written" in last)


async def test_who_waits_for_a_lock_does_not_hold_up_the_others(
    client: AsyncClient, watchword_server: LocalServer, sql
):
    await client.relationships.write([viewer("held")])
    async with await psycopg.AsyncConnection.connect(watchword_server.database_url) as holder:
        await holder.execute("SELECT FROM relationships FOR UPDATE")
        waiting = [asyncio.create_task(client.relationships.write([], [key("held")])) for _ in range(3)]
        await asyncio.to_thread(seconds_until, lambda: waiting_for_locks(sql) > 0, within=20)
        await asyncio.gather(*(client.relationships.write([viewer(number)]) for number in range(40)))
        assert not any(call.done() and call.exception() is None for call in waiting)
        await holder.rollback()
    for call in waiting:
        try:
            await call
        except (ConflictError, DeadlineExceededError):
            await client.relationships.write([], [key("held")])
    assert sql("SELECT object FROM relationships WHERE object = 'document:held'") == []
