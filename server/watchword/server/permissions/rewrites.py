"""Definitions of relations as functions that decide them, in three-valued logic.

A set is YES or NO for a subject, or OPEN: not known, because a condition lacks context, because the way there is too
long, or because it leads back to where it came from. OPEN goes through the operators as an unknown does in Kleene's
logic: another path may decide, and what is taken away must be known not to hold. That is what OpenFGA does with errors
and with cycles in data: a cycle grants nothing, and under `but not` it does not let anybody pass either.

A model is compiled once; a check then calls one function for each operator and leaf it meets. These functions are
where checks spend their time. So what the model tells is worked out when they are made, and they take objects and
relations along, for names not to be taken apart at every step.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from watchword.server.permissions.model import (
    ComputedUserset,
    Difference,
    Intersection,
    Rewrite,
    This,
    TupleToUserset,
    Union,
)
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.relationships import shape

if TYPE_CHECKING:
    from watchword.server.permissions.plan import RelationPlan
    from watchword.server.permissions.walk import Walk

NO: Final = 0
YES: Final = 1
OPEN: Final = 2

Verdict = int
"""NO, YES or OPEN."""

Shapes = Mapping[str, frozenset[str | None]]
"""What a relation can be granted to: the shape of a subject, and the conditions it may have; None for none at all."""

Relations = Mapping[str, Mapping[str, "RelationPlan"]]
"""All relations of all types, by type and name."""

Decide = Callable[["Walk", str, str, int], Verdict]
"""Decides a set for a walk's subject: (walk, object, node, depth), where depth is that of what the set leads to."""


def compile_rewrite(rewrite: Rewrite, own: "RelationPlan", types: Relations) -> Decide:
    """Make the function that decides a definition of a relation of one's own, given all relations of all types.

    What a definition leads to is looked up here and not when it is decided.
    """
    match rewrite:
        case This():
            return _this(own.shapes, types)
        case ComputedUserset(relation):
            return _computed(types[own.type][relation])
        case TupleToUserset(relation, tupleset):
            return _tuple_to_userset(relation, types[own.type][tupleset], types)
        case Union(children):
            return _union([compile_rewrite(child, own, types) for child in children])
        case Intersection(children):
            return _intersection([compile_rewrite(child, own, types) for child in children])
        case Difference(base, subtract):
            return _difference(compile_rewrite(base, own, types), compile_rewrite(subtract, own, types))


def both(one: Verdict, other: Verdict) -> Verdict:
    """And, in three-valued logic."""
    if NO in {one, other}:
        return NO
    return YES if one == other == YES else OPEN


def either(one: Verdict, other: Verdict) -> Verdict:
    """Or, in three-valued logic."""
    if YES in {one, other}:
        return YES
    return NO if one == other == NO else OPEN


def opposite(verdict: Verdict) -> Verdict:
    """Not, in three-valued logic."""
    return _OPPOSITE[verdict]


_OPPOSITE: Final = {YES: NO, NO: YES, OPEN: OPEN}


_Target = tuple[frozenset[str | None], "RelationPlan"]
"""Where a relationship leads, and the conditions it may have."""


def _this(shapes: Shapes, types: Relations) -> Decide:
    sets = _targets(shapes, {name: name.partition("#")[2] for name in shapes if "#" in name}, types)
    to_everybody = any(name.endswith(WILDCARD) for name in shapes)

    def decide(walk: "Walk", _object: str, node: str, depth: int) -> Verdict:
        verdict = NO
        reader = walk.reader
        if walk.shape in shapes and (row := reader.direct(node, walk.subject)):
            verdict = walk.ledger.holds(row, shapes[walk.shape])
            if verdict == YES:
                return YES
        if to_everybody and walk.everybody in shapes and (row := reader.direct(node, walk.everybody)):
            verdict = either(verdict, walk.ledger.holds(row, shapes[walk.everybody]))
            if verdict == YES:
                return YES
        for row in reader.sets(node) if sets else ():
            name = row.subject
            object_, _, relation = name.partition("#")
            kind = f"{object_.partition(':')[0]}#{relation}"
            if kind in sets:
                allowed, plan = sets[kind]
                if (holds := walk.ledger.holds(row, allowed)) != NO:
                    inside = walk.node(name, object_, plan, depth)
                    holds = inside if holds == YES else both(holds, inside)
                    if holds == YES:
                        return YES
                    verdict = verdict or holds
        return verdict

    return decide


def _computed(plan: "RelationPlan") -> Decide:
    suffix = plan.suffix

    def decide(walk: "Walk", object_: str, _node: str, depth: int) -> Verdict:
        return walk.node(object_ + suffix, object_, plan, depth)

    return decide


def _tuple_to_userset(relation: str, tupleset: "RelationPlan", types: Relations) -> Decide:
    tupleset_suffix, suffix = tupleset.suffix, f"#{relation}"
    targets = _targets(tupleset.shapes, dict.fromkeys(tupleset.shapes, relation), types)

    def decide(walk: "Walk", object_: str, _node: str, depth: int) -> Verdict:
        node = object_ + tupleset_suffix
        walk.read.add(node)
        verdict = NO
        for row in walk.reader.all(node):
            parent = row.subject
            kind = shape(parent)
            if kind in targets:
                allowed, plan = targets[kind]
                if (holds := walk.ledger.holds(row, allowed)) != NO:
                    inside = walk.node(parent + suffix, parent, plan, depth)
                    holds = inside if holds == YES else both(holds, inside)
                    if holds == YES:
                        return YES
                    verdict = verdict or holds
        return verdict

    return decide


def _targets(shapes: Shapes, relations: Mapping[str, str], types: Relations) -> Mapping[str, _Target]:
    """Where relationships lead by the shape of their subjects, given the relation of those subjects to go on with."""
    found = {}
    for name, relation in relations.items():
        type_ = name.partition("#")[0].partition(":")[0]
        if plan := types.get(type_, {}).get(relation):
            found[name] = shapes[name], plan
    return found


def _union(parts: list[Decide]) -> Decide:
    def decide(walk: "Walk", object_: str, node: str, depth: int) -> Verdict:
        verdict = NO
        for part in parts:
            holds = part(walk, object_, node, depth)
            if holds == YES:
                return YES
            verdict = verdict or holds
        return verdict

    return decide


def _intersection(parts: list[Decide]) -> Decide:
    def decide(walk: "Walk", object_: str, node: str, depth: int) -> Verdict:
        verdict = YES
        for part in parts:
            holds = part(walk, object_, node, depth)
            if holds == NO:
                return NO
            if holds == OPEN:
                verdict = OPEN
        return verdict

    return decide


def _difference(base: Decide, subtract: Decide) -> Decide:
    def decide(walk: "Walk", object_: str, node: str, depth: int) -> Verdict:
        holds = base(walk, object_, node, depth)
        if holds == NO:
            return NO
        taken = subtract(walk, object_, node, depth)
        if taken == YES:
            return NO
        return holds if taken == NO else OPEN

    return decide
