"""No mixing: every answer of every SDK, from its cache or not, is the oracle's at one moment, and not at one too old.

Some write, and several SDKs of both kinds ask two servers. Each answer must be what the oracle says of one of the
states that there were between the last one that the SDK's feed had passed when it was asked, and the newest.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from random import Random

import grpc
import pytest
from guaranteed import KINDS, MODEL, Sdk, Servers, grant, held_open, sdk, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from permission_oracle import NO, OPEN, SETS, SUBJECTS, USERS, YES, World, random_row, random_world
from permission_rpc import Question, Rpcs

from watchword.client import Client, ConditionFailedError, Decision, ResolutionLimitError
from watchword.server.permissions.fga_json import to_json
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship
from watchword.v1 import permissions_pb2, relationships_pb2

DECISIONS = {Decision.ALLOWED: YES, Decision.DENIED: NO, Decision.CONDITIONAL: OPEN}


@pytest.fixture(scope="module")
def readers(two_servers: Servers) -> Iterator[list[Sdk]]:
    """Two of each kind, at either server."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(sdk(address, two_servers.api_key, kind=kind))
            for address in (two_servers.one, two_servers.other)
            for kind in KINDS
        ]


@pytest.fixture(scope="module")
def rpcs(two_servers: Servers) -> Iterator[Rpcs]:
    with grpc.insecure_channel(two_servers.one) as channel:
        yield Rpcs(channel, (("authorization", f"Bearer {two_servers.api_key}"),))


# ----- random worlds --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """An answer, and the states that it may be of."""

    subject: str
    node: str
    decision: Decision | None
    first: int
    last: int


@dataclass
class Moving:
    """A world that changes while it is asked about."""

    world: World
    rpcs: Rpcs
    readers: list[Sdk]
    random: Random
    states: list[tuple[str, list[Relationship]]] = field(default_factory=list)
    """What there was after each change, and the revision of the change."""
    said: list[Said] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        for type_ in ("group", "doc"):
            self.rpcs.call(relationships_pb2.DeleteRelationshipsRequest(filter={"object_type": type_}))
        model = json.dumps(to_json(self.world.model))
        self.rpcs.call(permissions_pb2.WriteModelRequest(openfga_json=model, allow_orphans=True))
        self.plan = Plan(self.world.model)
        # Of what holds for a time only, others tell: here all is moved by changes alone.
        rows = {
            (row.node, row.subject): replace(row, expire_time=None)
            for row in self.world.rows
            if self.plan.misfit(row) is None
        }
        revision = self._write(list(rows.values()), [])
        for reader in self.readers:
            reader.observe(revision)
            reader.ready()
            reader.wait_until_passed(revision)
        self.states.append((revision, list(rows.values())))

    def change(self) -> None:
        """Make one change, of up to three relationships."""
        rows = {(row.node, row.subject): row for row in self.states[-1][1]}
        deleted = self.random.sample(list(rows.values()), min(len(rows), self.random.randint(0, 2)))
        for row in deleted:
            del rows[row.node, row.subject]
        made = (replace(random_row(self.random, self.world.model), expire_time=None) for _ in range(3))
        written = {
            (row.node, row.subject): row
            for row in made
            if self.plan.misfit(row) is None and (row.node, row.subject) not in {(r.node, r.subject) for r in deleted}
        }
        if not (written or deleted):
            return
        rows |= written
        # Before it is made: an answer may be of it before its revision is known.
        self.states.append(("", list(rows.values())))
        revision = self._write(list(written.values()), deleted)
        self.states[-1] = (revision, self.states[-1][1])

    def _write(self, rows: list[Relationship], deleted: list[Relationship]) -> str:
        if not (rows or deleted):
            nothing = relationships_pb2.RelationshipFilter(object_type="doc")
            return self.rpcs.call(relationships_pb2.DeleteRelationshipsRequest(filter=nothing)).revision
        request = relationships_pb2.WriteRelationshipsRequest()
        for row in rows:
            request.writes.append(
                Question(contextual=[row]).fill(permissions_pb2.CheckRequest()).contextual_relationships[0]
            )
        for row in deleted:
            request.deletes.add(object=row.object, relation=row.relation, subject=row.subject)
        return self.rpcs.call(request).revision

    def ask(self, reader: Sdk, random: Random) -> None:
        subject, node = random.choice([*USERS, *SUBJECTS]), random.choice(SETS)
        object_, _, relation = node.partition("#")
        count = len(self.states)
        first = max(
            number for number, (revision, _) in enumerate(self.states[:count]) if revision and reader.passed(revision)
        )
        try:
            decision = reader.decision(subject, relation, object_, context=self.world.context)
        except (ConditionFailedError, ResolutionLimitError):
            decision = None
        self.said.append(Said(subject, node, decision, first, len(self.states) - 1))

    def run(self, seconds: float) -> None:
        def go_on(reader: Sdk, seed: int) -> None:
            random = Random(seed)
            while not self.over.is_set():
                self.ask(reader, random)

        with ThreadPoolExecutor(len(self.readers)) as threads:
            going = [threads.submit(go_on, reader, number) for number, reader in enumerate(self.readers)]
            try:
                end = time.monotonic() + seconds
                while time.monotonic() < end and not any(future.done() for future in going):
                    self.change()
                    self.over.wait(self.random.choice((0, 0.002, 0.02)))
            finally:
                self.over.set()
            for future in going:
                future.result()

    def judge(self) -> None:
        solved: dict[tuple[int, str], dict[str, bool | None]] = {}
        for said in set(self.said):
            if said.decision is None:
                continue
            possible = set()
            for number in range(said.first, said.last + 1):
                if (number, said.subject) not in solved:
                    oracle = replace(self.world.oracle, rows=self.states[number][1])
                    solved[number, said.subject] = oracle.solve(said.subject)
                possible.add(solved[number, said.subject][said.node])
            # An open condition that makes no difference the server may find out, and the oracle does not.
            assert DECISIONS[said.decision] in possible or OPEN in possible, (said, possible)


def moving(rpcs: Rpcs, readers: list[Sdk], seed: int, seconds: float) -> Moving:
    random = Random(seed)
    made = Moving(random_world(random), rpcs, readers, random)
    made.begin()
    made.run(seconds)
    made.judge()
    return made


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6))
def test_every_answer_is_the_oracles_at_one_moment(rpcs, readers, seed):
    moving(rpcs, readers, seed, 0.6)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**6))
def test_every_answer_is_the_oracles_at_one_moment_of_many(rpcs, readers, seed):
    hits = sum(reader.status.hits for reader in readers)
    made = moving(rpcs, readers, seed, 1.5)
    assert len(made.said) > 50
    assert sum(reader.status.hits for reader in readers) > hits


# ----- the new enemy --------------------------------------------------------------------------------------------------


@dataclass
class Enemy:
    """Of a folder after the other: ana may see it, is taken out, and only then something is put in."""

    servers: Servers
    writer: Client
    readers: list[Sdk]
    folder: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    answers: int = 0

    def write(self, random: Random) -> None:
        folder = secrets.token_hex(4)
        old, new = (f"document:{folder}-{name}#parent@folder:{folder}" for name in ("old", "new"))
        way = f"folder:{folder}#viewer@user:ana"
        grant(self.writer, way, old)
        self.folder = folder
        self.over.wait(random.random() * 0.03)
        if random.random() < 0.5:
            take(self.writer, way)
        else:
            # Held back, while others commit.
            with held_open(self.servers.whole.database_url, takes=(way,)):
                grant(self.writer, f"folder:{folder}-other#viewer@user:ana")
                self.over.wait(random.random() * 0.02)
        grant(self.writer, new)
        self.over.wait(random.random() * 0.02)

    def check(self, random: Random) -> None:
        folder, reader = self.folder, random.choice(self.readers)
        if not folder:
            return
        new, old = (f"document:{folder}-{name}" for name in ("new", "old"))
        match random.randrange(5):
            case 0:
                reader.check("user:ana", "can_view", old)
            case 1:
                assert not reader.check("user:ben", "can_view", new)
            case 2:
                assert new not in reader.filter("user:ana", "can_view", [old, new])
            case _:
                assert not reader.check("user:ana", "can_view", new), folder
        self.answers += 1

    def run(self, seconds: float) -> None:
        def go_on(part: Callable[[Random], None], seed: int) -> None:
            random = Random(seed)
            while not self.over.is_set():
                part(random)

        parts = [self.write, *[self.check] * 4]
        with ThreadPoolExecutor(len(parts)) as threads:
            going = [threads.submit(go_on, part, seed) for seed, part in enumerate(parts)]
            end = time.monotonic() + seconds
            while time.monotonic() < end and not any(future.done() for future in going):
                self.over.wait(0.05)
            self.over.set()
            for future in going:
                future.result()


def new_enemy(two_servers: Servers, readers: list[Sdk], seconds: float) -> None:
    with Client(two_servers.one, api_key=two_servers.api_key) as writer:
        writer.permissions.write_model(dsl=MODEL, allow_orphans=True)
        for reader in readers:
            reader.observe(writer.revision)
            reader.ready()
        enemy = Enemy(two_servers, writer, readers)
        enemy.run(seconds)
    assert enemy.answers > 50


def test_the_new_enemy_sees_nothing(two_servers, readers):
    new_enemy(two_servers, readers, 3)


@pytest.mark.slow
def test_the_new_enemy_sees_nothing_for_long(two_servers, readers):
    new_enemy(two_servers, readers, 15)
