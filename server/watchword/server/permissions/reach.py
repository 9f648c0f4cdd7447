"""What a question may have to read: a model as steps that a store can follow without knowing the language.

A store that gathers all of a question's relationships in one statement needs to know, for each node it comes to, which
stored relations matter there and where their relationships lead. That is this. It follows every branch of every
definition, what is taken away included, so that the engine never asks for what was not gathered: what it would not
have looked at costs a look-up, what it misses would cost the answer.

Nodes are *entered* by the relation that led to them. What follows by computed usersets is folded into the entry, so
that the store takes fewer and larger steps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watchword.server.permissions.model import ComputedUserset, This, TupleToUserset, leaves
from watchword.server.permissions.names import WILDCARD

if TYPE_CHECKING:
    from watchword.server.permissions.plan import Plan
    from watchword.server.permissions.routes import TypeRelation


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored relations that are read of an object: their sets, all there is, or the subject itself.

    public: those of `probed` that everybody of a type can have, and where everybody is looked for too.
    """

    sets: tuple[str, ...]
    followed: tuple[str, ...]
    probed: tuple[str, ...]
    public: frozenset[str]


@dataclass(frozen=True, slots=True)
class Forward:
    """Steps from an object to subjects.

    sets: (type, entry, stored): relationships with sets, each of which is entered by its own relation.
    followed: (type, entry, stored, next): relationships with objects, each of which is entered by `next`.
    probed: (type, entry, stored, public): relationships that may name the subject itself; `public` is "t" if they may
        name everybody of a type, else "f".
    """

    sets: list[tuple[str, str, str]] = field(default_factory=list)
    followed: list[tuple[str, str, str, str]] = field(default_factory=list)
    probed: list[tuple[str, str, str, str]] = field(default_factory=list)

    def at(self, type_: str, entry: str) -> "Stored":
        """What is read of an object of a type that was entered by a relation."""
        return Stored(
            tuple(dict.fromkeys(stored for *key, stored in self.sets if key == [type_, entry])),
            tuple(dict.fromkeys(stored for *key, stored, _ in self.followed if key == [type_, entry])),
            tuple(dict.fromkeys(stored for *key, stored, _ in self.probed if key == [type_, entry])),
            frozenset(stored for *key, stored, public in self.probed if key == [type_, entry] and public == "t"),
        )

    @classmethod
    def of(cls, plan: "Plan", targets: Iterable["TypeRelation"]) -> "Forward":
        """Find the steps of questions about some relations."""
        steps = cls()
        pending = list(dict.fromkeys(targets))
        seen = set(pending)
        while pending:
            target = pending.pop()
            for other in steps._add(plan, target):
                if other not in seen:
                    seen.add(other)
                    pending.append(other)
        return steps

    def _add(self, plan: "Plan", target: "TypeRelation") -> Iterator["TypeRelation"]:
        type_, entry = target
        relations = plan.types[type_]
        ways = _ways(plan, target)
        for stored in _closure(plan, target):
            for leaf in leaves(relations[stored].rewrite):
                match leaf:
                    case This():
                        sets = [name.partition("#") for name in relations[stored].shapes if "#" in name]
                        if sets:
                            self.sets.append((type_, entry, stored))
                        if len(sets) < len(relations[stored].shapes):
                            public = any(name.endswith(f":{WILDCARD}") for name in relations[stored].shapes)
                            self.probed.append((type_, entry, stored, "t" if public else "f"))
                        yield from ((other, relation) for other, _, relation in sets)
                    case TupleToUserset(relation, tupleset):
                        step = (type_, entry, tupleset, relation)
                        if (tupleset, relation) in ways and step not in self.followed:
                            self.followed.append(step)
                            yield from ((other, relation) for other in _led_to(plan, type_, tupleset, relation))
                    case ComputedUserset():
                        pass  # in the closure


def _closure(plan: "Plan", target: "TypeRelation") -> list[str]:
    """A relation and those of the same object that its definition is computed from."""
    type_, relation = target
    found = [relation]
    for name in found:  # which grows meanwhile
        for leaf in leaves(plan.types[type_][name].rewrite):
            if isinstance(leaf, ComputedUserset) and leaf.relation not in found:
                found.append(leaf.relation)
    return found


def _ways(plan: "Plan", target: "TypeRelation") -> list[tuple[str, str]]:
    """All `relation from tupleset` that a definition is computed from, but those that another one is computed from.

    Who is an editor of the folder is found on the way to who is a viewer of it, if every editor is a viewer.
    """
    type_, _ = target
    found = [
        (leaf.tupleset, leaf.relation)
        for stored in _closure(plan, target)
        for leaf in leaves(plan.types[type_][stored].rewrite)
        if isinstance(leaf, TupleToUserset)
    ]
    found = list(dict.fromkeys(found))
    for way in list(found):
        tupleset, relation = way
        wider = (other for via, other in found if via == tupleset and other != relation)
        if any(_includes(plan, _led_to(plan, type_, tupleset, relation), other, relation) for other in wider):
            found.remove(way)
    return found


def _led_to(plan: "Plan", type_: str, tupleset: str, relation: str) -> list[str]:
    """The types with a relation that a tupleset leads to."""
    return [other for other in plan.types[type_][tupleset].shapes if plan.has(other, relation)]


def _includes(plan: "Plan", types: Iterable[str], wide: str, narrow: str) -> bool:
    """Whether one relation is computed from another one on all of these types."""
    return all(plan.has(type_, wide) and narrow in _closure(plan, (type_, wide)) for type_ in types)


@dataclass(frozen=True, slots=True)
class Backward:
    """Steps from a subject to objects of one relation. A plain subject is entered by no relation, "".

    granted: (type, entry, stored, object_type): relationships that name the subject, or the set, itself. The object is
        entered by `stored`.
    computed: (type, entry, next): the same object, entered by `next`.
    followed: (type, entry, stored, object_type, next): relationships that name the object as a subject. Their objects
        are entered by `next`.
    """

    granted: list[tuple[str, str, str, str]] = field(default_factory=list)
    computed: list[tuple[str, str, str]] = field(default_factory=list)
    followed: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    @classmethod
    def to(cls, plan: "Plan", target: "TypeRelation") -> "Backward":
        """Find the steps of lists of objects that have a relation."""
        steps, routes = cls(), plan.routes(*target)
        for shape, relations in routes.direct.items():
            type_, _, entry = shape.removesuffix(":*").partition("#")
            for object_type, stored in relations:
                step = (type_, entry, stored, object_type)
                if step not in steps.granted:
                    steps.granted.append(step)
        for (type_, entry), others in routes.computed.items():
            steps.computed.extend((type_, entry, other) for other in others)
        for (type_, entry), found in routes.objects.items():
            steps.followed.extend((type_, entry, tupleset, other, next_) for (other, tupleset), next_ in found)
        return steps

    def leading(self) -> set["TypeRelation"]:
        """The types and entries from which there is something to read: what is entered otherwise leads nowhere."""
        leading = {(type_, entry) for type_, entry, *_ in (*self.granted, *self.followed)}
        before = 0
        while len(leading) > before:
            before = len(leading)
            leading |= {(type_, entry) for type_, entry, next_ in self.computed if (type_, next_) in leading}
        return leading
