"""The walk through relationships that decides sets for one subject.

A walk goes in depth and stops where something decides. What it decides once stays decided, for good reason: whatever
is still open cannot change it. A node that it is still at, or that it left open, it takes for open when it comes by
again: so it passes through each node once, whatever cycles the data has. Most questions are decided by that. Those that
are not are decided by `sweep`.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from watchword.server.permissions.answers import Limits
from watchword.server.permissions.ledger import Ledger
from watchword.server.permissions.model import This, TupleToUserset
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.plan import RelationPlan
from watchword.server.permissions.relationships import Relationship, shape
from watchword.server.permissions.rewrites import OPEN, YES, Shapes, Verdict


@lru_cache(maxsize=8192)
def _kinds(subject: str) -> tuple[str, str]:
    """The shape of a subject, and what names everybody of its type, if that is one of them; else an empty text."""
    own = shape(subject)
    return own, "" if "#" in subject or own.endswith(WILDCARD) else f"{own}:{WILDCARD}"


class Walk:
    """A walk for one subject, to one node.

    shape, everybody: the subject's shape, and the other name under which it may be granted something directly: that of
        everybody of its type, which is its own shape; empty if the subject is a set or everybody itself.
    settled: what it knows of the nodes that it entered: OPEN for those that it is at or left open; the others are in
        the order in which they were decided.
    dive: how deep it goes, which is less than the limit if the model's definitions are nested so deep that the walk
        could exhaust the stack. What lies deeper is left open, for `sweep` to decide.
    """

    __slots__ = (*("dive", "everybody", "ledger", "limit", "plan", "read", "reader", "settled", "shape", "subject"),)

    def __init__(self, ledger: Ledger, subject: str, *, limits: Limits) -> None:
        self.ledger = ledger
        self.plan = plan = ledger.plan
        self.reader = ledger.reader
        self.read = ledger.read
        self.subject = subject
        self.shape, self.everybody = _kinds(subject)
        self.settled: dict[str, Verdict] = {}
        self.limit = limit = limits.depth
        self.dive = min(limit, plan.dive)

    def names(self) -> tuple[tuple[str, str], ...]:
        """Under which names the subject may be granted something directly, with their shapes."""
        own = self.subject, self.shape
        return (own, (self.everybody, self.everybody)) if self.everybody else (own,)

    def node(self, name: str, object_: str, plan: RelationPlan, depth: int) -> Verdict:
        """Decide a node, of an object and one of its relations, as far as this walk gets. The depth is that of it."""
        settled = self.settled
        if name in settled:
            return settled[name]
        if name == self.subject:
            return YES
        if depth > self.dive:
            return OPEN
        ledger = self.ledger
        ledger.work -= 1
        if ledger.work < 0:
            ledger.exhausted()
        settled[name] = OPEN
        verdict = plan.decide(self, object_, name, depth + 1)
        if verdict != OPEN:
            del settled[name]  # to come after what was decided on the way
            settled[name] = verdict
        return verdict

    def grants(self, leaf: This | TupleToUserset, node: str) -> Iterator[tuple[Relationship, Verdict, str | None]]:
        """What a leaf looks at: each relationship that the model allows, whether it counts, and the node it leads to.

        A direct grant to the subject leads to no other node.
        """
        if isinstance(leaf, This):
            shapes = self.plan.relations(node)[node.partition("#")[2]].shapes
            for subject, own in self.names():
                if (allowed := shapes.get(own)) and (row := self.reader.direct(node, subject)):
                    yield row, self.ledger.holds(row, allowed), None
            rows = self.reader.sets(node) if any("#" in name for name in shapes) else ()
            for row, allowed in self.allowed(rows, shapes):
                yield row, self.ledger.holds(row, allowed), row.subject
            return
        shapes = self.plan.relations(node)[leaf.tupleset].shapes
        tupleset = f"{node.partition('#')[0]}#{leaf.tupleset}"
        self.read.add(tupleset)
        for row, allowed in self.allowed(self.reader.all(tupleset), shapes):
            if self.plan.has(row.subject, leaf.relation):
                yield row, self.ledger.holds(row, allowed), f"{row.subject}#{leaf.relation}"

    @staticmethod
    def allowed(rows: Iterable[Relationship], shapes: Shapes) -> Iterator[tuple[Relationship, frozenset[str | None]]]:
        """The relationships whose subjects the model allows, with the conditions it lets such have."""
        for row in rows:
            if allowed := shapes.get(shape(row.subject)):
                yield row, allowed
