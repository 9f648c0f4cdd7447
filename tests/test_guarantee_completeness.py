"""Completeness: whoever replays what a stream delivered has what the server has; nothing is missing or comes twice.

Histories are random: changes by two servers, in bulk, and by transactions that are held open while others commit. The
consumer breaks off at any moment, also in the middle of what is being sent, and goes on at its last checkpoint, at
either server.
"""

import itertools
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import psycopg
import pytest
from deployment import seconds_until
from guaranteed import KINDS, MODEL, Servers, grant, held_open, sdk, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permission_rpc import Rpcs, row, text_of
from tcp_proxy import tcp_proxy
from watching import Stream, told

from watchword.v1 import relationships_pb2
from watchword.v1 import watch_pb2 as pb

USERS = ("ana", "ben")
NUMBERS = (1, 2, 3)


@pytest.fixture(scope="module")
def rpcs(two_servers: Servers) -> Iterator[tuple[Rpcs, Rpcs]]:
    metadata = (("authorization", f"Bearer {two_servers.api_key}"),)
    with ExitStack() as stack:
        one, other = (
            Rpcs(stack.enter_context(grpc.insecure_channel(address)), metadata)
            for address in (two_servers.one, two_servers.other)
        )
        one.model(MODEL, allow_orphans=True)
        yield one, other


@dataclass
class Consumer:
    """Keeps a copy of relationships, as a search index does: what came counts when a checkpoint comes after it."""

    state: dict[str, Any]
    stream: Stream
    checkpoint: str = ""
    pending: list[pb.Change] = field(default_factory=list)
    events: list[tuple[int, int]] = field(default_factory=list)
    last_of: dict[str, int] = field(default_factory=dict)
    coming: Iterator[pb.Change] = field(default_factory=lambda: iter(()))

    def read(self, count: int | None = None) -> None:
        """Read what was committed by now, or the first so many changes of it; the rest is read the next time."""
        self.coming = itertools.chain(self.coming, self.stream.messages(self.stream.ping()))
        for change in itertools.islice(self.coming, count):
            self._settle()
            self.pending.append(change)
        self._settle()

    def go_on_at(self, rpcs: Rpcs) -> None:
        """Break off, forget what came since the last checkpoint, and go on there."""
        self.stream.cancel()
        self.pending.clear()
        self.coming = iter(())
        self.stream = Stream(rpcs.channel, rpcs.metadata, include_details=True, checkpoint=self.checkpoint)
        assert self.stream.started.resumed
        assert self.stream.checkpoint == self.checkpoint

    def _settle(self) -> None:
        """Take what has come, if there was a checkpoint after it."""
        if self.stream.checkpoint == self.checkpoint:
            return
        self.checkpoint = self.stream.checkpoint
        for change in self.pending:
            self._apply(change)
        self.pending.clear()

    def _apply(self, change: pb.Change) -> None:
        number = change.details.event_id
        if change.nodes:
            self.events.append((change.transaction_id, number))
        for written in change.details.written:
            self._in_order(text_of(written), number)
            self.state[text_of(written)] = told(written)
        for deleted in change.details.deleted:
            self._in_order(text_of(deleted), number)
            del self.state[text_of(deleted)]  # an error if it is not there: something is missing

    def _in_order(self, text: str, number: int) -> None:
        assert self.last_of.get(text, 0) <= number, f"{text}: event {number} after {self.last_of[text]}"
        self.last_of[text] = number


def exported(rpcs: Rpcs) -> dict[str, Any]:
    """What the server has."""
    return {text_of(item): told(item) for message in rpcs.exported() for item in message.relationships}


rows = st.builds("document:{}#viewer@user:{}".format, st.sampled_from(NUMBERS), st.sampled_from(USERS))
server = st.integers(0, 1)
steps = st.one_of(
    st.tuples(st.just("write"), server, st.sets(rows, max_size=3), st.sets(rows, max_size=3)),
    st.tuples(st.just("delete"), server, st.sampled_from(NUMBERS)),
    st.tuples(st.just("import"), server, st.sets(rows, min_size=1, max_size=4)),
    st.tuples(st.just("hold"), st.booleans(), st.integers(1, 3)),
    st.tuples(st.just("commit"), st.integers(0, 3)),
    st.tuples(st.just("read"), st.none() | st.integers(0, 2)),
    st.tuples(st.just("go on"), server),
)


@dataclass
class History:
    """What happens to relationships."""

    servers: Servers
    rpcs: tuple[Rpcs, Rpcs]
    consumer: Consumer
    held: dict[int, ExitStack] = field(default_factory=dict)
    there: set[int] = field(default_factory=set)

    def take(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("write", number, writes, deletes) if writes | deletes:
                self.rpcs[number].write(*sorted(writes - deletes), deletes=sorted(deletes))
            case ("delete", number, document):
                asked = relationships_pb2.RelationshipFilter(object=f"document:{document}")
                self.rpcs[number].call(relationships_pb2.DeleteRelationshipsRequest(filter=asked))
            case ("import", number, found):
                self.rpcs[number].imported([row(text) for text in sorted(found)])
            case ("hold", _, number) if number not in self.held:
                # Its own relationships: others would wait for the transaction.
                text = f"folder:{number}#viewer@user:ana"
                change = {"takes": (text,)} if number in self.there else {"grants": (text,)}
                self.there ^= {number}
                self.held[number] = stack = ExitStack()
                stack.enter_context(held_open(self.servers.whole.database_url, **change))
            case ("commit", number) if number in self.held:
                self.held.pop(number).close()
            case ("read", count):
                self.consumer.read(count)
            case ("go on", number):
                self.consumer.go_on_at(self.rpcs[number])

    def end(self) -> None:
        for stack in self.held.values():
            stack.close()
        self.held.clear()


def replayed(servers: Servers, rpcs: tuple[Rpcs, Rpcs], story: list[tuple[Any, ...]]) -> None:
    rpcs[0].call(relationships_pb2.DeleteRelationshipsRequest(filter={"object_type": "document"}))
    rpcs[0].call(relationships_pb2.DeleteRelationshipsRequest(filter={"object_type": "folder"}))
    stream = Stream(rpcs[0].channel, rpcs[0].metadata, include_details=True)
    consumer = Consumer(exported(rpcs[0]), stream, stream.checkpoint)
    start = stream.checkpoint.rpartition(".")[2]
    history = History(servers, rpcs, consumer)
    try:
        for step in story:
            history.take(step)
        history.end()
        consumer.read()
        assert consumer.state == exported(rpcs[1])
        assert not consumer.pending
        # Each event once, and the log's own order, whatever was broken off.
        assert sorted(consumer.events) == sorted(logged_since(servers.whole.database_url, start))
    finally:
        history.end()
        consumer.stream.cancel()


def logged_since(database_url: str, snapshot: str) -> list[tuple[int, int]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT xid::text::bigint, event_id FROM events"
            " WHERE nodes <> '{}' AND NOT pg_visible_in_snapshot(xid, %s::pg_snapshot)",
            [snapshot],
        ).fetchall()


quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(story=st.lists(steps, max_size=14))
def test_what_was_delivered_is_what_there_is(two_servers, rpcs, story):
    replayed(two_servers, rpcs, story)


@pytest.mark.slow
@settings(quick, max_examples=60)
@given(story=st.lists(steps, max_size=40))
def test_what_was_delivered_is_what_there_is_at_length(two_servers, rpcs, story):
    replayed(two_servers, rpcs, story)


@pytest.mark.parametrize("kind", KINDS)
def test_an_sdk_that_reads_too_slowly_forgets_all_and_keeps_no_yes(watchword, watchword_server, kind):
    """It lost its place, and not the server its memory: what it had not read is not kept for it."""
    watchword.permissions.write_model(dsl=MODEL)
    text = f"document:{secrets.token_hex(4)}#viewer@user:ana"
    asked = ("user:ana", "can_view", text.partition("#")[0])
    with (
        tcp_proxy(watchword_server.address) as proxy,
        sdk(proxy.address, watchword_server.api_key, kind=kind, clock=watchword_server.time) as reader,
    ):
        reader.ready()
        reader.wait_until_passed(grant(watchword, text))
        assert reader.check(*asked)
        proxy.hold()
        take(watchword, text)
        # More than is kept for any stream, and more than the network holds.
        with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload)"
                " SELECT now(), 'relationships-changed', 'success', 'x', '{}', many.nodes, 'x', 'x', '{}'"
                " FROM generate_series(1, 150), (SELECT array_agg(n) AS nodes FROM generate_series(1, 10000) n) many"
            )
        passed = take(watchword, text)
        proxy.resume()
        # If that took too long for its patience, it has opened another stream instead.
        seconds_until(lambda: reader.status.resynchronizations + reader.status.reconnects > 0, within=20)
        reader.wait_until_passed(passed)
        reader.ready()
        assert not reader.check(*asked)
        revision = grant(watchword, text)
        reader.wait_until_passed(revision)
        assert reader.check(*asked)
