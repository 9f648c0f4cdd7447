"""Why a check answers what it does, as a tree that a person can read.

The tree holds what decided, and no more: for an allow one way that leads to it, for a deny all that was lacking, for
CONDITIONAL all that is still open. It is made from the same walk as the answer, so it cannot disagree with it.
"""

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Final

from watchword.server.permissions.answers import Answer, Decision, Limits
from watchword.server.permissions.ledger import Ledger
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
from watchword.server.permissions.relationships import Relationship, shape
from watchword.server.permissions.rewrites import NO, OPEN, YES, Verdict, both, either, opposite
from watchword.server.permissions.sweep import conclude
from watchword.server.permissions.walk import Walk

MAX_STEPS: Final = 500
"""Steps in one explanation. What is beyond is counted in `Step.omitted`, not lost silently."""
MAX_CHILDREN: Final = 20
"""Steps shown below one step."""


class StepKind(StrEnum):
    """What a step of an explanation is."""

    NODE = "node"
    """Whether the subject is in `node`. The child says why; if there is none, it does elsewhere in the tree."""
    ANY = "any"
    ALL = "all"
    EXCEPT = "except"
    """The children are the base, what is taken off it, or both: those that decided."""
    SUBJECT = "subject"
    """The subject is this very set."""
    GRANT = "grant"
    """A relationship that names the subject, or everybody of its type, and holds or is open by its condition."""
    THROUGH = "through"
    """A relationship that leads to another node, which is the child if it mattered."""
    MISSING_GRANT = "missing-grant"
    """The subject is not named at `node`. A grant there would be the way in."""
    NOTHING = "nothing"
    """No relationship leads from `node` to anything, and none could name the subject."""
    CYCLE = "cycle"
    """`node` leads back to where it came from, and grants nothing."""


class Why(StrEnum):
    """Why a relationship does not count, if it does not."""

    EXPIRED = "expired"
    CONDITION_FALSE = "condition-false"
    CONTEXT_MISSING = "context-missing"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an explanation.

    verdict: what the step comes to. What a cycle leaves open is denied, or CONDITIONAL if the whole is.
    missing: the parameters that the relationship's condition lacks.
    omitted: how many steps below it are not shown.
    """

    kind: StepKind
    verdict: Decision
    node: str
    relationship: Relationship | None = None
    why: Why | None = None
    missing: tuple[str, ...] = ()
    children: "tuple[Step, ...]" = ()
    omitted: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer with its reasons."""

    answer: Answer
    tree: Step

    def nearest(self) -> tuple[Step, ...]:
        """What was lacking, nearest first: missing grants, and relationships that expired or whose condition fails."""
        found = []
        queue = deque([self.tree])
        while queue:
            step = queue.popleft()
            if step.kind == StepKind.MISSING_GRANT or step.why is not None:
                found.append(step)
            queue.extend(step.children)
        return tuple(found)


def explain(ledger: Ledger, subject: str, object_: str, plan: RelationPlan, *, limits: Limits) -> Explanation:
    """Check a relation to an object, and say why."""
    walk = Walk(ledger, subject, limits=limits)
    decision, missing = conclude(walk, object_, plan)
    tree = _Teller(ledger, walk, decision).node(object_ + plan.suffix)
    return Explanation(Answer(decision, missing, frozenset(ledger.read), ledger.until), tree)


class _Teller:
    """Builds the tree from what a walk has settled."""

    __slots__ = ("_decisions", "_ledger", "_left", "_path", "_ranks", "_told", "_walk")

    def __init__(self, ledger: Ledger, walk: Walk, decision: Decision) -> None:
        self._ledger = ledger
        self._walk = walk
        # What decided a node was itself decided before it. To keep to that order is to give a reason and no circle.
        decided = (name for name, verdict in walk.settled.items() if verdict != OPEN)
        self._ranks = {name: rank for rank, name in enumerate(decided)}
        open_ = Decision.CONDITIONAL if decision == Decision.CONDITIONAL else Decision.DENIED
        self._decisions = {YES: Decision.ALLOWED, NO: Decision.DENIED, OPEN: open_}
        self._path: set[str] = set()
        self._told: set[str] = set()
        self._left = MAX_STEPS

    def node(self, name: str) -> Step:
        """Why the subject is in a node, or not."""
        rank = self._ranks.get(name, len(self._ranks))
        verdict = self._known(name, rank + 1)
        step = Step(StepKind.NODE, self._decisions[verdict], name)
        self._left -= 1
        plan = self._walk.plan.relation(name)
        if name == self._walk.subject:
            return replace(step, kind=StepKind.SUBJECT)
        if name in self._path:
            return replace(step, kind=StepKind.CYCLE)
        if name in self._told or plan is None:
            return step
        if self._left <= 0 or len(self._path) > self._walk.dive:
            return replace(step, omitted=1)
        self._told.add(name)
        self._path.add(name)
        child = self._part(plan.rewrite, name, verdict, rank)
        self._path.discard(name)
        return replace(step, children=(child,))

    # ----- verdicts ---------------------------------------------------------------------------------------------------

    def _known(self, name: str, rank: int) -> Verdict:
        """What was known of a node when the node of this rank was decided."""
        if name == self._walk.subject:
            return YES
        return self._walk.settled[name] if self._ranks.get(name, rank) < rank else OPEN

    def _verdict(self, part: Rewrite, node: str, rank: int) -> Verdict:
        """What was known of a part of a definition when its node was decided."""
        match part:
            case ComputedUserset(relation):
                return self._known(f"{node.partition('#')[0]}#{relation}", rank)
            case This() | TupleToUserset():
                grants = self._walk.grants(part, node)
                return reduce(either, (self._counts(holds, target, rank) for _, holds, target in grants), NO)
            case Difference(base, subtract):
                return both(self._verdict(base, node, rank), opposite(self._verdict(subtract, node, rank)))
        verdicts = (self._verdict(child, node, rank) for child in operands(part))
        return reduce(either if isinstance(part, Union) else both, verdicts)

    def _counts(self, holds: Verdict, target: str | None, rank: int) -> Verdict:
        return holds if target is None else both(holds, self._known(target, rank))

    # ----- definitions ------------------------------------------------------------------------------------------------

    def _part(self, part: Rewrite, node: str, verdict: Verdict, rank: int) -> Step:
        match part:
            case This() | TupleToUserset():
                return self._leaf(part, node, verdict, rank)
            case ComputedUserset(relation):
                return self.node(f"{node.partition('#')[0]}#{relation}")
        children = operands(part)
        verdicts = [self._verdict(child, node, rank) for child in children]
        if isinstance(part, Difference):
            kind, shown = StepKind.EXCEPT, _shown(verdict, *verdicts)
        else:
            kind = StepKind.ANY if isinstance(part, Union) else StepKind.ALL
            shown = [index for index, holds in enumerate(verdicts) if holds == verdict]
        if (kind, verdict) in {(StepKind.ANY, YES), (StepKind.ALL, NO)}:
            shown = shown[:1]
        told = tuple(self._part(children[index], node, verdicts[index], rank) for index in shown)
        return Step(kind, self._decisions[verdict], node, children=told)

    # ----- relationships ----------------------------------------------------------------------------------------------

    def _leaf(self, leaf: This | TupleToUserset, node: str, verdict: Verdict, rank: int) -> Step:
        told: list[Step] = []
        omitted = 0
        if verdict == NO and isinstance(leaf, This) and self._grantable(node):
            told.append(Step(StepKind.MISSING_GRANT, Decision.DENIED, node))
        for row, holds, target in self._walk.grants(leaf, node):
            if self._counts(holds, target, rank) != verdict:
                continue
            why, missing = self._why(row, leaf, node, holds)
            if verdict == NO and holds == NO and why is None:
                continue
            if len(told) >= MAX_CHILDREN or self._left <= 0:
                omitted += 1
                continue
            self._left -= 1
            kind = StepKind.GRANT if target is None else StepKind.THROUGH
            step = Step(kind, self._decisions[verdict], row.node, row, why, missing)
            if target is not None and holds != NO and not (verdict == OPEN and self._known(target, rank) == YES):
                step = replace(step, children=(self.node(target),))
            if verdict == YES:
                return step
            told.append(step)
        if len(told) == 1 and not omitted:
            return told[0]
        if not told:
            tupleset = node if isinstance(leaf, This) else f"{node.partition('#')[0]}#{leaf.tupleset}"
            return Step(StepKind.NOTHING, self._decisions[verdict], tupleset)
        return Step(StepKind.ANY, self._decisions[verdict], node, children=tuple(told), omitted=omitted)

    def _grantable(self, node: str) -> bool:
        """Whether the model lets the subject be named at a node."""
        shapes = self._walk.plan.relations(node)[node.partition("#")[2]].shapes
        return self._walk.shape in shapes

    def _why(
        self, row: Relationship, leaf: This | TupleToUserset, node: str, holds: Verdict
    ) -> tuple[Why | None, tuple[str, ...]]:
        """Why a relationship does not count; nothing if it does, or if the model no longer allows its condition."""
        if holds == YES:
            return None, ()
        if holds == OPEN:
            return Why.CONTEXT_MISSING, self._ledger.outcome(row).missing
        relation = node.partition("#")[2] if isinstance(leaf, This) else leaf.tupleset
        if row.condition not in self._walk.plan.relations(node)[relation].shapes[shape(row.subject)]:
            return None, ()
        expired = row.expire_time is not None and row.expire_time <= self._ledger.now
        return Why.EXPIRED if expired else Why.CONDITION_FALSE, ()


def _shown(verdict: Verdict, base: Verdict, subtract: Verdict) -> list[int]:
    """Which operands of `but not` decided: the first, the second or both."""
    if verdict == YES:
        return [0, 1]
    if verdict == NO:
        return [0] if base == NO else [1]
    return [index for index, holds in enumerate((base, subtract)) if holds == OPEN]
