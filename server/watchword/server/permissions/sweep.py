"""Decides what a walk leaves open: in cycles, at the depth limit, or for want of context.

A sweep collects all nodes that bear on the question, nearest first, each at the depth of the shortest way to it. Then
it decides one after another from what is known of the others, until nothing new comes of it. What is open then is open
for good. (This is the least fixed point in the order of knowing: nothing is decided without a finite reason, and
everything that has one within the depth limit is. It does not hang on the order of anything.)
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import reduce
from typing import Final

from watchword.server.permissions.answers import ConditionFailed, Decision, Limit, LimitMet
from watchword.server.permissions.model import (
    ComputedUserset,
    Difference,
    Rewrite,
    This,
    TupleToUserset,
    Union,
    operands,
)
from watchword.server.permissions.plan import RelationPlan
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.rewrites import NO, OPEN, YES, Verdict, both, either, opposite
from watchword.server.permissions.walk import Walk


class Lack(StrEnum):
    """What an open set may lack to be decided. One in a cycle lacks nothing that anybody could give."""

    PARAMETER = "parameter"
    VALID_VALUE = "valid-value"
    DEPTH = "depth"


Lacks = frozenset[tuple[Lack, str]]
"""Each with the parameter's name, or with what is wrong with the value."""
_NOTHING: Final[Lacks] = frozenset()
_TOO_DEEP: Final[Lacks] = frozenset({(Lack.DEPTH, "")})

_DECIDED: Final[Mapping[Verdict, tuple[Decision, tuple[str, ...]]]] = {
    YES: (Decision.ALLOWED, ()),
    NO: (Decision.DENIED, ()),
}

_Goals = dict[tuple[str, Verdict], Lacks]
"""What it would take for a node to come to a verdict."""


def conclude(walk: Walk, object_: str, plan: RelationPlan) -> tuple[Decision, tuple[str, ...]]:
    """Decide a node, of an object and one of its relations, as a decision and the parameters missing for it, sorted.

    Raises:
        LimitMet: the node is open because of the depth limit.
        ConditionFailed: the node is open because a condition could not be evaluated.

    """
    node = object_ + plan.suffix
    verdict = walk.node(node, object_, plan, 0)
    walk.read.update(walk.settled)
    if verdict == OPEN:
        sweep = _Sweep(walk)
        verdict = sweep.start(node, object_, plan)
        if verdict == OPEN:
            return _undecided(sweep.lacks(node), limit=walk.limit)
    return _DECIDED[verdict]


def _undecided(lacks: Lacks, *, limit: int) -> tuple[Decision, tuple[str, ...]]:
    if lacks & _TOO_DEEP:
        raise LimitMet(Limit.DEPTH, f"The answer lies more than {limit} steps away, which is the limit.")
    for kind, message in sorted(lacks):
        if kind == Lack.VALID_VALUE:
            raise ConditionFailed(message)
    missing = tuple(sorted(text for _, text in lacks))
    return (Decision.CONDITIONAL if missing else Decision.DENIED), missing


class _Sweep(Walk):
    """Goes on where a walk ended, and settles for both."""

    __slots__ = ("_noted", "_order")

    def __init__(self, walk: Walk) -> None:
        self.ledger, self.plan, self.reader, self.read = walk.ledger, walk.plan, walk.reader, walk.read
        self.subject, self.shape, self.everybody = walk.subject, walk.shape, walk.everybody
        self.settled, self.limit = walk.settled, walk.limit
        for name in [name for name, verdict in self.settled.items() if verdict == OPEN]:
            del self.settled[name]
        self._noted: dict[str, tuple[str, RelationPlan, int]] = {}
        self._order: list[str] = []

    def node(self, name: str, object_: str, plan: RelationPlan, depth: int) -> Verdict:
        """What is known of a node. One that is new is noted, to be entered in its turn."""
        verdict = self._known(name)
        if verdict == OPEN and depth <= self.limit and name not in self._noted:
            self._noted[name] = object_, plan, depth
            self._order.append(name)
        return verdict

    def start(self, name: str, object_: str, plan: RelationPlan) -> Verdict:
        """Decide a node for good."""
        self.node(name, object_, plan, 0)
        for noted in self._order:  # which grows meanwhile
            self._try(noted)
        changed = True
        while changed and name not in self.settled:
            changed = False
            for noted in reversed(self._order):
                changed = (noted not in self.settled and self._try(noted)) or changed
        return self.settled.get(name, OPEN)

    def _known(self, name: str) -> Verdict:
        return YES if name == self.subject else self.settled.get(name, OPEN)

    def _try(self, name: str) -> bool:
        object_, plan, depth = self._noted[name]
        self.ledger.spend()
        self.read.add(name)
        verdict = plan.decide(self, object_, name, depth + 1)
        if verdict != OPEN:
            self.settled[name] = verdict
        return verdict != OPEN

    # ----- what an open node lacks ------------------------------------------------------------------------------------

    def lacks(self, start: str) -> Lacks:
        """Find what it would take for an open node to hold: nothing helps if cycles stand in the way.

        Starts from nothing for every node, and goes on until all agree with each other.
        """
        goals: _Goals = {(start, YES): _NOTHING}
        changed = True
        while changed:
            changed = False
            for node, verdict in list(goals):
                known = len(goals)
                found = _TOO_DEEP
                if noted := self._noted.get(node):
                    found = self._weigh(noted[1].rewrite, node, verdict, goals)[1]
                changed = changed or len(goals) > known or found != goals[node, verdict]
                goals[node, verdict] = found
        return goals[start, YES]

    def _weigh(self, part: Rewrite, node: str, aim: Verdict, goals: _Goals) -> tuple[Verdict, Lacks]:
        """What is known of a part of a definition and, if it is open, what it would take for it to come to the aim."""
        match part:
            case ComputedUserset(relation):
                return self._weigh_node(f"{node.partition('#')[0]}#{relation}", aim, goals)
            case This() | TupleToUserset():
                weighed = [self._weigh_grant(grant, aim, goals) for grant in self.grants(part, node)]
                return _combine(either, aim, weighed)
            case Difference(base, subtract):
                verdict, lacks = self._weigh(subtract, node, opposite(aim), goals)
                return _combine(both, aim, [self._weigh(base, node, aim, goals), (opposite(verdict), lacks)])
        weighed = [self._weigh(child, node, aim, goals) for child in operands(part)]
        return _combine(either if isinstance(part, Union) else both, aim, weighed)

    def _weigh_grant(
        self, grant: tuple[Relationship, Verdict, str | None], aim: Verdict, goals: _Goals
    ) -> tuple[Verdict, Lacks]:
        row, holds, target = grant
        weighed = [(holds, self._row_lacks(row) if holds == OPEN else _NOTHING)]
        if target is not None and holds != NO:
            weighed.append(self._weigh_node(target, aim, goals))
        return _combine(both, aim, weighed)

    def _weigh_node(self, name: str, aim: Verdict, goals: _Goals) -> tuple[Verdict, Lacks]:
        verdict = self._known(name)
        return verdict, goals.setdefault((name, aim), _NOTHING) if verdict == OPEN else _NOTHING

    def _row_lacks(self, row: Relationship) -> Lacks:
        outcome = self.ledger.outcome(row)
        if outcome.failure is not None:
            return frozenset({(Lack.VALID_VALUE, outcome.failure)})
        return frozenset((Lack.PARAMETER, name) for name in outcome.missing)


def _combine(
    operator: Callable[[Verdict, Verdict], Verdict], aim: Verdict, weighed: list[tuple[Verdict, Lacks]]
) -> tuple[Verdict, Lacks]:
    """What operands come to together. To make an `or` hold, or an `and` not, one will do; else it takes all."""
    verdict = reduce(operator, (verdict for verdict, _ in weighed), NO if operator is either else YES)
    needs = [lacks for verdict, lacks in weighed if verdict == OPEN]
    one_will_do = (operator is either) == (aim == YES)
    if verdict != OPEN or not (one_will_do or all(needs)):
        return verdict, _NOTHING
    return verdict, _NOTHING.union(*needs)
