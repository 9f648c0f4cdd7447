"""Lists: all objects a subject has a relation to, and all subjects that have a relation to an object.

*Every list equals the set of its checks.* A list is found in two steps. First candidates are collected, by following
relationships from the subject or from the object; none that could be allowed is left out, in whichever part of a
definition it stands. A candidate reached by unions only, over relationships that hold, within the depth limit, is
allowed for certain: that very way is the reason a check would find. Every other candidate is checked.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from watchword.server.permissions.answers import Decision, Limits, Listing
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
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.plan import RelationPlan
from watchword.server.permissions.relationships import Relationship, shape
from watchword.server.permissions.rewrites import NO, OPEN, YES, Verdict
from watchword.server.permissions.routes import Leaf
from watchword.server.permissions.sweep import conclude
from watchword.server.permissions.walk import Walk


class _Candidates:
    """Names met on the way from a start, each with the best that is known of it, in the order of their distance."""

    __slots__ = ("_depth", "_known", "_queue")

    def __init__(self, *, depth: int) -> None:
        self._queue: deque[tuple[str, bool, int]] = deque()
        self._known: dict[str, bool] = {}
        self._depth = depth

    def add(self, name: str, *, certain: bool, depth: int) -> None:
        """Note a name, to be followed unless as much is known of it already."""
        certain = certain and depth <= self._depth
        if not self._known.get(name, False) and (certain or name not in self._known):
            self._known[name] = certain
            self._queue.append((name, certain, depth))

    def __iter__(self) -> Iterator[tuple[str, bool, int]]:
        """Names to be followed, as long as there are any; with whether they are certain, and their distance."""
        while self._queue:
            yield self._queue.popleft()


# ----- objects --------------------------------------------------------------------------------------------------------


def list_objects(ledger: Ledger, subject: str, relation: str, type_: str, *, limits: Limits) -> Listing:
    """All objects of a type to which a subject has a relation."""
    plan = ledger.plan.types[type_][relation]
    walk = _SharedWalk(ledger, subject, limits=limits)
    search = _ObjectSearch(ledger, plan, limits=limits)
    search.run(walk)
    names = [object_ for object_, certain in search.found.items() if certain]
    conditional = {}
    for object_ in (object_ for object_, certain in search.found.items() if not certain):
        verdict = walk.start(object_, plan)
        if verdict == OPEN:
            decision, missing = conclude(Walk(ledger, subject, limits=limits), object_, plan)
            if decision == Decision.CONDITIONAL:
                conditional[object_] = missing
            verdict = YES if decision == Decision.ALLOWED else NO
        if verdict == YES:
            names.append(object_)
    nodes = frozenset(ledger.plan.routes(type_, relation).read)
    return Listing(tuple(sorted(names)), conditional, nodes=nodes, until=ledger.until)


class _ObjectSearch:
    """Collects the objects of one relation to which ways lead from a subject.

    found: each with whether it is certain that the subject has the relation to it.
    """

    __slots__ = ("_candidates", "_depth", "_ledger", "_routes", "_target", "found")

    def __init__(self, ledger: Ledger, target: RelationPlan, *, limits: Limits) -> None:
        self._ledger = ledger
        self._routes = ledger.plan.routes(target.type, target.name)
        self._target = target
        self._depth = limits.depth
        self._candidates = _Candidates(depth=limits.depth)
        self.found: dict[str, bool] = {}

    def run(self, walk: Walk) -> None:
        """Follow the subject's relationships, and those of the nodes that it is in, to wherever they lead."""
        for name, _ in walk.names():
            self._candidates.add(name, certain=True, depth=-1)
        for name, certain, depth in self._candidates:
            self._ledger.spend()
            if shape(name) == f"{self._target.type}{self._target.suffix}":
                object_ = name.partition("#")[0]
                self.found[object_] = self.found.get(object_, False) or certain
            self._follow(name, certain=certain, depth=depth + 1)

    def _follow(self, name: str, *, certain: bool, depth: int) -> None:
        """Note the nodes that a subject may be in because it has this name, or is in this node."""
        routes, reader, types = self._routes, self._ledger.reader, self._ledger.plan.types
        own = shape(name)
        for (type_, granted), enough in routes.direct.get(own, {}).items():
            plan = types[type_][granted]
            rows = reader.reverse(name, type_, granted)
            self._note(rows, plan.shapes[own], plan, certain=certain and enough, depth=depth)
        object_, hash_, relation = name.partition("#")
        if not hash_:
            return
        key = object_.partition(":")[0], relation
        for computed, enough in routes.computed.get(key, {}).items():
            self._candidates.add(f"{object_}#{computed}", certain=certain and enough, depth=depth)
        for ((type_, tupleset), followed), enough in routes.objects.get(key, {}).items():
            allowed = types[type_][tupleset].shapes[key[0]]
            rows = reader.reverse(object_, type_, tupleset)
            self._note(rows, allowed, types[type_][followed], certain=certain and enough, depth=depth)

    def _note(
        self,
        rows: Iterable[Relationship],
        allowed: frozenset[str | None],
        plan: RelationPlan,
        *,
        certain: bool,
        depth: int,
    ) -> None:
        """Note a relation to the objects of those relationships that count."""
        ledger, found, suffix = self._ledger, self.found, plan.suffix
        # The longest lists come from what is asked for, and leads to nothing else. That need not be followed.
        last = plan is self._target and not self._routes.leads_on(plan.type, plan.name)
        if last:
            certain = certain and depth <= self._depth
        for row in rows:
            holds = ledger.holds(row, allowed)
            if holds == NO:
                continue
            if last:
                object_ = row.object
                found[object_] = (certain and holds == YES) or found.get(object_, False)
            else:
                self._candidates.add(row.object + suffix, certain=certain and holds == YES, depth=depth)


class _SharedWalk(Walk):
    """A walk that decides many nodes and remembers how deep it had to go for each.

    What was decided is not used again where that would lead beyond the depth limit: a check by itself would not get
    there, and a list must not know better than a check.
    """

    __slots__ = ("_entered", "_heights", "_reach")

    def __init__(self, ledger: Ledger, subject: str, *, limits: Limits) -> None:
        super().__init__(ledger, subject, limits=limits)
        self._entered: set[str] = set()
        self._heights: dict[str, int] = {}
        self._reach = 0

    def start(self, object_: str, plan: RelationPlan) -> Verdict:
        """Decide a node as far as a walk from there gets."""
        self._entered.clear()
        return self.node(object_ + plan.suffix, object_, plan, 0)

    def node(self, name: str, object_: str, plan: RelationPlan, depth: int) -> Verdict:
        """See `Walk.node`."""
        if name == self.subject:
            return YES
        height = self._heights.get(name)
        if height is not None and depth + height <= self.limit:
            self._reach = max(self._reach, depth + height)
            return self.settled[name]
        if name in self._entered or depth > self.dive:
            return OPEN
        self.ledger.spend()
        self._entered.add(name)
        reach, self._reach = self._reach, depth
        verdict = plan.decide(self, object_, name, depth + 1)
        if verdict != OPEN:
            self.settled[name] = verdict
            self._heights[name] = self._reach - depth
        self._reach = max(self._reach, reach)
        return verdict


# ----- subjects -------------------------------------------------------------------------------------------------------


def list_subjects(
    ledger: Ledger, object_: str, plan: RelationPlan, filters: frozenset[str], *, limits: Limits
) -> Listing:
    """All subjects of some kinds that have a relation to an object."""
    search = _Search(ledger, object_ + plan.suffix, filters, limits=limits)
    search.run(with_subtracted=False)
    if search.everybody:
        # Somebody who is named only in what is taken away may be in, or left out of, what everybody is in.
        search.run(with_subtracted=True)
    names = []
    conditional = {}
    denied = []
    for subject, certain in search.found.items():
        if certain:
            names.append(subject)
            continue
        decision, missing = conclude(Walk(ledger, subject, limits=limits), object_, plan)
        if decision == Decision.ALLOWED:
            names.append(subject)
        elif decision == Decision.CONDITIONAL:
            conditional[subject] = missing
        else:
            denied.append(subject)
    everybody = {name.partition(":")[0] for name in (*names, *conditional) if name.endswith(f":{WILDCARD}")}
    excluded = [name for name in denied if "#" not in name and name.partition(":")[0] in everybody]
    nodes = frozenset(ledger.read)
    return Listing(tuple(sorted(names)), conditional, tuple(sorted(excluded)), nodes, ledger.until)


class _Search:
    """Collects the subjects named at all nodes that lead to one.

    found: each with whether it is certain to be in the node.
    everybody: whether everybody of a type is among them.
    """

    __slots__ = ("_filters", "_ledger", "_limits", "_start", "everybody", "found")

    def __init__(self, ledger: Ledger, start: str, filters: frozenset[str], *, limits: Limits) -> None:
        self._ledger = ledger
        self._start = start
        self._filters = filters
        self._limits = limits
        self.found: dict[str, bool] = {}
        self.everybody = False

    def run(self, *, with_subtracted: bool) -> None:
        """Go through all nodes, with or without those that only take away."""
        nodes = _Candidates(depth=self._limits.depth)
        nodes.add(self._start, certain=True, depth=0)
        for node, certain, depth in nodes:
            self._ledger.spend()
            plan = self._ledger.plan.relation(node)
            if plan is None:
                continue
            self._ledger.read.add(node)
            self._note(node, certain=certain)
            for leaf, enough in _parts(plan.rewrite, with_subtracted=with_subtracted):
                self._leaf(nodes, leaf, node, certain=certain and enough, depth=depth + 1)

    def _note(self, subject: str, *, certain: bool) -> None:
        own = shape(subject)
        if own.removesuffix(f":{WILDCARD}") in self._filters:
            self.found[subject] = certain or self.found.get(subject, False)
            self.everybody = self.everybody or own.endswith(WILDCARD)

    def _leaf(self, nodes: _Candidates, leaf: Leaf, node: str, *, certain: bool, depth: int) -> None:
        ledger = self._ledger
        object_ = node.partition("#")[0]
        match leaf:
            case ComputedUserset(name):
                nodes.add(f"{object_}#{name}", certain=certain, depth=depth)
            case TupleToUserset(name, tupleset):
                for row, _, holds in self._rows(f"{object_}#{tupleset}", sets_only=False):
                    if ledger.plan.has(row.subject, name):
                        nodes.add(f"{row.subject}#{name}", certain=certain and holds == YES, depth=depth)
            case This():
                self._this(nodes, node, certain=certain, depth=depth)

    def _this(self, nodes: _Candidates, node: str, *, certain: bool, depth: int) -> None:
        shapes = self._ledger.plan.relations(node)[node.partition("#")[2]].shapes
        listed = {name for name in shapes if name.removesuffix(f":{WILDCARD}") in self._filters and "#" not in name}
        found = self.found
        for row, own, holds in self._rows(node, sets_only=not listed):
            subject = row.subject
            if own in listed:
                found[subject] = (certain and holds == YES) or found.get(subject, False)
                if own[-1] == WILDCARD:
                    self.everybody = True
            elif "#" in own:
                nodes.add(subject, certain=certain and holds == YES, depth=depth)

    def _rows(self, node: str, *, sets_only: bool) -> Iterator[tuple[Relationship, str, Verdict]]:
        """The relationships at a node that count, or may, with the shape of their subjects."""
        ledger = self._ledger
        ledger.read.add(node)
        shapes = ledger.plan.relations(node)[node.partition("#")[2]].shapes
        for row in ledger.reader.sets(node) if sets_only else ledger.reader.all(node):
            own = shape(row.subject)
            if own in shapes and (holds := ledger.holds(row, shapes[own])) != NO:
                yield row, own, holds


def _parts(part: Rewrite, *, with_subtracted: bool, certain: bool = True) -> Iterator[tuple[Leaf, bool]]:
    """The leaves that may name subjects, and whether to be in one is enough to be in the whole."""
    match part:
        case Union(children):
            for child in children:
                yield from _parts(child, with_subtracted=with_subtracted, certain=certain)
        case Difference(base, _) if not with_subtracted:
            yield from _parts(base, with_subtracted=False, certain=False)
        case This() | ComputedUserset() | TupleToUserset():
            yield part, certain
        case _:
            for child in operands(part):
                yield from _parts(child, with_subtracted=with_subtracted, certain=False)
