"""Take-back: once the feed has passed a revocation, no SDK says yes; without the feed, none for longer than
`max_staleness`.

The first half is asked of every kind of revocation, by threads that go on asking while it happens. The second is asked
of a network that swallows all without a word, and of a server that is cut off from its database.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from deployment import Deployment, deployment, seconds_until
from guaranteed import (
    KINDS,
    MODEL,
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
    wait_for_more,
)
from held_calls import WATCH, relay
from tcp_proxy import tcp_proxy

from watchword.client import Client, RelationshipFilter

OBJECT = "document:1"
REDEFINED = MODEL.replace("but not banned", "but not viewer")


@pytest.fixture(params=KINDS)
def reader(request, watchword, watchword_server) -> Iterator[Sdk]:
    options = {"kind": request.param, "clock": watchword_server.time}
    with sdk(watchword_server.address, watchword_server.api_key, **options) as made:
        yield made


@pytest.fixture
def ana(watchword) -> Person:
    watchword.permissions.write_model(dsl=MODEL)
    ana = person(watchword, "ana")
    grant(
        watchword,
        f"{OBJECT}#parent@folder:1",
        "folder:1#viewer@group:eng#member",
        f"group:eng#member@{ana.subject}",
    )
    return ana


# ----- with the feed --------------------------------------------------------------------------------------------------

TOKEN_REVOCATIONS: dict[str, Callable[[Client, Person], object]] = {
    "session": lambda client, ana: client.sessions.revoke(ana.session_id),
    "all sessions": lambda client, ana: client.sessions.revoke_all(ana.user_id),
    "suspended": lambda client, ana: client.users.suspend(ana.user_id),
    "deleted": lambda client, ana: client.users.delete(ana.user_id),
    "signing key": lambda client, ana: client.tokens.rotate_signing_key(revoke_current=True),
}
ACCESS_REVOCATIONS: dict[str, Callable[[Client, Person], object]] = {
    "relationship": lambda client, ana: take(client, f"group:eng#member@{ana.subject}"),
    "in the middle": lambda client, ana: take(client, "folder:1#viewer@group:eng#member"),
    "banned": lambda client, ana: grant(client, f"{OBJECT}#banned@{ana.subject}"),
    "in bulk": lambda client, ana: client.relationships.delete(RelationshipFilter(object_type="group")),
    "suspended": lambda client, ana: client.users.suspend(ana.user_id),
    "deleted": lambda client, ana: client.users.delete(ana.user_id),
    "model": lambda client, ana: client.permissions.write_model(dsl=REDEFINED) and grant(
        client, f"{OBJECT}#viewer@{ana.subject}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKEN_REVOCATIONS)
def test_no_token_is_accepted_once_the_feed_has_passed_its_revocation(watchword, reader, ana, name):
    reader.ready()
    takes_back(watchword, reader, lambda: reader.accepts(ana.token), lambda: TOKEN_REVOCATIONS[name](watchword, ana))


@pytest.mark.parametrize("name", ACCESS_REVOCATIONS)
def test_nothing_is_allowed_once_the_feed_has_passed_its_revocation(watchword, reader, ana, name):
    reader.ready()
    takes_back(
        watchword,
        reader,
        lambda: reader.check(ana.subject, "can_view", OBJECT),
        lambda: ACCESS_REVOCATIONS[name](watchword, ana),
    )


def takes_back(writer: Client, reader: Sdk, ask: Callable[[], bool], revoke: Callable[[], object]) -> None:
    """Go on asking while it is revoked, and while others see nothing of it."""
    with asking(ask, ask) as threads:
        all_say_yes([reader], threads)
        revoke()
        reader.wait_until_passed(writer.revision)
        passed = time.monotonic()
        for each in threads:
            wait_for_more(each)
    for each in threads:
        assert each.said[0].answer
        assert not each.yes_after(passed)
        assert each.said[-1].answer is False
        assert not any(said.problem for said in each.said)


def test_it_is_so_every_time_for_many_threads(watchword, reader, ana):
    """Threads that are interrupted at every step, and a change that comes at any moment."""
    reader.ready()
    member = f"group:eng#member@{ana.subject}"
    problems: list[str] = []
    state = {"number": 0}
    passed = {0: True}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def ask(over: threading.Event) -> None:
        while not over.is_set():
            number = state["number"]
            # It is asked about the last change of which the feed is known to have told, unless the next has begun.
            known = passed.get(number)
            answer = reader.check(ana.subject, "can_view", OBJECT)
            if known is not None and state["number"] == number and answer is not known:
                problems.append(f"change {number}: {answer}")

    over = threading.Event()
    try:
        with ThreadPoolExecutor(4) as threads:
            futures = [threads.submit(ask, over) for _ in range(4)]
            for number in range(1, 25):
                state["number"] = number
                revision = (take if number % 2 else grant)(watchword, member)
                reader.wait_until_passed(revision)
                passed[number] = number % 2 == 0
                hits = reader.status.hits
                seconds_until(lambda h=hits: reader.status.hits > h + 2, within=10)
            over.set()
            for future in futures:
                future.result()
    finally:
        over.set()
        sys.setswitchinterval(interval)
    assert not problems


# ----- without it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when_stale", ["ask", "refuse"])
@pytest.mark.parametrize("max_staleness", [0.3, 1.2])
def test_a_network_that_swallows_all_does_not_prolong_a_yes(
    watchword, watchword_server, ana, max_staleness, when_stale
):
    member = f"group:eng#member@{ana.subject}"
    options = {
        "clock": watchword_server.time,
        "max_staleness": max_staleness,
        "when_stale": when_stale,
        "timeout": 0.5,
    }
    with (
        tcp_proxy(watchword_server.address) as proxy,
        sdks(proxy.address, watchword_server.api_key, **options) as readers,
    ):
        questions: list[Callable[[], bool]] = []
        for each in readers:
            each.ready()
            questions.append(lambda r=each: r.check(ana.subject, "can_view", OBJECT))
            questions.append(lambda r=each: r.accepts(ana.token))
        with asking(*questions) as threads:
            all_say_yes(readers, threads)
            proxy.swallow()
            # Every ping that is answered was sent before this moment.
            silent = time.monotonic()
            take(watchword, member)
            watchword.sessions.revoke(ana.session_id)
            # From then on there are errors, which is right.
            for each in threads:
                seconds_until(lambda e=each: e.said[-1].answer is None, within=10)
            for each in threads:
                assert not each.yes_after(silent + max_staleness)
                assert {said.problem for said in each.said[-1:]} <= {
                    "DeadlineExceededError",
                    "UnavailableError",
                    "FeedStaleError",
                }
            proxy.resume()
            for each in threads:
                seconds_until(lambda e=each: e.said[-1].answer is not None, within=60)
        for each in threads:
            assert not each.yes_after(silent + max_staleness)
            assert each.said[-1].answer is False


@pytest.fixture(scope="module")
def whole() -> Iterator[Deployment]:
    with deployment() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_was_old_when_it_was_given_is_not_given_after_a_long_way(whole, kind):
    """The server's own cache may be a second behind, and the way may be long: both count."""
    max_staleness = 1.5
    with (
        tcp_proxy(socket_of(whole.database_url)) as way,
        second_server(whole, database_url=reached_through(way, whole.database_url)) as address,
        whole.client() as writer,
        relay(address) as between,
        sdk(between.address, whole.api_key, kind=kind, max_staleness=max_staleness, timeout=2) as reader,
    ):
        writer.permissions.write_model(dsl=MODEL)
        asked = ("user:ben", "viewer", OBJECT)
        revision = grant(writer, f"{OBJECT}#viewer@user:ben")
        reader.ready()
        reader.wait_until_passed(revision)
        assert reader.check(*asked)
        assert reader.check("user:ben", "can_view", OBJECT)
        with between.holding(between.answers(WATCH)), between.holding(between.answers("BatchCheck")) as answers:
            way.hold()
            take(writer, f"{OBJECT}#viewer@user:ben")
            revoked = time.monotonic()
            seconds_until(lambda: time.monotonic() > revoked + 0.4, within=5)
            with ThreadPoolExecutor(1) as thread:
                # Of values that are not kept here, but at the server.
                answer = thread.submit(reader.check, *asked, context={"new": True})
                answers.wait_for_somebody()
                seconds_until(lambda: time.monotonic() > revoked + max_staleness + 0.05, within=5)
                answers.open()
                said = answer.exception() is None and answer.result()
        assert not said
