"""All at once: the real SDK on a real server against a model of a few people, sessions and relationships.

Whatever is done, in whatever order - also by transactions that are held open, over a connection that is cut or silent -
each answer is true of a moment that is neither before what the SDK's feed has passed nor longer ago than
`max_staleness`; and once all is passed there is no stale yes and no stale no.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import PASSWORD
from deployment import seconds_until
from guaranteed import KINDS, MODEL, Kind, Person, Sdk, grant, held_open, person, relationship, sdk, take
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from tcp_proxy import TcpProxy, tcp_proxy

from watchword.client import Client, DeadlineExceededError, UnavailableError

MAX_STALENESS = 0.6
PEOPLE = (0, 1)
DOCUMENTS = ("document:{}-a", "document:{}-b")


@dataclass
class Place:
    """Where it happens: what is written at, and the SDK that is held against the model."""

    writer: Client
    reader: Sdk
    proxy: TcpProxy
    database_url: str


@contextmanager
def place(written_at: str, asked_at: str, api_key: str, database_url: str, kind: Kind, **more: Any) -> Iterator[Place]:
    with (
        tcp_proxy(asked_at) as proxy,
        sdk(proxy.address, api_key, kind=kind, max_staleness=MAX_STALENESS, timeout=0.4, **more) as reader,
        Client(written_at, api_key=api_key, **more) as writer,
    ):
        writer.permissions.write_model(dsl=MODEL, allow_orphans=True)
        reader.observe(writer.revision)
        yield Place(writer, reader, proxy, database_url)


@dataclass(frozen=True)
class State:
    """What is so."""

    relationships: frozenset[str] = frozenset()
    suspended: frozenset[int] = frozenset()
    ended: frozenset[str] = frozenset()

    def can_view(self, who: int, subject: str, document: str, group: str) -> bool:
        if who in self.suspended or f"{document}#banned@{subject}" in self.relationships:
            return False
        by_group = {f"{document}#viewer@{group}#member", f"{group}#member@{subject}"}
        return f"{document}#viewer@{subject}" in self.relationships or by_group <= self.relationships


@dataclass
class Moment:
    """A state, the revision by which it came about, and when it was over at the latest."""

    state: State
    revision: str
    over: float = float("inf")


@dataclass
class Held:
    """A change in a transaction that is open."""

    stack: ExitStack
    text: str
    revision: str
    after: Callable[[State], State] = field(repr=False)


class Machine(RuleBasedStateMachine):
    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.name = name = secrets.token_hex(4)
        place = self.place
        self.group = f"group:{name}"
        self.documents = [text.format(name) for text in DOCUMENTS]
        self.people: list[Person] = [person(place.writer, f"{name}-{who}") for who in PEOPLE]
        self.sessions: list[tuple[int, str, str]] = [
            (who, found.session_id, found.token) for who, found in enumerate(self.people)
        ]
        self.moments = [Moment(State(), place.writer.revision)]
        self.held: list[Held] = []
        self.is_silent = False
        place.reader.ready(20)

    def teardown(self) -> None:
        for each in self.held:
            each.stack.close()
        self.place.proxy.resume()

    # ----- what is so -------------------------------------------------------------------------------------------------

    @property
    def now(self) -> State:
        return self.moments[-1].state

    def became(self, state: State, revision: str) -> None:
        self.moments[-1].over = time.monotonic()
        self.moments.append(Moment(state, revision))

    def texts(self) -> list[str]:
        found = [f"{document}#viewer@{self.group}#member" for document in self.documents]
        for each in self.people:
            found.append(f"{self.group}#member@{each.subject}")
            for document in self.documents:
                found += [f"{document}#viewer@{each.subject}", f"{document}#banned@{each.subject}"]
        return found

    def is_held(self, text: str) -> bool:
        return any(each.text == text for each in self.held)

    def possible(self, began: float) -> list[State]:
        """The states that an answer may be of which is asked for now."""
        passed = [n for n, moment in enumerate(self.moments) if self.place.reader.passed(moment.revision)]
        first = max(passed, default=0)
        return [moment.state for moment in self.moments[first:] if moment.over >= began - MAX_STALENESS]

    # ----- what happens -----------------------------------------------------------------------------------------------

    @rule(which=st.integers(0, 11))
    def change_a_relationship(self, which: int) -> None:
        text = self.texts()[which % len(self.texts())]
        if not self.is_held(text):
            change = take if text in self.now.relationships else grant
            revision = change(self.place.writer, text)
            self.became(toggled(self.now, text), revision)

    @rule(which=st.integers(0, 11))
    def begin_a_change(self, which: int) -> None:
        text = self.texts()[which % len(self.texts())]
        # A subject that is a set is stored in another way than `held_open` knows.
        if self.is_held(text) or len(self.held) > 2 or text.endswith("#member"):
            return
        stack = ExitStack()
        changed = {"takes": (text,)} if text in self.now.relationships else {"grants": (text,)}
        revision = stack.enter_context(held_open(self.place.database_url, **changed))
        self.held.append(Held(stack, text, revision, lambda state: toggled(state, text)))

    @rule(which=st.integers(0, 2))
    def commit_a_change(self, which: int) -> None:
        if self.held:
            each = self.held.pop(which % len(self.held))
            each.stack.close()
            self.became(each.after(self.now), each.revision)

    @rule(who=st.sampled_from(PEOPLE))
    def suspend_or_reinstate(self, who: int) -> None:
        found, now, writer = self.people[who], self.now, self.place.writer
        if who in now.suspended:
            writer.users.reinstate(found.user_id)
            after = State(now.relationships, now.suspended - {who}, now.ended)
        else:
            writer.users.suspend(found.user_id)
            ended = {session for owner, session, _ in self.sessions if owner == who}
            after = State(now.relationships, now.suspended | {who}, now.ended | ended)
        self.became(after, writer.revision)

    @rule(who=st.sampled_from(PEOPLE))
    def sign_in(self, who: int) -> None:
        if who not in self.now.suspended and len(self.sessions) < 6:
            tokens = self.place.writer.sign_in(f"{self.name}-{who}", password=PASSWORD)
            self.sessions.append((who, tokens.session.session_id, tokens.access_token))

    @rule(which=st.integers(0, 5))
    def revoke_a_session(self, which: int) -> None:
        _, session, _ = self.sessions[which % len(self.sessions)]
        now = self.now
        if session not in now.ended:
            self.place.writer.sessions.revoke(session)
            self.became(State(now.relationships, now.suspended, now.ended | {session}), self.place.writer.revision)

    # ----- what is said -----------------------------------------------------------------------------------------------

    @rule(who=st.sampled_from(PEOPLE), which=st.integers(0, 1))
    def check(self, who: int, which: int) -> None:
        subject, document = self.people[who].subject, self.documents[which]
        self.holds(
            lambda: self.place.reader.check(subject, "can_view", document),
            lambda state: state.can_view(who, subject, document, self.group),
        )

    @rule(which=st.integers(0, 5))
    def authenticate(self, which: int) -> None:
        _, session, token = self.sessions[which % len(self.sessions)]
        self.holds(lambda: self.place.reader.accepts(token), lambda state: session not in state.ended)

    def holds(self, ask: Callable[[], bool], truth: Callable[[State], bool]) -> None:
        began = time.monotonic()
        possible = {truth(state) for state in self.possible(began)}
        try:
            answer = ask()
        except (UnavailableError, DeadlineExceededError):
            return  # it is refused, which is not what is feared here
        assert answer in possible

    @precondition(lambda self: not self.is_silent)
    @rule()
    def all_is_passed(self) -> None:
        """No stale yes and no stale no; also after others have gone on, by which what is kept is looked at anew."""
        self.place.reader.wait_until_passed(self.moments[-1].revision)
        self.all_is_true()
        other = f"{self.documents[0]}-other#viewer@user:other"
        self.place.reader.wait_until_passed(grant(self.place.writer, other))
        self.all_is_true()
        self.place.reader.wait_until_passed(take(self.place.writer, other))
        self.all_is_true()

    @precondition(lambda self: not self.is_silent)
    @rule(which=st.integers(0, 11))
    def others_overtake_a_change(self, which: int) -> None:
        self.begin_a_change(which)
        self.all_is_passed()
        self.commit_a_change(0)
        self.all_is_passed()

    @precondition(lambda self: not self.is_silent)
    @rule()
    def the_revision_is_received(self) -> None:
        """The same at once, whatever the feed has passed."""
        self.place.reader.observe(self.moments[-1].revision)
        self.all_is_true()

    def all_is_true(self) -> None:
        reader, now = self.place.reader, self.now
        for who, each in enumerate(self.people):
            for document in self.documents:
                expected = now.can_view(who, each.subject, document, self.group)
                assert patiently(lambda s=each.subject, d=document: reader.check(s, "can_view", d)) is expected
        for _, session, token in self.sessions:
            assert patiently(lambda t=token: reader.accepts(t)) is (session not in now.ended)

    @precondition(lambda self: not self.is_silent)
    @rule(which=st.integers(0, 11))
    def the_reader_writes(self, which: int) -> None:
        text = self.texts()[which % len(self.texts())]
        if not self.is_held(text):
            client = self.place.reader.patient
            given = [relationship(text)]
            is_there = text in self.now.relationships
            revision = client.relationships.write(*((), given) if is_there else (given,))
            self.became(toggled(self.now, text), revision)
            self.all_is_true()

    # ----- the network ------------------------------------------------------------------------------------------------

    @rule()
    def cut(self) -> None:
        self.place.proxy.cut()

    @precondition(lambda self: not self.is_silent)
    @rule()
    def go_silent(self) -> None:
        self.place.proxy.hold()
        self.is_silent = True

    @precondition(lambda self: self.is_silent)
    @rule()
    def nothing_is_proven_any_more(self) -> None:
        seconds_until(lambda: not self.place.reader.status.fresh, within=10)

    @precondition(lambda self: self.is_silent)
    @rule()
    def go_on(self) -> None:
        self.place.proxy.resume()
        self.is_silent = False


def toggled(state: State, text: str) -> State:
    return State(state.relationships ^ {text}, state.suspended, state.ended)


def patiently(ask: Callable[[], bool]) -> bool:
    """Ask until there is an answer: right after a cut there may be none."""
    end = time.monotonic() + 20
    while True:
        try:
            return ask()
        except (UnavailableError, DeadlineExceededError):
            if time.monotonic() > end:
                raise


def run(at: Place, *, examples: int, steps: int) -> None:
    class Here(Machine):
        place = at

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_server(watchword, watchword_server, kind):
    address, server = watchword_server.address, watchword_server
    with place(address, address, server.api_key, server.database_url, kind, clock=server.time) as at:
        run(at, examples=5, steps=30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_written_at_one_server_and_asked_at_another(two_servers, kind):
    url = two_servers.whole.database_url
    with place(two_servers.one, two_servers.other, two_servers.api_key, url, kind) as at:
        run(at, examples=10, steps=50)
