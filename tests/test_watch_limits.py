"""What Watch streams cost at most, and that none of them costs the others anything."""

import asyncio
import secrets
import time
from itertools import islice
from uuid import UUID

import grpc
import psycopg
import pytest
from organization_calls import Refused
from permission_rpc import Rpcs
from watching import Stream, record, visible, xids

from watchword.server.app import utc_now
from watchword.server.call import Caller
from watchword.server.errors import ShuttingDown, TimedOut
from watchword.server.fan_out import FanOut, Watcher, encoded
from watchword.server.feed import Feed
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.server.storage.events import Change
from watchword.server.storage.snapshot import Visible
from watchword.v1 import watch_pb2 as pb

MODEL = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]
MAX_MESSAGE_BYTES = 64 * 1024


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


@pytest.fixture
def elsewhere(watchword_server, watchword):
    """A connection that commits what the server does not know of."""
    with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
        yield connection


def stream(rpcs: Rpcs, **start) -> Stream:
    return Stream(rpcs.channel, rpcs.metadata, **start)


# ----- pings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("details", [False, True], ids=["nodes", "details"])
def test_a_pong_comes_after_all_that_was_committed_before_its_ping(rpcs, elsewhere, details):
    """Another server committed it, of which this one hears by its looks alone."""
    one = stream(rpcs, include_details=details)
    for number in range(60):
        xid = record(elsewhere, number)
        assert xids(one.messages(one.ping(promptly=number % 10 > 0))) == [xid]
        assert visible(one.checkpoint).sees(xid)


def test_pings_without_end_are_all_answered_in_their_turn(rpcs):
    hasty, other = stream(rpcs), stream(rpcs)
    numbers = [hasty.ping() for _ in range(500)]
    rpcs.write("document:1#viewer@user:ana")
    assert len(other.changes()) == 1
    messages = list(islice(iter(hasty.next, None), 501))
    assert [message.pong.number for message in messages if message.HasField("pong")] == numbers


async def test_of_pings_a_few_are_read_ahead():
    fan_out, watcher = watched()
    with fan_out.watching(watcher):
        for number in range(10):
            await asyncio.wait_for(watcher.room(), 5)
            fan_out.ping(watcher, number, promptly=False)
        waiting = asyncio.create_task(watcher.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert watcher.answerable(0) == []
        assert watcher.answerable(1) == list(range(10))
        await asyncio.wait_for(waiting, 5)


async def test_who_is_in_a_hurry_makes_the_feed_look_at_once():
    fan_out, watcher = watched()
    with fan_out.watching(watcher):
        fan_out.ping(watcher, 1, promptly=False)
        assert not fan_out._feed._look.is_set()
        fan_out.ping(watcher, 2, promptly=True)
        assert fan_out._feed._look.is_set()


# ----- memory ---------------------------------------------------------------------------------------------------------


def watched() -> tuple[FanOut, Watcher]:
    """A fan-out that is told what changes by the test itself, and a stream of it."""
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    database = Database("", pool_size=4, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes)
    fan_out = FanOut(Feed(database, worker="one"))
    fan_out.forget(seen(99), "epoch")
    return fan_out, Watcher(Caller("billing", UUID(int=1), frozenset({"watch"})))


def seen(xid: int) -> Visible:
    return Visible(xid + 1, xid + 1, frozenset())


@pytest.mark.parametrize(("changes", "nodes"), [(30_000, 1), (300, 3_000), (3, 300_000)])
async def test_what_is_kept_for_streams_is_bounded_however_slow_they_are(changes, nodes):
    fan_out, watcher = watched()
    fan_out.join(watcher)
    for xid in range(100, 100 + changes):
        fan_out.apply([Change(xid, range(nodes))], seen(xid))
        assert len(fan_out._ring) <= 10_000
        if xid % 1_000 == 0 or nodes > 1:
            assert sum(len(data) for data, _ in fan_out._ring.values()) < 4_000_000
    assert fan_out.has_lost(watcher)
    now = fan_out.now
    fan_out.join(watcher)
    fan_out.apply([Change(10**6, (1,))], seen(10**6))
    assert now is not None
    assert not fan_out.has_lost(watcher)
    (change,) = pb.WatchResponse.FromString(fan_out.take(watcher, fan_out.now.end)).changes.changes
    assert change.transaction_id == 10**6


async def test_what_the_worker_committed_itself_is_not_remembered_for_ever():
    fan_out, watcher = watched()
    for xid in range(100, 200):
        fan_out.apply([Change(xid, (xid,))], seen(99))
    assert [change.xid for change in fan_out.join(watcher)] == list(range(100, 200))
    fan_out.apply([Change(xid, (xid,)) for xid in range(100, 150)], seen(149))
    assert [change.xid for change in fan_out.join(watcher)] == list(range(150, 200))
    fan_out.apply([], seen(199))
    assert fan_out.join(watcher) == ()


@pytest.mark.parametrize("size", [0, 1, 4_999, 5_000, 5_001, 12_000])
def test_messages_are_bounded(size):
    changes = [Change(7, (1,)), Change(8, tuple(range(size))), Change(9, (2,))]
    messages = [data for data, _ in encoded(changes, "epoch.10:10:")]
    assert max(map(len, messages)) < MAX_MESSAGE_BYTES
    read = [pb.WatchResponse.FromString(data).changes for data in messages]
    assert [message.checkpoint for message in read] == [""] * (len(read) - 1) + ["epoch.10:10:"]
    told = [change for message in read for change in message.changes]
    assert [node for change in told if change.transaction_id == 8 for node in change.nodes] == list(range(size))
    assert [change.transaction_id for change in told if change.transaction_id != 8] == [7, 9]


def test_a_large_change_comes_whole(rpcs, elsewhere):
    one = stream(rpcs)
    xid = record(elsewhere, *range(30_000))
    number = one.ping()
    messages = list(islice(iter(one.next, None), 7))
    assert messages[-1].pong.number == number
    found = [change for message in messages for change in message.changes.changes]
    assert set(xids(found)) == {xid}
    assert [node for change in found for node in change.nodes] == list(range(30_000))
    assert all(message.ByteSize() < MAX_MESSAGE_BYTES for message in messages)


@pytest.mark.parametrize("details", [False, True], ids=["nodes", "details"])
def test_who_does_not_read_loses_its_place_and_holds_nobody_up(rpcs, elsewhere, details):
    """Of what happened nothing is lost: that is read from the log, when there is somebody to read it."""
    slow, quick = stream(rpcs, include_details=details), stream(rpcs)
    many = list(range(10_000))
    told: list[int] = []
    for _ in range(120):
        told.append(record(elsewhere, *many))
        assert set(xids(quick.changes())) == {told[-1]}
    if details:
        assert xids(slow.changes()) == told
    else:
        before = list(dict.fromkeys(xids(slow.resynchronized())))
        assert before == told[: len(before)]
        assert visible(slow.checkpoint).sees(told[-1])
    xid = record(elsewhere, 1)
    assert xids(slow.changes()) == [xid]


def test_streams_with_details_are_few(rpcs):
    streams: list[Stream] = []
    with pytest.raises(Refused) as refused:
        # Those of tests before this one may not all be gone yet.
        streams.extend(stream(rpcs, include_details=True) for _ in range(101))
    assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "SERVER_BUSY")
    stream(rpcs).end()
    streams.pop().end()
    streams.append(stream(rpcs, include_details=True))
    for one in streams:
        one.cancel()


# ----- ends -----------------------------------------------------------------------------------------------------------


async def test_silence_ends_a_stream():
    _, watcher = watched()
    watcher.limit_silence(0.01)
    with pytest.raises(TimedOut):
        await asyncio.wait_for(watcher.woken(), 5)


async def test_a_ping_breaks_the_silence():
    fan_out, watcher = watched()
    watcher.heard -= 1_000
    with fan_out.watching(watcher):
        fan_out.ping(watcher, 1, promptly=False)
        watcher.limit_silence(30.0)
        assert not watcher.is_done
        watcher.heard -= 30.0
        watcher.limit_silence(30.0)
        assert isinstance(watcher.failure, TimedOut)


@pytest.mark.slow
def test_silence_ends_a_stream_after_half_a_minute(rpcs):
    silent, heard = stream(rpcs), stream(rpcs)
    for _ in range(2):
        assert heard.changes() == []
    refused = silent.refused()
    assert (refused.code, refused.reason) == ("DEADLINE_EXCEEDED", "TIMED_OUT")


async def test_who_comes_after_the_end_is_sent_away():
    fan_out, watcher = watched()
    fan_out.end()
    with fan_out.watching(watcher), pytest.raises(ShuttingDown):
        await asyncio.wait_for(watcher.woken(), 5)


def test_many_streams_of_a_key_end_with_it(rpcs, watchword):
    """All of them ask at once if their key is still good, and calls are answered all the same."""
    watchword.service_accounts.create("watcher")
    made = watchword.service_accounts.create_key("watcher", permissions=["watch"])
    metadata = (("authorization", f"Bearer {made.api_key}"),)
    streams = [Stream(rpcs.channel, metadata) for _ in range(200)]
    staying = stream(rpcs)
    watchword.service_accounts.revoke_key(made.key.key_id)
    rpcs.write("document:1#viewer@user:ana")
    assert {one.refused().reason for one in streams} == {"API_KEY_INVALID"}
    assert len(staying.changes()) == 2


def test_what_waits_to_be_read_is_not_told_when_the_key_is_revoked(rpcs, watchword, elsewhere):
    """Threat: who does not read for a while gets all that was meant for it while its key was good, and more."""
    watchword.service_accounts.create("watcher")
    made = watchword.service_accounts.create_key("watcher", permissions=["watch", "read_relationships"])
    quick = stream(rpcs, include_details=True)
    told = {record(elsewhere, *range(10_000)) for _ in range(100)}
    metadata = (("authorization", f"Bearer {made.api_key}"),)
    slow = Stream(rpcs.channel, metadata, checkpoint=quick.checkpoint, include_details=True)
    assert set(xids(quick.changes())) == told
    watchword.service_accounts.revoke_key(made.key.key_id)
    assert slow.refused().reason == "API_KEY_INVALID"
    assert len(slow.told_last) < len(told)


def detailed_in_time(channel: grpc.Channel, metadata) -> Stream:
    """Open a stream with details as soon as there is a place for it."""
    end = time.monotonic() + 20
    while True:
        try:
            return Stream(channel, metadata, include_details=True)
        except Refused as refused:
            if refused.reason != "SERVER_BUSY" or time.monotonic() > end:
                raise


def test_a_caller_that_is_gone_leaves_nothing_behind(rpcs, elsewhere, watchword_server):
    """Not even one that has not read what was sent to it."""
    for _ in range(3):
        with grpc.insecure_channel(
            watchword_server.address, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            unread = [detailed_in_time(channel, rpcs.metadata) for _ in range(50)]
            for _ in range(5):
                record(elsewhere, *range(4_000))
        for one in unread:
            one.say(ping=pb.WatchPing())
    one = stream(rpcs, include_details=True)
    xid = record(elsewhere, 1)
    assert xids(one.changes()) == [xid]
