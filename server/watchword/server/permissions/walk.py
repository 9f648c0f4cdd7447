"""The walk through relationships that decides sets for one subject.

A walk goes in depth and stops where something decides. What it decides once stays decided, for good reason: whatever
is still open cannot change it. A node that it is still at, or that it left open, it takes for open when it comes by
again: so it passes through each node once, whatever cycles the data has. Most questions are decided by that. Those that
are not are decided by `sweep`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from watchword.server.permissions.answers import Limits
from watchword.server.permissions.ledger import Ledger
from watchword.server.permissions.model import This, TupleToUserset
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.relationships import Relationship, shape
from watchword.server.permissions.rewrites import NO, OPEN, YES, Shapes, Verdict

_MAX_FRAMES: Final = 400
"""How much of the stack a walk may take. Python's own limit is 1,000, shared with whoever asks."""


class Walk:
    """A walk for one subject. It may decide any number of nodes, one after another.

    names: under which names the subject may be granted something directly, with their shapes.
    settled: what has been decided, in the order in which it was.
    dive: how deep it goes, which is less than the limit if the model's definitions are nested so deep that the walk
        could exhaust the stack. What lies deeper is left open, for `sweep` to decide.
    """

    __slots__ = ("_seen", "dive", "ledger", "limit", "names", "plan", "read", "reader", "settled", "subject")

    def __init__(self, ledger: Ledger, subject: str, *, limits: Limits) -> None:
        self.ledger = ledger
        self.plan = ledger.plan
        self.reader = ledger.reader
        self.read = ledger.read
        self.subject = subject
        own = shape(subject)
        self.names: tuple[tuple[str, str], ...] = ((subject, own),)
        if "#" not in subject and not own.endswith(WILDCARD):
            self.names = ((subject, own), (f"{own}:{WILDCARD}", f"{own}:{WILDCARD}"))
        self.settled: dict[str, Verdict] = {}
        self.limit = limits.depth
        self._seen: set[str] = set()
        self.dive = min(limits.depth, _MAX_FRAMES // (self.plan.nesting + 2))

    def holds(self, row: Relationship, allowed: frozenset[str | None]) -> Verdict:
        """See `Ledger.holds`."""
        return self.ledger.holds(row, allowed)

    def node(self, name: str, depth: int) -> Verdict:
        """Decide a node as far as this walk gets. The depth is that of the node."""
        if (verdict := self.settled.get(name)) is not None:
            return verdict
        if name == self.subject:
            return YES
        if name in self._seen or depth > self.dive:
            return OPEN
        self._seen.add(name)
        verdict = self.enter(name, depth)
        if verdict != OPEN:
            self.settled[name] = verdict
        return verdict

    def start(self, name: str) -> Verdict:
        """Decide a node as far as a walk from there gets."""
        self._seen.clear()
        return self.node(name, 0)

    def enter(self, name: str, depth: int) -> Verdict:
        """Decide a node by its definition."""
        plan = self.plan.relation(name)
        if plan is None:
            return NO
        self.ledger.spend()
        self.read.add(name)
        return plan.decide(self, name.partition("#")[0], name, depth + 1)

    def grants(self, leaf: This | TupleToUserset, node: str) -> Iterator[tuple[Relationship, Verdict, str | None]]:
        """What a leaf looks at: each relationship that the model allows, whether it counts, and the node it leads to.

        A direct grant to the subject leads to no other node.
        """
        if isinstance(leaf, This):
            shapes = self.plan.relations(node)[node.partition("#")[2]].shapes
            for subject, own in self.names:
                if (allowed := shapes.get(own)) and (row := self.reader.direct(node, subject)):
                    yield row, self.holds(row, allowed), None
            rows = self.reader.sets(node) if any("#" in name for name in shapes) else ()
            for row, allowed in self.allowed(rows, shapes):
                yield row, self.holds(row, allowed), row.subject
            return
        shapes = self.plan.relations(node)[leaf.tupleset].shapes
        tupleset = f"{node.partition('#')[0]}#{leaf.tupleset}"
        self.read.add(tupleset)
        for row, allowed in self.allowed(self.reader.all(tupleset), shapes):
            if self.plan.has(row.subject, leaf.relation):
                yield row, self.holds(row, allowed), f"{row.subject}#{leaf.relation}"

    @staticmethod
    def allowed(rows: Iterable[Relationship], shapes: Shapes) -> Iterator[tuple[Relationship, frozenset[str | None]]]:
        """The relationships whose subjects the model allows, with the conditions it lets such have."""
        for row in rows:
            if allowed := shapes.get(shape(row.subject)):
                yield row, allowed
