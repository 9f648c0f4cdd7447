"""Relations that lead back to themselves: those that nobody can ever have, and those that contradict themselves."""

from collections.abc import Iterator

from watchword.server.permissions.model import (
    ComputedUserset,
    Difference,
    Model,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeDefinition,
    Union,
    leaves,
    operands,
)
from watchword.server.permissions.problems import Problem, ProblemKind

_Node = tuple[str, str]
"""A relation of a type."""


# ----- relations that nobody can have ---------------------------------------------------------------------------------


def entry_points(model: Model) -> Iterator[Problem]:
    """Find relations that nobody can have, in a model without undefined names."""
    ways = _Ways(model)
    for definition, relation in model.relations():
        if not ways.lead_to((definition.name, relation.name)):
            message = (
                f"Nobody can ever have the relation '{relation.name}' to a '{definition.name}': all its ways lead back "
                "to itself or to such relations. Let it be granted to a type directly somewhere."
            )
            yield Problem(ProblemKind.NO_ENTRY_POINT, message, relation.name, relation.position)


class _Ways:
    """Which relations somebody can have: the least set that follows from direct grants to types.

    Every set in the model is a step that waits for a number of others: one of them for a union, all for an
    intersection. A step that has been reached counts down those that wait for it, so all takes time in proportion to
    the model, however its relations are entangled.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._waits: list[int] = []
        self._waiting: list[list[int]] = []
        self._steps: dict[_Node | tuple[str, str, str], int] = {}
        for definition, relation in model.relations():
            self._steps[definition.name, relation.name] = self._step(1)
        for definition, relation in model.relations():
            root = self._add(definition, relation, relation.rewrite)
            self._waiting[root].append(self._steps[definition.name, relation.name])
        pending = [step for step, waits in enumerate(self._waits) if waits == 0]
        while pending:
            for step in self._waiting[pending.pop()]:
                self._waits[step] -= 1
                if self._waits[step] == 0:
                    pending.append(step)

    def lead_to(self, node: _Node) -> bool:
        """Whether somebody can have the relation."""
        return self._waits[self._steps[node]] <= 0

    def _step(self, waits: int, *reasons: int) -> int:
        step = len(self._waits)
        self._waits.append(waits)
        self._waiting.append([])
        for reason in reasons:
            self._waiting[reason].append(step)
        return step

    def _add(self, definition: TypeDefinition, relation: Relation, rewrite: Rewrite) -> int:
        match rewrite:
            case This():
                plain = any(item.relation is None for item in relation.restrictions)
                sets = [(item.type, item.relation) for item in relation.restrictions if item.relation is not None]
                return self._step(0) if plain else self._step(1, *(self._steps[node] for node in sets))
            case ComputedUserset(name):
                return self._steps[definition.name, name]
            case TupleToUserset(name, tupleset):
                return self._add_from(definition, name, tupleset)
        parts = [self._add(definition, relation, part) for part in operands(rewrite)]
        # What is taken away counts too: taking away what nobody can have is a mistake in the model.
        return self._step(1 if isinstance(rewrite, Union) else len(parts), *parts)

    def _add_from(self, definition: TypeDefinition, name: str, tupleset: str) -> int:
        key = (definition.name, tupleset, name)
        if key not in self._steps:
            types = dict.fromkeys(item.type for item in definition.relations[tupleset].restrictions)
            targets = [(type_, name) for type_ in types if name in self._model.types[type_].relations]
            self._steps[key] = self._step(1, *(self._steps[node] for node in targets))
        return self._steps[key]


# ----- circles --------------------------------------------------------------------------------------------------------


def circles(model: Model) -> Iterator[Problem]:
    """Find relations that rest on what they take away, in a model without undefined names."""
    for definition in model.types.values():
        circle = _circle_of_each(definition)
        for name, relation in definition.relations.items():
            for other in dict.fromkeys(_taken_away(relation.rewrite)):
                if circle[name] == circle[other]:
                    message = (
                        f"The relation '{name}' takes '{other}' away, which rests on '{name}' itself: "
                        "being in it would be the reason for not being in it. Take something else away."
                    )
                    yield Problem(ProblemKind.CYCLE, message, name, relation.position)


def _taken_away(rewrite: Rewrite) -> Iterator[str]:
    """Relations of the same object that stand behind a `but not`."""
    if isinstance(rewrite, Difference):
        yield from _computed_names(rewrite.subtract)
        yield from _taken_away(rewrite.base)
    else:
        for operand in operands(rewrite):
            yield from _taken_away(operand)


def _computed_names(rewrite: Rewrite) -> Iterator[str]:
    return (leaf.relation for leaf in leaves(rewrite) if isinstance(leaf, ComputedUserset))


def _circle_of_each(definition: TypeDefinition) -> dict[str, str]:
    """Give, for each relation, a name that all relations have in common that rest on each other on the same object.

    These are the strongly connected components, by Kosaraju's algorithm, without recursion for the sake of long chains.
    """
    rests_on = {
        name: list(dict.fromkeys(_computed_names(relation.rewrite))) for name, relation in definition.relations.items()
    }
    carries: dict[str, list[str]] = {name: [] for name in rests_on}
    for name, others in rests_on.items():
        for other in others:
            carries[other].append(name)
    circle: dict[str, str] = {}
    for start in reversed(_finished(rests_on)):
        pending = [start]
        while pending:
            name = pending.pop()
            if name not in circle:
                circle[name] = start
                pending += carries[name]
    return circle


def _finished(rests_on: dict[str, list[str]]) -> list[str]:
    """The names in the order in which a walk in depth is done with them."""
    seen: set[str] = set()
    done: list[str] = []
    for start, first in rests_on.items():
        pending = [(start, iter(first))] if start not in seen else []
        seen.add(start)
        while pending:
            name, others = pending[-1]
            other = next((other for other in others if other not in seen), None)
            if other is None:
                done.append(name)
                pending.pop()
            else:
                seen.add(other)
                pending.append((other, iter(rests_on[other])))
    return done
