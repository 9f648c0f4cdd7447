"""How to find candidates for a list of objects: a model read backwards, from a subject to the relation asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from watchword.server.permissions.model import (
    ComputedUserset,
    Difference,
    Intersection,
    Rewrite,
    This,
    TupleToUserset,
    Union,
    leaves,
)

if TYPE_CHECKING:
    from watchword.server.permissions.plan import Plan

Leaf = This | ComputedUserset | TupleToUserset
TypeRelation = tuple[str, str]
"""A type and one of its relations."""
_Key = TypeVar("_Key")


def _positive(part: Rewrite, *, certain: bool = True) -> Iterator[tuple[Leaf, bool]]:
    """Leaves of which at least one must hold for the whole to hold, and whether it does for certain if one does."""
    match part:
        case Union(children):
            for child in children:
                yield from _positive(child, certain=certain)
        case Intersection(children):
            # All must hold, so to look at one of them finds every candidate.
            yield from _positive(children[0], certain=False)
        case Difference(base, _):
            yield from _positive(base, certain=False)
        case This() | ComputedUserset() | TupleToUserset():
            yield part, certain


@dataclass(frozen=True, slots=True)
class Routes:
    """How to get to a relation of a type, backwards: what to look for when a node, or a subject, has been reached.

    direct: shape of a subject to the relations that it can be granted.
    computed: a relation to those of the same object that follow from it.
    objects: a relation to (tupleset, relation) of types whose objects have it from the other object.
    read: every relation on which an answer can depend, as `type#relation`.

    The relations with each are those whose definition has it, and whether to be in it is enough there.
    """

    direct: dict[str, dict[TypeRelation, bool]] = field(default_factory=dict)
    computed: dict[TypeRelation, dict[str, bool]] = field(default_factory=dict)
    objects: dict[TypeRelation, dict[tuple[TypeRelation, str], bool]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    @classmethod
    def to(cls, plan: "Plan", target: TypeRelation) -> "Routes":
        """Find all routes to a relation."""
        routes = cls()
        pending, seen = [target], {target}
        while pending:
            relation = pending.pop()
            for leaf, certain in _positive(plan.types[relation[0]][relation[1]].rewrite):
                for other in routes._add(plan, relation, leaf, certain=certain):
                    if other not in seen:
                        seen.add(other)
                        pending.append(other)
        routes.read.update(_reach(plan, target))
        return routes

    def leads_on(self, type_: str, relation: str) -> bool:
        """Whether anything follows from a relation."""
        key = type_, relation
        return key in self.computed or key in self.objects or f"{type_}#{relation}" in self.direct

    def _add(self, plan: "Plan", relation: TypeRelation, leaf: Leaf, *, certain: bool) -> Iterator[TypeRelation]:
        """Note a leaf of a relation's definition, and give the relations that lead there."""
        relations = plan.types[relation[0]]
        match leaf:
            case This():
                for name in relations[relation[1]].shapes:
                    _note(self.direct.setdefault(name, {}), relation, certain=certain)
                    if "#" in name:
                        type_, _, set_ = name.partition("#")
                        yield type_, set_
            case ComputedUserset(name):
                _note(self.computed.setdefault((relation[0], name), {}), relation[1], certain=certain)
                yield relation[0], name
            case TupleToUserset(name, tupleset):
                for type_ in relations[tupleset].shapes:
                    if name in plan.types.get(type_, ()):
                        found = self.objects.setdefault((type_, name), {})
                        _note(found, ((relation[0], tupleset), relation[1]), certain=certain)
                        yield type_, name


def _note(found: dict[_Key, bool], key: _Key, *, certain: bool) -> None:
    found[key] = found.get(key, False) or certain


def _reach(plan: "Plan", target: TypeRelation) -> set[str]:
    """All relations whose relationships can bear on a relation, whichever way, as `type#relation`."""
    pending, seen = [target], {target}
    while pending:
        type_, relation = pending.pop()
        relations = plan.types[type_]
        found: list[TypeRelation] = []
        for leaf in leaves(relations[relation].rewrite):
            match leaf:
                case This():
                    sets = [name.partition("#") for name in relations[relation].shapes if "#" in name]
                    found += [(other, name) for other, _, name in sets]
                case ComputedUserset(name):
                    found.append((type_, name))
                case TupleToUserset(name, tupleset):
                    found.append((type_, tupleset))
                    found += [(other, name) for other in relations[tupleset].shapes if plan.has(other, name)]
        pending += [item for item in dict.fromkeys(found) if item not in seen]
        seen.update(found)
    return {f"{type_}#{relation}" for type_, relation in seen}
