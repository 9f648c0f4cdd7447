"""Fail closed: whatever breaks, an SDK never says yes to what may have been taken back; and it mends itself.

While something is broken, both SDKs are asked on and on about what was taken back. Yes may be said for `max_staleness`
after the last proof. Then there is an error, whether the caller wants the server to be asked or not.
"""

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from deployment import Deployment, deployment, seconds_until
from guaranteed import (
    KINDS,
    MODEL,
    Asking,
    Person,
    Sdk,
    all_say_yes,
    asking,
    grant,
    person,
    reached_through,
    sdk,
    sdks,
    second_server,
    socket_of,
    take,
)
from held_calls import relay
from tcp_proxy import TcpProxy, tcp_proxy

from watchword.client import Client, FeedStaleError, WatchwordError
from watchword.client._following import Following
from watchword.client.revisions import Revisions
from watchword.server.restore import database_restored
from watchword.server.sealing import Keyring
from watchword.v1 import watch_pb2 as pb

MAX_STALENESS = 0.5
OBJECT = "document:1"


@dataclass
class Place:
    """A server behind a proxy, which things are done to, and another one, by which things are taken back."""

    whole: Deployment
    proxy: TcpProxy
    writer: Client
    names: int = 0

    def newcomer(self) -> Person:
        """Somebody who may."""
        self.names += 1
        found = person(self.writer, f"user{self.names}")
        grant(self.writer, f"{OBJECT}#viewer@{found.subject}")
        return found

    def take_back(self, somebody: Person) -> str:
        take(self.writer, f"{OBJECT}#viewer@{somebody.subject}")
        self.writer.sessions.revoke(somebody.session_id)
        return self.writer.revision


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with (
        deployment() as whole,
        second_server(whole) as other,
        Client(other, api_key=whole.api_key) as writer,
        tcp_proxy(whole.address) as proxy,
    ):
        writer.permissions.write_model(dsl=MODEL)
        yield Place(whole, proxy, writer)


# ----- what breaks ----------------------------------------------------------------------------------------------------


@contextmanager
def server_stopped(place: Place) -> Iterator[None]:
    place.whole.server.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, place.whole.server.pid, os.WSTOPPED | os.WNOWAIT)
    yield
    place.whole.server.send_signal(signal.SIGCONT)


@contextmanager
def server_killed(place: Place) -> Iterator[None]:
    place.whole.kill_server()
    yield
    place.whole.start_server()


@contextmanager
def cut(place: Place) -> Iterator[None]:
    place.proxy.cut(refuse=True)
    yield
    place.proxy.resume()


@contextmanager
def swallowed(place: Place) -> Iterator[None]:
    place.proxy.swallow()
    yield
    place.proxy.resume()


@contextmanager
def delayed(place: Place) -> Iterator[None]:
    """All that was under way arrives after all: answers and proofs of long ago."""
    place.proxy.hold()
    yield
    place.proxy.resume()


@contextmanager
def database_stopped(place: Place) -> Iterator[None]:
    place.whole.stop_database()
    yield
    place.whole.start_database()


@contextmanager
def database_killed(place: Place) -> Iterator[None]:
    place.whole.kill_database()
    yield
    place.whole.start_database()


@contextmanager
def database_hangs(place: Place) -> Iterator[None]:
    place.whole.signal_database(signal.SIGSTOP)
    yield
    place.whole.signal_database(signal.SIGCONT)


BETWEEN = [cut, swallowed, delayed, server_stopped, server_killed]
"""Others change the database meanwhile."""
OF_THE_DATABASE = [database_stopped, database_killed, database_hangs]


def those(faults: list[Callable], quick: set[Callable]) -> list:
    return [pytest.param(fault, id=fault.__name__, marks=marks(fault, quick)) for fault in faults]


def marks(fault: Callable, quick: set[Callable]) -> list[pytest.MarkDecorator]:
    return [] if fault in quick else [pytest.mark.slow]


@contextmanager
def watched(place: Place, somebody: Person, when_stale: str) -> Iterator[tuple[list[Sdk], list[Asking]]]:
    """Ask both SDKs on and on, from when all of them say yes."""
    options = {"max_staleness": MAX_STALENESS, "when_stale": when_stale, "timeout": 1}
    with sdks(place.proxy.address, place.whole.api_key, **options) as readers:
        questions: list[Callable[[], bool]] = []
        for each in readers:
            each.ready()
            questions.append(lambda r=each: r.check(somebody.subject, "can_view", OBJECT))
            questions.append(lambda r=each: r.accepts(somebody.token))
        with asking(*questions) as threads:
            all_say_yes(readers, threads)
            yield readers, threads


def all_fail(threads: list[Asking]) -> None:
    """Wait until nobody is answered any more."""
    for each in threads:
        seconds_until(lambda e=each: e.said[-1].answer is None, within=15)


def all_refuse(threads: list[Asking]) -> None:
    """Wait until all are answered, and the answer is no."""
    for each in threads:
        seconds_until(lambda e=each: e.said[-1].answer is False, within=30)


# ----- and what is said -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when_stale", ["ask", "refuse"])
@pytest.mark.parametrize("fault", those(BETWEEN, {cut, delayed, server_killed}))
def test_what_is_taken_back_while_something_between_is_broken(place, fault, when_stale):
    somebody = place.newcomer()
    with watched(place, somebody, when_stale) as (readers, threads):
        with fault(place):
            broken = time.monotonic()
            revision = place.take_back(somebody)
            all_fail(threads)
            for each in threads:
                assert not each.yes_after(broken + MAX_STALENESS)
        all_refuse(threads)
        for each in readers:
            each.ready(30)
            each.wait_until_passed(revision)
        # Back to where it was: what is given again is seen again, and from what is kept.
        hits = [each.status.hits for each in readers]
        revision = grant(place.writer, f"{OBJECT}#viewer@{somebody.subject}")
        for each in readers:
            each.wait_until_passed(revision)
        for each in threads[::2]:
            seconds_until(lambda e=each: e.said[-1].answer is True, within=10)
        seconds_until(lambda: all(r.status.hits > h for r, h in zip(readers, hits, strict=True)), within=10)
    for each in threads[1::2]:
        assert not each.yes_after(broken + MAX_STALENESS)


@pytest.mark.parametrize("when_stale", ["ask", "refuse"])
@pytest.mark.parametrize("fault", those(OF_THE_DATABASE, {database_stopped}))
def test_nothing_is_said_while_the_database_is_away(place, fault, when_stale):
    """Nobody can take anything back meanwhile. But who would know that?"""
    somebody = place.newcomer()
    with watched(place, somebody, when_stale) as (readers, threads):
        with fault(place):
            broken = time.monotonic()
            all_fail(threads)
            for each in threads:
                assert not each.yes_after(broken + MAX_STALENESS)
        for number, each in enumerate(threads):
            # After a crash a new epoch begins: tokens of before are refused for good.
            is_good = not (fault is database_killed and number % 2)
            seconds_until(lambda e=each, good=is_good: e.said[-1].answer is good, within=30)
        revision = until_done(lambda: place.take_back(somebody))
        for each in readers:
            each.ready(30)
            each.wait_until_passed(revision)
        passed = time.monotonic()
        all_refuse(threads)
    for each in threads:
        assert not each.yes_after(passed)


@pytest.mark.slow
def test_transaction_ids_that_a_crash_of_postgresql_gives_away_again(place):
    """A transaction that only notifies is not flushed: after a crash its id is that of somebody's revocation."""
    somebody = place.newcomer()
    with sdk(place.whole.address, place.whole.api_key) as reader:
        reader.ready()
        reader.wait_until_passed(place.writer.revision)
        assert reader.check(somebody.subject, "can_view", OBJECT)
        with psycopg.connect(place.whole.database_url, autocommit=True) as connection:
            (flusher,) = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
            ).fetchone()
            os.kill(flusher, signal.SIGSTOP)
            for _ in range(20):
                connection.execute("SELECT pg_notify('watchword', '')")
            (xmax,) = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        reader.wait_until_passed(f"{reader.following.epoch}.{xmax - 1}")
        place.whole.kill_database()
        place.whole.start_database()
        revision = until_done(lambda: place.take_back(somebody))
        reader.ready(30)
        reader.wait_until_passed(revision)
        assert not reader.check(somebody.subject, "can_view", OBJECT)


def until_done(change: Callable[[], str]) -> str:
    """Make a change, as soon as the server that takes it has found its database again."""
    end = time.monotonic() + 20
    while True:
        try:
            return change()
        except WatchwordError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_who_refuses_is_answered_as_soon_as_the_feed_is_live(place, kind):
    """Asking begins to follow the feed, though the first questions are refused."""
    somebody = place.newcomer()
    with sdk(place.whole.address, place.whole.api_key, kind=kind, when_stale="refuse") as reader:
        with pytest.raises(FeedStaleError):
            reader.check(somebody.subject, "can_view", OBJECT)
        seconds_until(lambda: _said(reader, somebody.subject, "can_view", OBJECT, 0) is True, within=10)


def test_the_feed_survives_pings_that_are_sent_while_answers_come():
    """Threat: the thread that reads the feed ends, and the client asks the server for ever."""
    following = Following(Revisions(), max_staleness=2.0, max_bytes=10_000)
    following.receive(pb.WatchResponse(started=pb.WatchStarted(checkpoint="epoch.100:100:")), 0.0)
    over = threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def send() -> None:
        while not over.is_set():
            for _ in range(20):
                following.ping(1.0, promptly=False)
            following.unanswered_since()

    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send)
        try:
            for _ in range(20_000):
                pong = pb.WatchPong(number=following._number, checkpoint="epoch.100:100:")
                following.receive(pb.WatchResponse(pong=pong), 1.0)
        finally:
            over.set()
            sys.setswitchinterval(interval)
        sending.result()


# ----- another history ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_that_was_restored(watchword, watchword_server, sql, kind):
    """What was true in the history that is lost is not true here, and nothing tells of it but the epoch."""
    watchword.permissions.write_model(dsl=MODEL)
    ana = person(watchword, "ana")
    grant(watchword, f"{OBJECT}#viewer@{ana.subject}")
    with sdk(watchword_server.address, watchword_server.api_key, kind=kind, clock=watchword_server.time) as reader:
        reader.ready()
        questions = (lambda: reader.check(ana.subject, "can_view", OBJECT), lambda: reader.accepts(ana.token))
        with asking(*questions) as threads:
            all_say_yes([reader], threads)
            sql("DELETE FROM relationships")
            keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
            epoch = database_restored(watchword_server.database_url, keyring)
            seconds_until(lambda: reader.following.epoch == epoch, within=10)
            passed = time.monotonic()
            all_refuse(threads)
            for each in threads:
                assert not each.yes_after(passed)
        # It goes on in the new history.
        reader.wait_until_passed(grant(watchword, f"{OBJECT}#viewer@{ana.subject}"))
        assert reader.check(ana.subject, "can_view", OBJECT)
        assert reader.accepts(watchword.sign_in("ana", password="correct horse battery").access_token)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_has_not_heard_of_the_restore(place, kind):
    """One server tells the feed of the new epoch, and another one still answers from its cache, of the old one."""
    whole = place.whole
    with (
        tcp_proxy(socket_of(whole.database_url)) as way,
        second_server(whole, database_url=reached_through(way, whole.database_url)) as late,
        relay(whole.address, BatchCheck=late) as between,
        sdk(between.address, whole.api_key, kind=kind, timeout=1) as reader,
    ):
        somebody = place.newcomer()
        reader.ready()
        reader.wait_until_passed(place.writer.revision)
        ask = (somebody.subject, "can_view", OBJECT)
        for number in range(5):  # into the cache of the late server
            assert reader.check(*ask, context={"number": -number})
        with psycopg.connect(whole.database_url) as restoring:
            restoring.execute("DELETE FROM relationships")
            restoring.execute("UPDATE deployment SET epoch = %s", [epoch := secrets.token_hex(8)])
            way.hold()
        seconds_until(lambda: reader.following.epoch == epoch, within=10)
        said = [_said(reader, *ask, number) for number in range(3)]
        way.resume()
        assert True not in said
        seconds_until(lambda: _said(reader, *ask, 10) is False, within=10)


def _said(reader: Sdk, subject: str, relation: str, object_: str, number: int) -> bool | None:
    try:
        return reader.check(subject, relation, object_, context={"number": number})
    except WatchwordError:
        return None
