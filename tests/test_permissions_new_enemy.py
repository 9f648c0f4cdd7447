"""No mixture of snapshots: writers and checkers on two servers on one database (Zanzibar's "new enemy").

Two things are true at every moment there ever was:

- *The enemy* is taken out of a folder before anything new is put into it, so to nothing new is she let in.
- *Pairs* have the same members left and right: both change in one transaction.

An answer that says otherwise has put two moments together. Any consistency will do, so all are asked for. Single checks
of parts go on beside, so that caches hold parts read at different times; some writers hold their commits back, so
that commits come in another order than transaction ids.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

import grpc
import pytest
from deployment import deployment, free_port
from guaranteed import held_open
from organization_calls import Refused, eventually
from permission_rpc import ALLOWED, DENIED, FULL, QUICK, Question, Rpcs, at_least

from watchword.v1 import permissions_pb2 as pb

pytestmark = pytest.mark.timeout(300)

MODEL = """model
  schema 1.1
type user
type folder
  relations
    define viewer: [user]
type doc
  relations
    define parent: [folder]
    define viewer: viewer from parent
type half
  relations
    define member: [user]
type pair
  relations
    define left: [half]
    define right: [half]
    define in_left: member from left
    define in_right: member from right
    define odd: in_left but not in_right
    define strange: in_right but not in_left
"""


@dataclass
class Servers:
    """Two servers on one database."""

    database_url: str
    one: Rpcs
    other: Rpcs
    asked: int = 0

    def either(self, random: Random) -> Rpcs:
        return random.choice((self.one, self.other))


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with deployment() as made:
        addresses = [made.address, f"127.0.0.1:{free_port()}"]
        made.settings["WATCHWORD_LISTEN"] = addresses[1]
        second = made.spawn()
        try:
            assert second.stdout is not None
            assert addresses[1] in second.stdout.readline(), made.log[-3000:]
            channels = [grpc.insecure_channel(address) for address in addresses]
            metadata = (("authorization", f"Bearer {made.api_key}"),)
            one, other = (Rpcs(channel, metadata) for channel in channels)
            revision = one.model(MODEL).revision
            other.check("user:ana", "viewer", "doc:1", Question(consistency=at_least(revision)))
            yield Servers(made.database_url, one, other)
            for channel in channels:
                channel.close()
        finally:
            second.kill()
            second.communicate()


# ----- one after the other --------------------------------------------------------------------------------------------


def test_what_one_server_wrote_the_other_sees_at_its_revision(servers):
    for number in range(30):
        writer, reader = (servers.one, servers.other) if number % 2 else (servers.other, servers.one)
        text = f"folder:seen#viewer@user:{number % 3}"
        for change, decision in (((text,), ALLOWED), ((), DENIED)):
            revision = writer.write(*change, deletes=() if change else (text,))
            question = Question(consistency=at_least(revision))
            asked = (f"user:{number % 3}", "viewer", "folder:seen")
            assert reader.check(*asked, question).decision == decision
            assert reader.batch([asked], question).results[0].decision == decision
            assert bool(reader.objects(asked[0], "viewer", "folder", question).objects) == (decision == ALLOWED)
            assert bool(reader.subjects(asked[2], "viewer", ["user"], question).subjects) == (decision == ALLOWED)


def test_without_a_revision_the_other_server_sees_it_soon(servers):
    asked = ("user:ana", "viewer", "folder:soon")
    for number in range(10):
        # Warm, and with the answer of before.
        eventually(lambda n=number: (servers.other.check(*asked, QUICK).decision == ALLOWED) == bool(n % 2))
        if number % 2:
            servers.one.write(deletes=["folder:soon#viewer@user:ana"])
        else:
            servers.one.write("folder:soon#viewer@user:ana")
        # The one that wrote sees it at once.
        assert (servers.one.check(*asked, QUICK).decision == DENIED) == bool(number % 2)


def test_a_model_written_at_one_server_is_in_force_at_the_other(servers):
    renamed = MODEL.replace("strange", "weird")
    for number in range(6):
        relation, dsl = ("weird", renamed) if number % 2 == 0 else ("strange", MODEL)
        revision = servers.one.model(dsl).revision
        question = Question(consistency=at_least(revision))
        assert servers.other.check("user:ana", relation, "pair:1", question).decision == DENIED
        gone = {"weird": "strange", "strange": "weird"}[relation]
        with pytest.raises(Refused) as refused:
            servers.other.check("user:ana", gone, "pair:1", question)
        assert refused.value.reason == "INVALID_FIELD"


@pytest.mark.parametrize("revision", ["", ".", "1", "x", "x.y", "x.-1", "x.1 ", "x.\u0661", "x." + "9" * 21])
def test_what_is_no_revision(servers, revision):
    for rpcs in (servers.one, servers.other):
        with pytest.raises(Refused) as refused:
            rpcs.check("user:ana", "viewer", "doc:1", Question(consistency=pb.Consistency(at_least=revision)))
        assert refused.value.reason == "INVALID_FIELD"
        assert refused.value.fields == ["consistency.at_least"]


def test_revisions_of_another_history_and_of_what_was_not_yet(servers):
    epoch, _, xid = servers.one.write("folder:x#viewer@user:ana").partition(".")
    for revision in (f"other.{xid}", f".{xid}", f"{epoch}0.{xid}", f"{epoch}.{int(xid) + 1_000}", f"{epoch}.{10**19}"):
        question = Question(consistency=at_least(revision))
        for rpcs in (servers.one, servers.other):
            for ask in (
                lambda r=rpcs, q=question: r.check("user:ana", "viewer", "doc:1", q),
                lambda r=rpcs, q=question: r.batch([("user:ana", "viewer", "doc:1")] * 2, q),
                lambda r=rpcs, q=question: r.objects("user:ana", "viewer", "doc", q),
                lambda r=rpcs, q=question: r.subjects("doc:1", "viewer", ["user"], q),
            ):
                with pytest.raises(Refused) as refused:
                    ask()
                assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "REVISION_UNKNOWN")


# ----- all at once ----------------------------------------------------------------------------------------------------


@dataclass
class Story:
    """Something that several go on about until the time is over or one of them has found a contradiction."""

    servers: Servers
    seconds: float
    quiet: bool
    """Nobody tells the servers of changes: they learn of them by looking, a quarter of a second late."""
    over: threading.Event = field(default_factory=threading.Event)
    answers: int = 0

    def run(self, *parts: Callable[[Random], None]) -> None:
        with ThreadPoolExecutor(len(parts)) as threads:
            going = [threads.submit(self._go_on, part, seed) for seed, part in enumerate(parts)]
            end = time.monotonic() + self.seconds
            while time.monotonic() < end and not any(future.done() for future in going):
                self.over.wait(0.05)
            self.over.set()
            for future in going:
                future.result()

    def _go_on(self, part: Callable[[Random], None], seed: int) -> None:
        random = Random(f"{seed}/{secrets.token_hex(4)}")
        while not self.over.is_set():
            part(random)

    def question(self, random: Random, revision: str = "") -> Question:
        choices = [QUICK, QUICK, QUICK, Question(consistency=FULL)]
        if revision:
            choices += [Question(consistency=at_least(revision))] * 2
        return random.choice(choices)

    def write(self, random: Random, rows: list[str], deletes: list[str], *, hold: float = 0.0) -> str:
        """Change something, through a server or past both of them; give the revision if there is one."""
        if not (self.quiet or hold):
            return self.servers.either(random).write(*rows, deletes=deletes)
        with held_open(self.servers.database_url, grants=rows, takes=deletes):
            self.over.wait(random.random() * hold)
        return ""


def new_enemy(story: Story) -> None:
    """Of a folder after the other: ana may see it, is taken out, and only then something is put in."""
    servers, places = story.servers, {"current": "", "revision": ""}

    def write(random: Random) -> None:
        folder = secrets.token_hex(4)
        old, new = (f"doc:{folder}-{name}#parent@folder:{folder}" for name in ("old", "new"))
        way = f"folder:{folder}#viewer@user:ana"
        story.write(random, [way, old], [])
        places["current"] = folder
        story.over.wait(random.random() * 0.03)
        places["revision"] = story.write(random, [], [way])
        story.write(random, [new], [], hold=random.choice((0, 0, 0.02)))
        story.over.wait(random.random() * 0.02)

    def check(random: Random) -> None:
        folder, server = places["current"], servers.either(random)
        if not folder:
            return
        question = story.question(random, places["revision"])
        match random.randrange(7):
            case 0:
                server.check("user:ana", "viewer", f"doc:{folder}-old", question)
            case 1 | 2 | 3:
                # Brings the new document's parents into the cache, beside what is known there of ana in the folder.
                assert server.check("user:ben", "viewer", f"doc:{folder}-new", question).decision == DENIED
            case 4:
                asked = [("user:ana", "viewer", f"doc:{folder}-new"), ("user:ana", "viewer", f"folder:{folder}")]
                assert server.batch(asked, question).results[0].decision == DENIED
            case _:
                assert server.check("user:ana", "viewer", f"doc:{folder}-new", question).decision == DENIED
        story.answers += 1

    story.run(write, *[check] * 5)


PAIRS = 4


def pairs(story: Story) -> None:
    servers = story.servers
    name = secrets.token_hex(3)
    for number in range(PAIRS):
        pair = f"{name}-{number}"
        servers.one.write(f"pair:{pair}#left@half:{pair}-l", f"pair:{pair}#right@half:{pair}-r", *state(pair, 0))
    states = [0] * PAIRS

    def writer(number: int) -> Callable[[Random], None]:
        def write(random: Random) -> None:
            pair, before = f"{name}-{number}", states[number]
            after = (before + 1) % 5
            rows, deletes = state(pair, after), state(pair, before)
            story.write(random, rows, deletes, hold=0.0 if number else 0.03)
            states[number] = after
            story.over.wait(random.random() * 0.03)

        return write

    def check(random: Random) -> None:
        number, server, question = random.randrange(PAIRS), servers.either(random), story.question(random)
        pair = f"{name}-{number}"
        user = f"user:{(states[number] + random.choice((0, 0, 0, 1, -1))) % 5}"
        left, right = f"half:{pair}-l", f"half:{pair}-r"
        match random.randrange(8):
            case 0 | 1:
                server.check(user, "member", random.choice((left, right)), question)
            case 2:
                asked = [(f"user:{n}", "member", half) for n in range(5) for half in (left, right)]
                decisions = [result.decision == ALLOWED for result in server.batch(asked, question).results]
                assert decisions[::2] == decisions[1::2]
                assert sum(decisions) == 2
            case 3:
                halves = set(server.objects(user, "member", "half", question).objects)
                assert (left in halves) == (right in halves)
            case 4:
                assert not server.subjects(f"pair:{pair}", "odd", ["user"], question).subjects
            case _:
                relation = random.choice(("odd", "strange"))
                assert server.check(user, relation, f"pair:{pair}", question).decision == DENIED
        story.answers += 1

    story.run(*map(writer, range(PAIRS)), *[check] * 4)


def state(pair: str, number: int) -> list[str]:
    return [f"half:{pair}-{side}#member@user:{number}" for side in "lr"]


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("told", [new_enemy, pairs])
def test_no_answer_puts_two_moments_together(servers, told, quiet):
    story = Story(servers, 5, quiet)
    told(story)
    assert story.answers > 100


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("told", [new_enemy, pairs])
def test_no_answer_puts_two_moments_together_for_long(servers, told, quiet):
    story = Story(servers, 45, quiet)
    told(story)
    assert story.answers > 1_000
