"""Every answer names what it stands on: none changes without an event that names one of its nodes.

Such an event has a transaction id at or after the answer's horizon. By this rule clients and the server's own caches
keep answers, so each random change also tells whether the cache forgets what it must.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from permission_oracle import FILTERS, OBJECTS, SUBJECTS, random_model, random_row
from permission_rpc import FAST, FULL, Question, Rpcs, at_least, text_of
from test_permission_properties import NODES

from watchword.client import Client
from watchword.client.testing import LocalServer
from watchword.server.api.messages import relationship as message_of
from watchword.server.permissions.fga_json import to_json
from watchword.server.permissions.plan import Plan
from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

LISTS = [
    (subject, type_, relation)
    for subject in SUBJECTS[::3]
    for type_, relation in (("doc", "open"), ("doc", "reader"), ("group", "member"))
]
CHANGES = Counter()


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    return Rpcs(channel, metadata)


@dataclass(frozen=True)
class Answer:
    said: Any
    nodes: frozenset[int]
    horizon: int | None
    """None: must not be cached."""

    @classmethod
    def of(cls, said: Any, nodes: Any, horizon: str) -> "Answer":
        return cls(said, frozenset(nodes), int(horizon.partition(".")[2]) if horizon else None)


@dataclass
class Place:
    """A random model with accounts that are real, and what may be done to them."""

    server: LocalServer
    rpcs: Rpcs
    watchword: Client
    random: Random
    users: dict[str, str] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.server.reset()
        for number in (1, 2):
            user = self.watchword.users.create(username=f"user-{number}").user_id
            self.users[f"user:{number}"] = f"user:{user}"
            self.status[user] = "active"
        self.write_model()
        for _ in range(25):
            self.write()

    def named(self, subject: str) -> str:
        return self.users.get(subject, subject)

    # ----- changes ----------------------------------------------------------------------------------------------------

    def row(self) -> rpb.Relationship:
        plan = Plan(self.model)
        while True:
            row = random_row(self.random, self.model)
            if plan.misfit(row) is None:
                message = message_of(row)
                message.ClearField("expire_time")
                message.subject = self.named(message.subject)
                return message

    def write(self) -> str:
        return self.rpcs.write(self.row())

    def write_several(self) -> str:
        rows = {text_of(message): message for message in (self.row() for _ in range(4))}
        return self.rpcs.write(*rows.values())

    def delete(self) -> str:
        stored = self.rpcs.stored()
        return self.rpcs.write(deletes=[self.random.choice(stored)]) if stored else self.write()

    def delete_by_filter(self) -> str:
        asked = rpb.RelationshipFilter(object=self.random.choice(OBJECTS))
        return self.rpcs.call(rpb.DeleteRelationshipsRequest(filter=asked)).revision

    def import_(self) -> str:
        return self.rpcs.imported([self.row() for _ in range(5)])[-1].revision

    def change_status(self) -> str:
        user = self.random.choice(list(self.status))
        if self.status[user] == "active":
            self.watchword.users.suspend(user)
            self.status[user] = "suspended"
        elif self.status[user] == "suspended":
            self.watchword.users.reinstate(user)
            self.status[user] = "active"
        else:
            return self.write()
        if self.random.random() < 0.1:
            self.watchword.users.delete(user)
            self.status[user] = "deleted"
        return self.write()

    def write_model(self) -> str:
        self.model = random_model(self.random)
        request = pb.WriteModelRequest(openfga_json=json.dumps(to_json(self.model)), allow_orphans=True)
        return self.rpcs.call(request).revision

    # ----- answers ----------------------------------------------------------------------------------------------------

    def checks(self, consistency: pb.Consistency) -> dict[Any, Answer]:
        asked = [(self.named(subject), *node.partition("#")[::-2]) for subject in SUBJECTS for node in NODES]
        response = self.rpcs.batch(asked, Question(consistency=consistency))
        return {
            question: Answer.of(
                (result.decision, tuple(result.missing_context)), result.nodes, response.horizon * result.cacheable
            )
            for question, result in zip(asked, response.results, strict=True)
            if not result.HasField("error")
        }

    def answers(self, consistency: pb.Consistency) -> dict[Any, Answer]:
        found = self.checks(consistency)
        for subject, type_, relation in LISTS:
            page = self.rpcs.objects(self.named(subject), relation, type_, Question(consistency=consistency))
            said = list(page.objects), [item.name for item in page.conditional]
            found["objects", subject, type_, relation] = Answer.of(said, page.nodes, page.horizon)
        for node in NODES[::3]:
            object_, _, relation = node.partition("#")
            page = self.rpcs.subjects(object_, relation, FILTERS, Question(consistency=consistency))
            said = list(page.subjects), [item.name for item in page.conditional], list(page.excluded)
            found["subjects", node] = Answer.of(said, page.nodes, page.horizon)
        return found

    def named_since(self, horizon: int) -> set[int]:
        with psycopg.connect(self.server.database_url, autocommit=True) as connection:
            rows = connection.execute("SELECT nodes FROM events WHERE xid >= %s::text::xid8", [str(horizon)])
            return {node for (nodes,) in rows for node in nodes}


def no_answer_changes_unnamed(server: LocalServer, rpcs: Rpcs, watchword: Client, seed: int) -> None:
    random = Random(seed)
    place = Place(server, rpcs, watchword, random)
    kinds = [
        *[place.write] * 3,
        *[place.delete] * 2,
        place.write_several,
        place.delete_by_filter,
        place.import_,
        place.change_status,
        place.write_model,
    ]
    for _ in range(4):
        before = place.answers(random.choice([FULL, FAST]))
        assert all(answer.horizon and answer.nodes for answer in before.values())
        for change in random.choices(kinds, k=random.choice([1, 1, 3])):
            revision = change()
            CHANGES[change.__name__] += 1
        after = place.answers(FULL)
        named: dict[int, set[int]] = {}
        for question, answer in before.items():
            if question in after and after[question].said != answer.said:
                CHANGES["changed answers"] += 1
                if answer.horizon not in named:
                    named[answer.horizon] = place.named_since(answer.horizon)
                assert answer.nodes & named[answer.horizon], (question, change.__name__)
        # Whether they come from the cache or not.
        for _ in range(2):
            cached = place.checks(at_least(revision))
            assert {question: cached[question].said for question in cached} == {
                question: after[question].said for question in cached
            }


seeds = st.integers(0, 2**64)
relaxed = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@settings(relaxed, max_examples=8)
@given(seed=seeds)
def test_no_answer_changes_without_an_event_that_names_its_nodes(watchword_server, rpcs, watchword, seed):
    no_answer_changes_unnamed(watchword_server, rpcs, watchword, seed)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(relaxed, max_examples=150)
@given(seed=seeds)
def test_no_answer_changes_unnamed_in_many_worlds(watchword_server, rpcs, watchword, seed):
    no_answer_changes_unnamed(watchword_server, rpcs, watchword, seed)


def test_a_deletion_of_more_than_an_event_can_name(rpcs: Rpcs, watchword_server, sql):
    """What changes at more than 1,000 nodes is named by relation, and the cache forgets all of the relation."""
    rpcs.model("model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n")
    names = [f"document:{number}" for number in range(1500)]
    rpcs.imported([rpb.Relationship(object=name, relation="viewer", subject="user:ana") for name in names])
    asked = [("user:ana", "viewer", name) for name in names[:900]]
    before = rpcs.batch(asked)
    listed = rpcs.objects("user:ana", "viewer", "document", page_size=10_000)
    assert len(listed.objects) == 1500
    rpcs.batch(asked, Question(consistency=FAST))
    horizon = min(int(text.partition(".")[2]) for text in (before.horizon, listed.horizon))
    delete = rpb.DeleteRelationshipsRequest(filter=rpb.RelationshipFilter(object_type="document"))
    revision = rpcs.call(delete).revision
    named = {
        node
        for row in sql("SELECT nodes FROM events WHERE xid >= %s::text::xid8", str(horizon))
        for node in row["nodes"]
    }
    assert all(set(result.nodes) & named for result in before.results)
    assert set(listed.nodes) & named
    after = rpcs.batch(asked, Question(consistency=at_least(revision)))
    assert {result.decision for result in after.results} == {pb.DECISION_DENIED}
