"""Definitions of relations as functions that decide them, in three-valued logic.

A set is YES or NO for a subject, or OPEN: not known, because a condition lacks context, because the way there is too
long, or because it leads back to where it came from. OPEN goes through the operators as an unknown does in Kleene's
logic: another path may decide, and what is taken away must be known not to hold. That is what OpenFGA does with errors
and with cycles in data: a cycle grants nothing, and under `but not` it does not let anybody pass either.

A model is compiled once; a check then calls one function for each operator and leaf it meets.
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
from watchword.server.permissions.relationships import shape

if TYPE_CHECKING:
    from watchword.server.permissions.walk import Walk

NO: Final = 0
YES: Final = 1
OPEN: Final = 2

Verdict = int
"""NO, YES or OPEN."""

Shapes = Mapping[str, frozenset[str | None]]
"""What a relation can be granted to: the shape of a subject, and the conditions it may have; None for none at all."""

Decide = Callable[["Walk", str, str, int], Verdict]
"""Decides a set for a walk's subject: (walk, object, node, depth), where depth is that of what the set leads to."""


def compile_rewrite(rewrite: Rewrite, shapes: Shapes, tuplesets: Mapping[str, Shapes]) -> Decide:
    """Make the function that decides a definition, given its relation's shapes and those of its type's relations."""
    match rewrite:
        case This():
            return _this(shapes)
        case ComputedUserset(relation):
            return _computed(relation)
        case TupleToUserset(relation, tupleset):
            return _tuple_to_userset(relation, tupleset, tuplesets[tupleset])
        case Union(children):
            return _union([compile_rewrite(child, shapes, tuplesets) for child in children])
        case Intersection(children):
            return _intersection([compile_rewrite(child, shapes, tuplesets) for child in children])
        case Difference(base, subtract):
            parts = compile_rewrite(base, shapes, tuplesets), compile_rewrite(subtract, shapes, tuplesets)
            return _difference(*parts)


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


def _this(shapes: Shapes) -> Decide:
    has_sets = any("#" in name for name in shapes)

    def decide(walk: "Walk", _object: str, node: str, depth: int) -> Verdict:
        verdict = NO
        for subject, subject_shape in walk.names:
            if (allowed := shapes.get(subject_shape)) and (row := walk.reader.direct(node, subject)):
                holds = walk.holds(row, allowed)
                if holds == YES:
                    return YES
                verdict = verdict or holds
        if has_sets:
            for row in walk.reader.sets(node):
                if allowed := shapes.get(shape(row.subject)):
                    holds = walk.holds(row, allowed)
                    if holds != NO:
                        holds = both(holds, walk.node(row.subject, depth))
                        if holds == YES:
                            return YES
                        verdict = verdict or holds
        return verdict

    return decide


def _computed(relation: str) -> Decide:
    suffix = f"#{relation}"

    def decide(walk: "Walk", object_: str, _node: str, depth: int) -> Verdict:
        return walk.node(object_ + suffix, depth)

    return decide


def _tuple_to_userset(relation: str, tupleset: str, shapes: Shapes) -> Decide:
    tupleset_suffix, suffix = f"#{tupleset}", f"#{relation}"

    def decide(walk: "Walk", object_: str, _node: str, depth: int) -> Verdict:
        node = object_ + tupleset_suffix
        walk.read.add(node)
        verdict = NO
        for row in walk.reader.all(node):
            allowed = shapes.get(shape(row.subject))
            if allowed and walk.plan.has(row.subject, relation):
                holds = walk.holds(row, allowed)
                if holds != NO:
                    holds = both(holds, walk.node(row.subject + suffix, depth))
                    if holds == YES:
                        return YES
                    verdict = verdict or holds
        return verdict

    return decide


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
