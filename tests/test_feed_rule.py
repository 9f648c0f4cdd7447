"""The rule by which the SDK keeps answers, against a model of PostgreSQL's transactions: none outlives a change.

Transactions run side by side and commit in any order; answers are computed on snapshots, travel slowly and arrive in
any order; the feed tells of what has become visible, early or late, loses its place, and goes on where it broke off.
Whatever happens, an answer that is given is at least as new as the snapshot that the feed has come to.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from watchword.client._following import Following
from watchword.client._kept import Kept
from watchword.client._recent import Change, Recent
from watchword.client.revisions import Revisions
from watchword.v1 import watch_pb2 as pb

NODES = (1, 2, 3)
KEYS = ((1,), (2,), (1, 2), (2, 3), (1, 2, 3))
Versions = dict[int, int]


@dataclass
class Database:
    """Which versions of nodes there are: the number of transactions that have changed them and are seen."""

    next_xid: int = 100
    running: dict[int, set[int]] = field(default_factory=dict)
    committed: list[tuple[int, frozenset[int]]] = field(default_factory=list)

    def snapshot(self) -> tuple[int, int, frozenset[int]]:
        return min(self.running, default=self.next_xid), self.next_xid, frozenset(self.running)

    def seen(self, snapshot: tuple[int, int, frozenset[int]]) -> list[tuple[int, frozenset[int]]]:
        _, xmax, running = snapshot
        return [(xid, nodes) for xid, nodes in self.committed if xid < xmax and xid not in running]

    def versions(self, snapshot: tuple[int, int, frozenset[int]]) -> Versions:
        seen = self.seen(snapshot)
        return {node: sum(node in nodes for _, nodes in seen) for node in NODES}


def text(snapshot: tuple[int, int, frozenset[int]]) -> str:
    xmin, xmax, running = snapshot
    return f"epoch.{xmin}:{xmax}:{','.join(map(str, sorted(running)))}"


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.now = 0.0
        # So few changes are remembered that old ones are forgotten all the time.
        self.following = Following(Revisions(lambda: self.now), max_staleness=2.0, max_bytes=160 * 2 * 5)
        self.kept: Kept[tuple[int, ...], Versions] = Kept(self.following, self.following.changes, max_bytes=4_000)
        self.travelling: list[tuple[tuple[int, ...], Versions, int, int]] = []
        self.told: set[int] = set()
        self.snapshots: list[tuple[int, int, frozenset[int]]] = []
        self.at = self.database.snapshot()
        self._receive(pb.WatchResponse(started=self._started()))

    def _started(self) -> pb.WatchStarted:
        self.at = self.database.snapshot()
        self.told = set()
        return pb.WatchStarted(checkpoint=text(self.at), tokens_since=self.at[1])

    def _receive(self, response: pb.WatchResponse) -> None:
        self.following.receive(response, self.now)

    # ----- the database -----------------------------------------------------------------------------------------------

    @rule(nodes=st.sets(st.sampled_from(NODES), min_size=1))
    def begin(self, nodes: set[int]) -> None:
        if len(self.database.running) < 4:
            self.database.running[self.database.next_xid] = nodes
            self.database.next_xid += 1

    @rule(which=st.integers(0, 3), early=st.booleans())
    def commit(self, *, which: int, early: bool) -> None:
        if not self.database.running:
            return
        xid = sorted(self.database.running)[which % len(self.database.running)]
        nodes = frozenset(self.database.running.pop(xid))
        self.database.committed.append((xid, nodes))
        if early:  # the worker that has committed it tells it before it looks
            self.told.add(xid)
            self._receive(pb.WatchResponse(changes=pb.WatchChanges(changes=[self._change(xid, nodes)])))

    @rule(nodes=st.sets(st.sampled_from(NODES), min_size=1))
    def change(self, nodes: set[int]) -> None:
        """All in one step, so that there are many: what is old is forgotten."""
        self.database.committed.append((self.database.next_xid, frozenset(nodes)))
        self.database.next_xid += 1
        self.look()

    @staticmethod
    def _change(xid: int, nodes: frozenset[int]) -> pb.Change:
        return pb.Change(transaction_id=xid, nodes=sorted(nodes))

    # ----- answers ----------------------------------------------------------------------------------------------------

    @rule(key=st.sampled_from(KEYS), lag=st.integers(0, 6))
    def ask(self, key: tuple[int, ...], lag: int) -> None:
        """Of a server that answers from its cache, which may be behind what another one tells on the feed."""
        self.snapshots.append(self.database.snapshot())
        snapshot = self.snapshots[max(0, len(self.snapshots) - 1 - lag)]
        versions = self.database.versions(snapshot)
        self.travelling.append((key, {node: versions[node] for node in key}, snapshot[0], self.kept.generation))

    @rule(which=st.integers(0, 20))
    def arrive(self, which: int) -> None:
        if self.travelling:
            key, versions, horizon, generation = self.travelling.pop(which % len(self.travelling))
            self.kept.put(key, versions, generation=generation, nodes=key, horizon=horizon, size=100)

    # ----- the feed ---------------------------------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        before, self.at = self.at, self.database.snapshot()
        seen_before = {xid for xid, _ in self.database.seen(before)}
        new = [(xid, nodes) for xid, nodes in self.database.seen(self.at) if xid not in seen_before]
        changes = [self._change(xid, nodes) for xid, nodes in new if xid not in self.told]
        self.told -= {xid for xid, _ in new}
        self._receive(pb.WatchResponse(changes=pb.WatchChanges(changes=changes, checkpoint=text(self.at))))

    @rule()
    def ping(self) -> None:
        number = self.following.ping(self.now, promptly=False).ping.number
        self.look()
        self._receive(pb.WatchResponse(pong=pb.WatchPong(number=number, checkpoint=text(self.at))))

    @rule()
    def lose_place(self) -> None:
        self._receive(pb.WatchResponse(resynchronize=pb.WatchResynchronize(started=self._started())))

    @rule()
    def break_off_and_resume(self) -> None:
        """What was told early and lies behind the checkpoint comes again."""
        start = self.following.start().start
        assert start.checkpoint == text(self.at)
        self.told = set()
        self._receive(pb.WatchResponse(started=pb.WatchStarted(checkpoint=start.checkpoint, resumed=True)))

    @invariant()
    def no_answer_is_older_than_the_feed(self) -> None:
        heard = self.database.versions(self.at)
        for key in KEYS:
            versions = self.kept.get(key, self.now)
            if versions is not None:
                assert all(versions[node] >= heard[node] for node in key), (key, versions, heard)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.kept.bytes <= 4_000


TestRule = Machine.TestCase
TestRule.settings = settings(max_examples=300, stateful_step_count=80, deadline=None)


def test_what_is_older_than_what_is_remembered_does_not_stand() -> None:
    recent = Recent(max_nodes=4)
    recent.add(Change(100, (1,)))
    assert not recent.permits((1,), 100)
    assert recent.permits((1,), 101)
    for xid in (101, 102):
        recent.add(Change(xid, (2,)))
    assert not recent.permits((1,), 100), "its change is forgotten, and with it whether it stands"
    assert recent.permits((1,), 101)
    assert recent.has_named((1,), since=0), "as far as is known"
    assert not recent.has_named((1,), since=1)
