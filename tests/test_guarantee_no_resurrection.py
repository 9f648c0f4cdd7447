"""No resurrection: what is asked before a revocation and answered after it does not bring back what was revoked.

An answer is held back at every step of its way - the question on its way to the server, the server's transaction, the
answer on its way back, the feed before and after it - and the revocation comes meanwhile.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from deployment import Deployment, deployment, seconds_until
from guaranteed import (
    KINDS,
    MODEL,
    Person,
    Sdk,
    change,
    grant,
    held_open,
    person,
    reached_through,
    sdk,
    second_server,
    socket_of,
    take,
)
from held_calls import WATCH, Gate, Relay, relay
from tcp_proxy import tcp_proxy

from watchword.client import InvalidArgumentError, WatchwordError

GRANT = "document:1#viewer@user:ben"
ASKED = ("user:ben", "can_view", "document:1")


@pytest.fixture
def between(watchword, watchword_server) -> Iterator[Relay]:
    watchword.permissions.write_model(dsl=MODEL)
    with relay(watchword_server.address) as made:
        yield made


@pytest.fixture(params=KINDS)
def reader(request, between, watchword_server) -> Iterator[Sdk]:
    with sdk(
        between.address, watchword_server.api_key, kind=request.param, clock=watchword_server.time, max_staleness=20
    ) as made:
        made.ready()
        yield made


@pytest.fixture
def ana(watchword, between) -> Person:
    return person(watchword, "ana")


@contextmanager
def under_way(gate: Gate, ask: Callable[[], bool]) -> Iterator[Future[bool]]:
    """A question that is held at a gate within the block."""
    with ThreadPoolExecutor(1) as thread:
        gate.close()
        try:
            asked = thread.submit(ask)
            gate.wait_for_somebody()
            yield asked
        finally:
            gate.open()


def stays_refused(reader: Sdk, ask: Callable[[], bool]) -> None:
    """Ask again, from what is kept and, when that is forgotten, of the server."""
    for _ in range(3):
        assert not ask()
    hits = reader.status.hits
    seconds_until(lambda: not ask() and reader.status.hits > hits, within=10)


# ----- checks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["check", "filter"])
@pytest.mark.parametrize("step", ["question", "answer"])
def test_a_check_that_is_under_way_while_the_feed_passes_the_revocation(watchword, between, reader, step, method):
    """The answer said yes, and nobody is told so."""

    def ask() -> bool:
        return reader.check(*ASKED) if method == "check" else bool(reader.filter(*ASKED[:2], [ASKED[2]]))

    reader.wait_until_passed(grant(watchword, GRANT))
    gate = between.answers("BatchCheck") if step == "answer" else between.questions("BatchCheck")
    with under_way(gate, ask) as asked:
        reader.wait_until_passed(take(watchword, GRANT))
        assert not asked.done()
    assert asked.result() is False
    stays_refused(reader, ask)


def test_a_check_whose_answer_comes_before_the_feed_does_not_outlive_it(watchword, between, reader):
    """It may say yes, for the revocation is not known here yet; but no longer than until then."""
    reader.wait_until_passed(grant(watchword, GRANT))
    with between.holding(between.answers(WATCH)):
        with under_way(between.answers("BatchCheck"), lambda: reader.check(*ASKED)) as asked:
            revision = take(watchword, GRANT)
        asked.result()
        reader.check(*ASKED)
    reader.wait_until_passed(revision)
    stays_refused(reader, lambda: reader.check(*ASKED))


def test_a_denial_that_is_under_way_does_not_outlive_a_grant(watchword, between, reader):
    """Access is not monotonic: with an exclusion, a stale no is a stale yes somewhere else."""
    ban = "document:1#banned@user:ben"
    reader.wait_until_passed(grant(watchword, GRANT, ban))
    with under_way(between.answers("BatchCheck"), lambda: reader.check(*ASKED)) as asked:
        reader.wait_until_passed(take(watchword, ban))
    assert asked.result() is True
    with under_way(between.answers("BatchCheck"), lambda: reader.check("user:ben", "banned", "document:1")) as asked:
        reader.wait_until_passed(grant(watchword, ban))
    assert asked.result() is True
    stays_refused(reader, lambda: reader.check(*ASKED))


@pytest.mark.parametrize("feed", ["before the answer", "after the answer"])
def test_a_check_that_waits_in_the_database_while_it_is_revoked(watchword, watchword_server, between, reader, feed):
    """The server has taken the question, and its statement waits for the transaction that revokes."""
    reader.wait_until_passed(grant(watchword, GRANT))
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        if feed == "after the answer":
            stack.enter_context(between.holding(between.answers(WATCH)))
        with psycopg.connect(watchword_server.database_url) as other:
            other.execute("LOCK TABLE relationships IN ACCESS EXCLUSIVE MODE")
            asked = thread.submit(reader.check, *ASKED, context={"new": True})
            seconds_until(lambda: is_waiting(watchword_server.database_url), within=10)
            revision = change(other, takes=(GRANT,))
        assert asked.result(timeout=30) is False
    reader.wait_until_passed(revision)
    stays_refused(reader, lambda: reader.check(*ASKED, context={"new": True}))


def is_waiting(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        return connection.execute(waiting).rowcount > 0


def test_a_check_that_is_under_way_while_the_feed_loses_its_place(watchword, watchword_server, between, reader):
    """What changed meanwhile is not known here, so an answer of before proves nothing."""
    reader.wait_until_passed(grant(watchword, GRANT))
    before = reader.status.resynchronizations
    with under_way(between.answers("BatchCheck"), lambda: reader.check(*ASKED)) as asked:
        # Deletes all past the log, and has every stream begin anew.
        watchword_server.reset()
        seconds_until(lambda: reader.status.resynchronizations > before, within=10)
        assert not asked.done()
    with pytest.raises(InvalidArgumentError):  # the model is gone too
        asked.result()


# ----- a commit that is held back -------------------------------------------------------------------------------------


def test_an_answer_of_before_a_commit_that_was_held_back(watchword, watchword_server, between, reader):
    """Transaction ids are not in the order of commits: that of the revocation is older than all that went on."""
    reader.wait_until_passed(grant(watchword, GRANT))
    with held_open(watchword_server.database_url, takes=(GRANT,)) as revoking:
        for number in range(3):
            # The feed goes on, past transactions that began later.
            later = grant(watchword, f"folder:{number}#viewer@user:other")
            reader.wait_until_passed(later)
            assert reader.check(*ASKED)
        hits = reader.status.hits
        assert reader.check(*ASKED)
        assert reader.status.hits == hits + 1
        assert not reader.passed(revoking)
        with under_way(between.answers("BatchCheck"), lambda: reader.check(*ASKED, context={"new": True})) as asked:
            pass
        assert asked.result()
    reader.wait_until_passed(revoking)
    stays_refused(reader, lambda: reader.check(*ASKED))
    stays_refused(reader, lambda: reader.check(*ASKED, context={"new": True}))


def test_an_answer_on_its_way_while_a_commit_that_was_held_back_comes(watchword, watchword_server, between, reader):
    reader.wait_until_passed(grant(watchword, GRANT))
    with ExitStack() as stack:
        revoking = stack.enter_context(held_open(watchword_server.database_url, takes=(GRANT,)))
        reader.wait_until_passed(grant(watchword, "document:2#viewer@user:other"))
        with under_way(between.answers("BatchCheck"), lambda: reader.check(*ASKED)) as asked:
            stack.close()
            reader.wait_until_passed(revoking)
    assert asked.result() is False
    stays_refused(reader, lambda: reader.check(*ASKED))


# ----- who is calling -------------------------------------------------------------------------------------------------


def test_a_token_that_is_verified_while_the_feed_passes_its_revocation(watchword, between, reader, ana):
    """It is the first of this process, which asks for the signing keys; they are good, and the session is not."""
    with under_way(between.answers("GetSigningKeys"), lambda: reader.accepts(ana.token)) as asked:
        watchword.sessions.revoke(ana.session_id)
        reader.wait_until_passed(watchword.revision)
    assert asked.result() is False
    stays_refused_token(reader, ana)


def stays_refused_token(reader: Sdk, ana: Person) -> None:
    for _ in range(3):
        assert not reader.accepts(ana.token)


def test_signing_keys_that_were_asked_for_before_one_was_revoked(watchword, between, reader, ana):
    """Threat: a key that leaked signs tokens of any content, which no revocation of a session reaches."""
    with under_way(between.answers("GetSigningKeys"), lambda: reader.accepts(ana.token)) as asked:
        watchword.tokens.rotate_signing_key(revoke_current=True)
        reader.wait_until_passed(watchword.revision)
    assert asked.result() is False
    other = watchword.sign_in("ana", password="correct horse battery")
    assert reader.accepts(other.access_token)
    stays_refused_token(reader, ana)


@pytest.mark.parametrize("step", ["question", "answer"])
def test_a_token_that_the_server_is_asked_about_while_it_is_revoked(watchword, between, reader, ana, step):
    # From here on the SDK cannot know by itself if an older token is good.
    watchword.tokens.rotate_signing_key()
    reader.wait_until_passed(watchword.revision)
    gate = between.answers("IntrospectToken") if step == "answer" else between.questions("IntrospectToken")
    with under_way(gate, lambda: reader.accepts(ana.token)) as asked:
        watchword.sessions.revoke(ana.session_id)
        reader.wait_until_passed(watchword.revision)
    assert asked.result() is False
    stays_refused_token(reader, ana)


def test_a_token_whose_answer_comes_before_the_feed_does_not_outlive_it(watchword, between, reader, ana):
    watchword.tokens.rotate_signing_key()
    reader.wait_until_passed(watchword.revision)
    with between.holding(between.answers(WATCH)):
        with under_way(between.answers("IntrospectToken"), lambda: reader.accepts(ana.token)) as asked:
            watchword.sessions.revoke(ana.session_id)
            revision = watchword.revision
        asked.result()
        reader.accepts(ana.token)
    reader.wait_until_passed(revision)
    stays_refused_token(reader, ana)


def test_a_token_that_a_process_meets_which_follows_the_feed_only_since_its_revocation(
    watchword, watchword_server, ana
):
    """It was not there when the feed told; the stream begins with what tokens depend on."""
    watchword.sessions.revoke(ana.session_id)
    for kind in KINDS:
        with sdk(
            watchword_server.address, watchword_server.api_key, kind=kind, clock=watchword_server.time
        ) as newcomer:
            newcomer.ready()
            stays_refused_token(newcomer, ana)


# ----- a server that is behind ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> Iterator[Deployment]:
    with deployment() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_has_not_heard_of_the_revocation_does_not_bring_it_back(whole, kind):
    """One server tells the feed, and another one answers from a cache that is behind."""
    with (
        tcp_proxy(socket_of(whole.database_url)) as way,
        second_server(whole, database_url=reached_through(way, whole.database_url)) as late,
        relay(whole.address, BatchCheck=late) as between,
        whole.client() as writer,
        sdk(between.address, whole.api_key, kind=kind, timeout=1) as reader,
    ):
        writer.permissions.write_model(dsl=MODEL)
        revision = grant(writer, GRANT)
        reader.ready()
        reader.wait_until_passed(revision)
        answers_warm(between.address, whole.api_key, reader)
        way.hold()
        reader.wait_until_passed(take(writer, GRANT))
        said = [answer_of(reader, number) for number in range(3)]
        way.resume()
        assert True not in said
        seconds_until(lambda: not reader.check(*ASKED), within=10)


def answers_warm(address: str, api_key: str, reader: Sdk) -> None:
    """Bring the answer into the late server's cache."""
    for number in range(5):
        assert reader.check(*ASKED, context={"number": -number})


def answer_of(reader: Sdk, number: int) -> bool | None:
    """What is not kept here: each is asked for the first time."""
    try:
        return reader.check(*ASKED, context={"number": number})
    except WatchwordError:
        return None
