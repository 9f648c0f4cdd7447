"""Random worlds over gRPC: whatever the server is asked, cold or warm, it answers as the engine in memory does.

The engine in memory is held against an oracle by test_permission_properties.
"""

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from organization_calls import Refused
from permission_oracle import FILTERS, NOW, OBJECTS, RELATIONS, SUBJECTS, World, random_world
from permission_rpc import ALLOWED, CONDITIONAL, DENIED, FAST, FULL, Question, Rpcs, reason
from test_permission_properties import FAILED, NODES, Asked

from watchword.client.testing import LocalServer
from watchword.server.permissions.answers import ConditionFailed, Decision
from watchword.server.permissions.fga_json import to_json
from watchword.server.permissions.plan import Plan
from watchword.server.storage.relationships import columns
from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

DECISIONS = {ALLOWED: Decision.ALLOWED, DENIED: Decision.DENIED, CONDITIONAL: Decision.CONDITIONAL}
HOUR = timedelta(hours=1)
ASKED = [(subject, *node.partition("#")[::-2]) for subject in SUBJECTS for node in NODES]
"""Every question there is: subject, relation, object."""
INSERT = """
INSERT INTO relationships (object, relation, subject, subject_relation, condition, context, expire_time)
SELECT * FROM unnest(%(object)s::text[], %(relation)s::text[], %(subject)s::text[], %(subject_relation)s::text[],
    %(condition)s::text[], %(context)s::jsonb[], %(expire_time)s::timestamptz[])
"""


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    return Rpcs(channel, metadata)


@dataclass
class Place:
    """A random world, and the server that holds it."""

    server: LocalServer
    rpcs: Rpcs
    random: Random
    world: World
    hours: float = 0
    """How far the clock was put forward since the world was made."""

    def __post_init__(self) -> None:
        """Bring it about: what the model does not allow by SQL, as a model before might have left it."""
        self.server.reset()
        random, world = self.random, self.world
        offset = datetime.fromtimestamp(self.server.time(), UTC) - NOW
        world.rows = [
            replace(row, expire_time=row.expire_time + offset) if row.expire_time else row for row in world.rows
        ]
        self.start = NOW + offset
        plan = Plan(world.model)
        fits = [row for row in world.rows if plan.misfit(row) is None]
        with psycopg.connect(self.server.database_url) as connection:
            connection.execute(INSERT, columns(row for row in world.rows if row not in fits))
        self.rpcs.call(pb.WriteModelRequest(openfga_json=json.dumps(to_json(world.model)), allow_orphans=True))
        # It makes no difference whether a relationship is stored or comes with the question, which hides the stored.
        world.contextual = [row for row in fits if random.random() < 0.3] if random.random() < 0.5 else []
        stored = [
            replace(row, condition=None, context=None, expire_time=None) if row in world.contextual else row
            for row in fits
            if row not in world.contextual or (random.random() < 0.5 and plan.misfit(plain(row)) is None)
        ]
        if stored:
            request = rpb.WriteRelationshipsRequest()
            for row in stored:
                request.writes.append(Question(contextual=[row]).fill(pb.CheckRequest()).contextual_relationships[0])
            self.rpcs.call(request)
        world.rows = [row for row in world.rows if row not in world.contextual]

    def asking(self, consistency: pb.Consistency) -> Question:
        return Question(self.world.context, self.world.contextual, consistency)

    @property
    def engine(self) -> Asked:
        return Asked(self.world, now=self.start + self.hours * HOUR)

    def advance(self, hours: float) -> None:
        self.server.advance(hours * 3600)
        self.hours += hours


def plain(row):
    return replace(row, condition=None, context=None, expire_time=None)


# ----- what must agree ------------------------------------------------------------------------------------------------


def expected_checks(place: Place) -> list[object]:
    engine, found = place.engine, []
    for subject, relation, object_ in ASKED:
        try:
            answer = engine.check(subject, f"{object_}#{relation}")
        except ConditionFailed:
            found.append(FAILED)
        else:
            found.append((answer.decision, tuple(answer.missing)))
    return found


def batch(place: Place, consistency: pb.Consistency) -> list[object]:
    return answers_of(place, place.rpcs.batch(ASKED, place.asking(consistency)))


def answers_of(place: Place, response: pb.BatchCheckResponse) -> list[object]:
    assert len(response.results) == len(ASKED)
    assert not place.world.contextual or not any(result.cacheable for result in response.results)
    found: list[object] = []
    for result in response.results:
        if result.HasField("error"):
            assert reason(result.error.reason) == "CONDITION_FAILED"
            found.append(FAILED)
        else:
            found.append((DECISIONS[result.decision], tuple(result.missing_context)))
    return found


def or_failed(ask):
    try:
        return ask()
    except Refused as refused:
        if (refused.code, refused.reason) == ("INVALID_ARGUMENT", "CONDITION_FAILED"):
            return FAILED
        raise


def checks_agree(place: Place, consistency: pb.Consistency, expected: list[object]) -> None:
    """A check of each kind for some questions."""
    for index in place.random.sample(range(len(ASKED)), 12):
        answer = or_failed(lambda a=ASKED[index]: place.rpcs.check(*a, place.asking(consistency)))
        explained = or_failed(lambda a=ASKED[index]: place.rpcs.explain(*a, place.asking(FULL)))
        for said in (answer, explained):
            found = said if said == FAILED else (DECISIONS[said.decision], tuple(said.missing_context))
            assert found == expected[index], ASKED[index]
        if answer == FAILED:
            continue
        assert bool(answer.horizon) == bool(answer.nodes) == (not place.world.contextual)


def lists_agree(place: Place, consistency: pb.Consistency) -> None:
    engine = place.engine
    kinds = [(subject, type_, name) for subject in SUBJECTS for type_, names in RELATIONS.items() for name in names]
    for subject, type_, relation in place.random.sample(kinds, 15):
        found = pages(
            lambda token, s=subject, t=type_, r=relation: place.rpcs.objects(
                s, r, t, place.asking(consistency), page_token=token, page_size=place.random.choice([0, 0, 1, 2])
            ),
            "objects",
        )
        assert found == listing(lambda s=subject, t=type_, r=relation: engine.list_objects(s, t, r)), (
            subject,
            relation,
        )
    for node in place.random.sample(NODES, 6):
        object_, _, relation = node.partition("#")
        found = pages(
            lambda token, o=object_, r=relation: place.rpcs.subjects(
                o, r, FILTERS, place.asking(consistency), page_token=token, page_size=place.random.choice([0, 0, 1, 2])
            ),
            "subjects",
        )
        assert found == listing(lambda n=node: engine.list_subjects(n, FILTERS)), node


def pages(ask, names: str) -> object:
    """All pages of a list."""
    found = [], {}, []
    token = ""
    while True:
        page = or_failed(lambda t=token: ask(t))
        if page == FAILED:
            return FAILED
        found[0].extend(getattr(page, names))
        found[1].update({item.name: tuple(item.missing_context) for item in page.conditional})
        found[2].extend(getattr(page, "excluded", ()))
        token = page.next_page_token
        assert page.complete == (not token)
        if not token:
            return found


def listing(ask) -> object:
    try:
        listed = ask()
    except ConditionFailed:
        return FAILED
    conditional = {name: tuple(missing) for name, missing in listed.conditional.items()}
    return list(listed.names), conditional, list(listed.excluded)


@contextmanager
def relationships_unreadable(server: LocalServer):
    """Nobody can read a relationship from the database: whoever answers nevertheless has asked the cache."""
    with psycopg.connect(server.database_url) as connection:
        connection.execute("LOCK TABLE relationships IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def warm_batch(place: Place) -> list[object]:
    """Ask with the database shut. The cache fills within milliseconds after the answers that it is filled from."""
    for _ in range(20):  # a busy machine may be late with that, a few times in a row
        batch(place, FAST)
        with relationships_unreadable(place.server):
            try:
                return batch(place, FAST)
            except Refused as refused:
                if refused.code == "INTERNAL":
                    raise
                # It waited for the table.
    raise AssertionError("no answer came from the cache")


def everything_agrees(server: LocalServer, rpcs: Rpcs, seed: int) -> None:
    random = Random(seed)
    place = Place(server, rpcs, random, random_world(random))
    expected = expected_checks(place)
    assert batch(place, random.choice([FULL, FAST])) == expected
    assert batch(place, FAST) == expected
    checks_agree(place, FULL, expected)
    checks_agree(place, FAST, expected)
    lists_agree(place, random.choice([FULL, FAST]))
    assert warm_batch(place) == expected
    standing = place.rpcs.batch(ASKED, place.asking(FAST)).results
    place.advance(1.5)
    later = expected_checks(place)
    assert batch(place, FAST) == later  # warm: what is cached is relationships, and they expire by the clock
    assert batch(place, FULL) == later
    for result, before, after in zip(standing, expected, later, strict=True):
        if result.cacheable and not 0 < result.remaining_lifetime.ToTimedelta() / HOUR <= 1.5:
            assert before == after


# ----- tests ----------------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**64)
relaxed = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@settings(relaxed, max_examples=15)
@given(seed=seeds)
def test_answers_agree_with_the_engine(watchword_server, rpcs, seed):
    everything_agrees(watchword_server, rpcs, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(relaxed, max_examples=500)
@given(seed=seeds)
def test_answers_agree_in_five_hundred_random_worlds(watchword_server, rpcs, seed):
    everything_agrees(watchword_server, rpcs, seed)


def test_the_cache_is_proved_by_the_shut_database(watchword_server, rpcs):
    """With the table shut a fresh answer does not come: so what comes is from the cache."""
    rpcs.write("group:1#member@user:1")
    with relationships_unreadable(watchword_server):
        refused = rpcs.refused(pb.CheckRequest(subject="user:1", relation="member", object="group:1", consistency=FULL))
    assert refused.code != "INTERNAL"


def test_objects_of_the_worlds_are_all_asked_for():
    assert {object_ for _, _, object_ in ASKED} == set(OBJECTS)
