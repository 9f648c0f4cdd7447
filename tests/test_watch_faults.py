"""Watch streams of two servers on one database, while things go wrong."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import psycopg
import pytest
from deployment import Deployment, deployment, free_port
from organization_calls import Refused
from permission_rpc import Rpcs
from watching import Stream, logged, record, replay, told, visible, xids

from watchword.v1 import relationships_pb2 as rpb

MODEL = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]"
RELATIONSHIPS = [f"document:{number}#viewer@user:ana" for number in range(5)]


class Pair:
    """Two servers on one database."""

    def __init__(self, whole: Deployment) -> None:
        self.whole = whole
        self.database_url = whole.database_url
        self.addresses = [whole.address, ""]
        self.start_other()

    def start_other(self) -> None:
        self.addresses[1] = f"127.0.0.1:{free_port()}"
        mine = self.whole.settings
        self.whole.settings = {**mine, "WATCHWORD_LISTEN": self.addresses[1]}
        self.other = self.whole.spawn()
        self.whole.settings = mine
        assert self.other.stdout is not None
        assert self.addresses[1] in self.other.stdout.readline(), self.whole.log[-3000:]

    def kill_other(self) -> None:
        self.other.kill()
        self.other.communicate()

    @contextmanager
    def calls(self, number: int) -> Iterator[Rpcs]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.addresses[number], options=options) as channel:
            yield Rpcs(channel, (("authorization", f"Bearer {self.whole.api_key}"),))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with deployment() as whole:
        made = Pair(whole)
        try:
            with made.calls(0) as rpcs:
                rpcs.model(MODEL)
            yield made
        finally:
            made.kill_other()


@pytest.fixture
def servers(pair: Pair) -> Iterator[list[Rpcs]]:
    with pair.calls(0) as first, pair.calls(1) as second:
        yield [first, second]


def stream(rpcs: Rpcs, checkpoint: str = "", *, details: bool = False) -> Stream:
    return Stream(rpcs.channel, rpcs.metadata, checkpoint=checkpoint, include_details=details)


# ----- completeness ---------------------------------------------------------------------------------------------------


class Writers:
    """Changes by both servers, and by transactions that are held open, given up, and committed in any order."""

    def __init__(self, pair: Pair, servers: list[Rpcs]) -> None:
        self._pair = pair
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=item) for item in enumerate(servers)]
        self._threads.append(threading.Thread(target=self._hold))
        self.failures: list[Exception] = []

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert self.failures == []

    def _write(self, seed: int, rpcs: Rpcs) -> None:
        dice = random.Random(seed)
        while not self._stop.is_set():
            some = dice.sample(RELATIONSHIPS, 3)
            cut = dice.randrange(4)
            try:
                rpcs.write(*some[:cut], deletes=some[cut:])
            except Refused as refused:
                self.failures.append(refused)

    def _hold(self) -> None:
        dice = random.Random(7)
        held: list[psycopg.Connection[Any]] = []
        while not self._stop.is_set() or held:
            if len(held) < 5 and not self._stop.is_set():
                held.append(psycopg.connect(self._pair.database_url))
                record(held[-1], dice.randrange(1_000))
            else:
                ended = held.pop(dice.randrange(len(held)))
                (ended.rollback if dice.random() < 0.2 else ended.commit)()
                ended.close()


class Reader:
    """Follows by one stream after the other, on any server, and keeps what it was told."""

    def __init__(self, servers: list[Rpcs], state: dict[str, Any], *, details: bool, seed: int) -> None:
        self._servers = servers
        self._details = details
        self._dice = random.Random(seed)
        self.checkpoint = ""
        self.told: set[int] = set()
        self.state = state

    def follow(self, rounds: int) -> None:
        one = stream(self._dice.choice(self._servers), self.checkpoint, details=self._details)
        assert one.started.resumed == bool(self.checkpoint)
        before = visible(one.checkpoint)
        heard: list[int] = []
        for _ in range(rounds):
            changes = one.changes()
            heard += xids(changes)
            if self._details:
                replay(self.state, changes)
        # Once by each stream, and by the next only what no checkpoint of this one has seen.
        assert len(set(heard)) == len(heard)
        assert not [xid for xid in heard if before.sees(xid)]
        self.told |= set(heard)
        self.checkpoint = one.checkpoint
        one.cancel()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_nothing_is_missing_and_nothing_comes_twice(pair: Pair, servers: list[Rpcs], seed: int):
    first, _ = servers
    first.write(deletes=RELATIONSHIPS)
    readers = [Reader(servers, {}, details=details, seed=seed) for details in (False, True)]
    for reader in readers:
        reader.follow(1)
        reader.told.clear()
    starts = [visible(reader.checkpoint) for reader in readers]
    with Writers(pair, servers):
        for round_ in range(12):
            for reader in readers:
                reader.follow(round_ % 4 + 1)
    for reader, start in zip(readers, starts, strict=True):
        reader.follow(1)
        everything = [xid for xid, _ in logged(pair.database_url) if not start.sees(xid)]
        assert len(everything) > 50
        assert reader.told == set(everything)
    assert readers[1].state == {text: told_of(text) for text in first.stored(object_type="document")}


def told_of(text: str) -> Any:
    node, _, subject = text.partition("@")
    object_, _, relation = node.partition("#")
    return told(rpb.Relationship(object=object_, relation=relation, subject=subject))


# ----- faults ---------------------------------------------------------------------------------------------------------


def test_a_stream_goes_on_when_the_database_is_back(pair: Pair, servers: list[Rpcs]):
    first, second = servers
    streams = [stream(first), stream(second, details=True)]
    for one in streams:
        one.changes()
    pair.whole.stop_database()
    try:
        for one in streams:
            one.ping(promptly=True)
        with pytest.raises(Refused) as refused:
            stream(first)
        assert refused.value.reason == "DATABASE_UNAVAILABLE"
    finally:
        pair.whole.start_database()
    with psycopg.connect(pair.database_url, autocommit=True) as connection:
        xid = record(connection, 1)
    for one in streams:
        # Behind the pong for which it waited.
        assert xids(one.changes()) == [xid]


def test_a_server_that_stops_ends_its_streams_at_once(pair: Pair, servers: list[Rpcs]):
    first, second = servers
    first.write(RELATIONSHIPS[0])
    streams = [stream(second, details=number % 5 == 0) for number in range(50)]
    elsewhere = stream(first)
    pair.other.terminate()
    refused = {(found.code, found.reason) for found in (one.refused() for one in streams)}
    assert refused == {("UNAVAILABLE", "SHUTTING_DOWN")}
    # The grace is 10 seconds.
    pair.other.communicate(timeout=5)
    assert pair.other.returncode == 0
    first.write(deletes=RELATIONSHIPS[:1])
    (change,) = elsewhere.changes()
    pair.start_other()
    # They all come at once to the one that was started anew.
    with pair.calls(1) as again:
        back = [stream(again, one.checkpoint, details=number % 5 == 0) for number, one in enumerate(streams)]
        for one in back:
            assert one.started.resumed
            assert xids(one.changes()) == [change.transaction_id]


def test_a_server_that_is_killed_leaves_its_streams_able_to_go_on(pair: Pair, servers: list[Rpcs]):
    first, second = servers
    one = stream(second)
    one.changes()
    pair.kill_other()
    with pytest.raises(grpc.RpcError):
        one.read_on()
    first.write(RELATIONSHIPS[0])
    pair.start_other()
    with pair.calls(1) as again:
        resumed = stream(again, one.checkpoint)
        assert resumed.started.resumed
        assert len(resumed.changes()) == 1
