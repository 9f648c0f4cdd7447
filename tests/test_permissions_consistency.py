"""How fresh answers are: read your writes, revisions that are none of ours, and the "new enemy" over two servers."""

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager

import grpc
import pytest
from deployment import Deployment, deployment, free_port
from permission_rpc import ALLOWED, DENIED, FULL, PLAIN, QUICK, Question, Rpcs, at_least, key, reason, refusing

from watchword.client import Client
from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user]
type folder
  relations
    define viewer: [user, group#member]
type document
  relations
    define parent: [folder]
    define banned: [user]
    define viewer: viewer from parent
    define reader: viewer but not banned
"""


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    found = Rpcs(channel, metadata)
    found.model(MODEL)
    return found


def asking(revision: str) -> Question:
    return Question(consistency=at_least(revision))


# ----- on one server --------------------------------------------------------------------------------------------------


def test_read_your_writes(rpcs: Rpcs):
    """Whatever is cached, an answer at least as fresh as a write sees it."""
    text = "folder:1#viewer@user:ana"
    rpcs.write("document:1#parent@folder:1")
    for _ in range(50):
        for change, expected in (({"writes": [text]}, ALLOWED), ({"deletes": [text]}, DENIED)):
            revision = rpcs.write(*change.get("writes", []), deletes=change.get("deletes", []))
            fresh = asking(revision)
            assert rpcs.check("user:ana", "viewer", "document:1", fresh).decision == expected
            assert rpcs.batch([("user:ana", "reader", "document:1")], fresh).results[0].decision == expected
            listed = rpcs.objects("user:ana", "viewer", "document", fresh)
            assert list(listed.objects) == ["document:1"] * (expected == ALLOWED)
            named = rpcs.subjects("document:1", "viewer", ["user"], fresh)
            assert list(named.subjects) == ["user:ana"] * (expected == ALLOWED)
            assert rpcs.explain("user:ana", "viewer", "document:1").decision == expected


def test_a_suspended_account_is_denied_everything_and_on_no_list(rpcs: Rpcs, watchword: Client):
    user = watchword.users.create(username="ana").user_id
    subject, asked = f"user:{user}", (f"user:{user}", "viewer", "document:1")
    rpcs.write("document:1#parent@folder:1", f"folder:1#viewer@{subject}", "folder:1#viewer@user:bob")
    for _ in range(3):
        assert rpcs.check(*asked).decision == rpcs.check(*asked, QUICK).decision == ALLOWED
        watchword.users.suspend(user)
        fresh = asking(rpcs.write("folder:2#viewer@user:bob"))
        for question in (fresh, fresh, PLAIN):
            assert rpcs.check(*asked, question).decision == DENIED
            assert rpcs.batch([asked], question).results[0].decision == DENIED
            assert not rpcs.objects(subject, "viewer", "document", question).objects
            assert list(rpcs.subjects("document:1", "viewer", ["user"], question).subjects) == ["user:bob"]
        (step,) = rpcs.explain(*asked).steps
        assert (step.kind, step.node) == (pb.EXPLANATION_STEP_KIND_ACCOUNT_DISABLED, subject)
        watchword.users.reinstate(user)
        assert rpcs.check(*asked, asking(rpcs.write("folder:2#viewer@user:bob"))).decision == ALLOWED


@pytest.mark.parametrize(
    "revision", ["x", "1", ".", "1.", "a.-1", "a.1e3", "a.½", "a.\u0661", f"a.{'9' * 21}", "1." + "1" * 120]
)
def test_malformed_revisions_are_refused(rpcs: Rpcs, revision: str):
    for ask in (
        lambda: rpcs.check("user:ana", "viewer", "document:1", asking(revision)),
        lambda: rpcs.batch([("user:ana", "viewer", "document:1")], asking(revision)),
        lambda: rpcs.objects("user:ana", "viewer", "document", asking(revision)),
        lambda: rpcs.subjects("document:1", "viewer", ["user"], asking(revision)),
    ):
        with refusing("INVALID_FIELD"):
            ask()


def test_revisions_of_another_history_and_of_the_future_are_refused(rpcs: Rpcs):
    revision = rpcs.write("document:1#parent@folder:1")
    epoch, _, xid = revision.partition(".")
    rpcs.check("user:ana", "viewer", "document:1", QUICK)
    for unknown in (f"other.{xid}", f".{xid}", f"{epoch}.{int(xid) + 100_000}", f"{epoch}.{'9' * 20}"):
        for ask in (
            lambda u=unknown: rpcs.check("user:ana", "viewer", "document:1", asking(u)),
            lambda u=unknown: rpcs.batch([("user:ana", "viewer", "document:1")], asking(u)),
            lambda u=unknown: rpcs.objects("user:ana", "viewer", "document", asking(u)),
            lambda u=unknown: rpcs.subjects("document:1", "viewer", ["user"], asking(u)),
        ):
            with refusing("REVISION_UNKNOWN"):
                ask()
    assert rpcs.check("user:ana", "viewer", "document:1", asking(revision)).decision == DENIED


def test_a_question_of_a_batch_that_has_no_answer_leaves_the_others_theirs(rpcs: Rpcs):
    rpcs.write("document:1#parent@folder:1", "folder:1#viewer@user:ana")
    good, bad = ("user:ana", "viewer", "document:1"), ("user:ana", "editor", "document:1")
    for question in (QUICK, Question(consistency=FULL), QUICK):
        for asked in ([bad], [bad, good], [good, bad, good], [bad, bad]):
            results = rpcs.batch(asked, question).results
            assert [result.decision for result in results] == [ALLOWED if item == good else 0 for item in asked]
            for item, result in zip(asked, results, strict=True):
                assert result.HasField("error") == (item == bad)
                if item == bad:
                    assert reason(result.error.reason) == "INVALID_FIELD"


# ----- on two ---------------------------------------------------------------------------------------------------------


@contextmanager
def two_servers() -> Iterator[tuple[Deployment, Rpcs, Rpcs]]:
    """Two server processes on one database."""
    with deployment() as made:
        first = made.address
        second = f"127.0.0.1:{free_port()}"
        made.settings["WATCHWORD_LISTEN"] = second
        other = made.spawn()
        try:
            assert other.stdout is not None
            assert second in other.stdout.readline(), made.log[-3000:]
            metadata = (("authorization", f"Bearer {made.api_key}"),)
            with grpc.insecure_channel(first) as one, grpc.insecure_channel(second) as two:
                yield made, Rpcs(one, metadata), Rpcs(two, metadata)
        finally:
            other.kill()
            other.communicate()


class Enemy:
    """Bob, who is in a group only while its document is in a folder that is shut, seen from two servers.

    At any moment one of the two keeps him out of the document: each answer that lets him in has mixed two snapshots.
    """

    def __init__(self, servers: tuple[Rpcs, Rpcs]) -> None:
        self.servers = servers
        self.rounds, self.checks = 0, 0
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def require_denied(self, server: Rpcs, document: str, question: Question) -> None:
        self.checks += 1
        asked = [("user:bob", relation, document) for relation in ("reader", "viewer")]
        results = server.batch(asked, question).results
        decisions = {*(result.decision for result in results), server.check(*asked[1], question).decision}
        if decisions != {DENIED}:
            self.wrong.append(f"{document}: {decisions} {question.consistency}")

    def write(self, number: int) -> None:
        group, document, folder = f"group:{number}", f"document:{number}", f"folder:{number}"
        bob, shut, opened = f"{group}#member@user:bob", f"{document}#parent@folder:shut", f"{document}#parent@{folder}"
        self.servers[0].write(f"{folder}#viewer@{group}#member", shut)
        while not self.stop.is_set():
            self.rounds += 1
            one, two = self.servers[:: 1 if self.rounds % 2 else -1]
            one.write(bob)
            two.write(deletes=[bob])
            revision = one.write(opened, deletes=[shut])
            for server in self.servers:
                self.require_denied(server, document, asking(revision))
            two.write(shut, deletes=[opened])

    def check(self, number: int, server: Rpcs) -> None:
        while not self.stop.is_set():
            # Somebody new makes the server read the same nodes again, and put what it read beside what it knows.
            server.check(f"user:{self.checks}", "viewer", f"document:{number}", QUICK)
            self.require_denied(server, f"document:{number}", QUICK)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_new_enemy():
    """Zanzibar's: who lost access never sees what came after, whichever server answers, from its cache or not."""
    with two_servers() as (_, one, two):
        one.model(MODEL)
        enemy = Enemy((one, two))
        with ThreadPoolExecutor(6) as pool:
            tasks = [pool.submit(enemy.write, number) for number in (1, 2)]
            tasks += [pool.submit(enemy.check, number, server) for number in (1, 2) for server in (one, two)]
            wait(tasks, timeout=15, return_when=FIRST_COMPLETED)
            enemy.stop.set()
            for task in tasks:
                task.result()
        assert not enemy.wrong
        assert enemy.rounds > 20
        assert enemy.checks > 100


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_write_at_one_server_is_read_at_the_other():
    with two_servers() as (_, one, two):
        one.model(MODEL)
        one.write("document:1#parent@folder:1")
        text = "folder:1#viewer@user:ana"
        for number in range(100):
            writer, reader = (one, two) if number % 2 else (two, one)
            reader.check("user:ana", "viewer", "document:1", QUICK)  # the cache knows the old answer
            fresh = asking(writer.write(text))
            assert reader.check("user:ana", "viewer", "document:1", fresh).decision == ALLOWED
            reader.check("user:ana", "viewer", "document:1", QUICK)
            fresh = asking(writer.call(rpb.WriteRelationshipsRequest(deletes=[key(text)])).revision)
            assert reader.check("user:ana", "viewer", "document:1", fresh).decision == DENIED
            if number % 20 == 0:
                revision = writer.model(f"{MODEL}type extra{number}\n").revision
                assert reader.check("user:ana", "viewer", "document:1", asking(revision)).decision == DENIED
                asked = pb.CheckRequest(subject=f"extra{number}:1", relation="viewer", object="document:1")
                asked.consistency.at_least = revision
                assert reader.call(asked).decision == DENIED  # the new type is known
