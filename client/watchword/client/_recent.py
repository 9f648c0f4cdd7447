"""What has changed lately: what decides whether an answer stands, and whether one may still be kept.

The rule of DESIGN: an answer stands until a change at or after its horizon names one of its nodes. It is applied when
an answer is asked for, by looking its nodes up here. So a change costs the same however many answers are kept, none is
dropped that could have stayed, and a slow fill can never outlive a revocation: it is judged like all others.

What is older than what is remembered here, cannot be judged, and does not stand.
"""

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction changed."""

    xid: int
    nodes: Sequence[int]
    concerns_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Which transactions are seen, as PostgreSQL's pg_snapshot has it."""

    epoch: str
    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, checkpoint: str) -> "Snapshot":
        """Read a checkpoint of the feed, "<epoch>.<xmin>:<xmax>:<running>".

        Raises:
            ValueError: It is none.

        """
        epoch, dot, text = checkpoint.rpartition(".")
        xmin, xmax, running = text.split(":")
        if not dot:
            raise ValueError("a checkpoint names its epoch")
        return cls(epoch, int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int) -> bool:
        """Whether what a transaction committed is seen."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)


class Recent:
    """The changes that were delivered lately, up to a number of nodes. Many threads may read, one adds."""

    def __init__(self, max_nodes: int) -> None:
        self._max_nodes = max_nodes
        self._lock = threading.Lock()
        self._changes: deque[Change] = deque()
        self._last: dict[int, int] = {}
        self._size = 0
        self._floor = 0
        self.count = 0
        """How many changes there have been: as long as it is the same, so is what `permits` says."""

    def add(self, change: Change) -> None:
        """Note a change."""
        last = self._last
        with self._lock:
            self._changes.append(change)
            self._size += len(change.nodes) + 1
            for node in change.nodes:
                if last.get(node, 0) < change.xid:
                    last[node] = change.xid
            while self._size > self._max_nodes:
                self._forget_oldest()
            # Last of all: who has read the count before sees at least what it counts.
            self.count += 1

    def _forget_oldest(self) -> None:
        oldest = self._changes.popleft()
        self._size -= len(oldest.nodes) + 1
        # The floor first: a reader in another thread must never find the node gone and the floor still low.
        self._floor = max(self._floor, oldest.xid)
        for node in oldest.nodes:
            if self._last.get(node) == oldest.xid:
                del self._last[node]

    def permits(self, nodes: Iterable[int], horizon: int) -> bool:
        """Whether an answer with these nodes, computed at this horizon, stands."""
        last = self._last
        for node in nodes:
            if last.get(node, 0) >= horizon:
                return False
        # After the nodes: see `_forget_oldest`.
        return horizon > self._floor

    def has_named(self, nodes: Iterable[int], *, since: int) -> bool:
        """Whether a change names one of the nodes that was added after there had been so many."""
        if self.count == since:
            return False
        with self._lock:
            newer = self.count - since
            if newer > len(self._changes):
                return True  # some are forgotten
            nodes = frozenset(nodes)
            return any(not nodes.isdisjoint(change.nodes) for change in islice(reversed(self._changes), newer))

    def forget(self, *, floor: int) -> None:
        """Forget all. From now on an answer can be judged only if its horizon is beyond the floor."""
        with self._lock:
            # As high as can be in between: nothing stands while the changes are gone and the floor is not yet set.
            self._floor = 1 << 64
            self._changes = deque()
            self._last = {}
            self._size = 0
            self._floor = floor
            self.count += 1
