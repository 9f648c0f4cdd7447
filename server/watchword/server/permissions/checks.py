"""Whether a model is sound: all that it names is there, and every relation can come about.

The rules are those of OpenFGA's server, with two exceptions. Relations of one object may refer to each other in a
circle, as OpenFGA's language tools allow, as long as somebody can enter the circle from outside; the server refuses
every circle. And a circle through what `but not` takes away is refused whatever leads into it: being in it would be
the reason for not being in it.
"""

from collections.abc import Iterator
from typing import Final

from watchword.server.permissions import expressions, lexer
from watchword.server.permissions.circles import circles, entry_points
from watchword.server.permissions.model import (
    SCHEMA_VERSION,
    ComputedUserset,
    Condition,
    Model,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeDefinition,
    TypeRestriction,
    leaves,
    operands,
)
from watchword.server.permissions.names import MAX_CONDITION_NAME, MAX_RELATION_NAME, MAX_TYPE_NAME
from watchword.server.permissions.parser import MAX_PROBLEMS
from watchword.server.permissions.problems import InvalidModel, Position, Problem, ProblemKind

MAX_RESTRICTIONS: Final = 128
"""Types that one relation can be granted to. Without it, `X from Y` would cost as much as the product of the two."""

_RESERVED: Final = frozenset(("self", "this"))


def require_sound(model: Model) -> tuple[Problem, ...]:
    """Give the warnings about a model.

    Raises:
        InvalidModel: it is not sound, with up to 20 errors.

    """
    problems = check_model(model)
    if errors := [problem for problem in problems if not problem.kind.is_warning]:
        raise InvalidModel(errors[:MAX_PROBLEMS])
    return problems


def check_model(model: Model) -> tuple[Problem, ...]:
    """Give all that is wrong with a model, errors and warnings, in the order of the DSL if it came from there.

    Whether relations can come about is looked at only in a model without other errors, which would have them fail too.
    """
    problems = [*_schema(model), *_names(model), *_definitions(model), *_conditions(model)]
    if not any(not problem.kind.is_warning for problem in problems):
        problems += [*entry_points(model), *circles(model)]
    return tuple(sorted(problems, key=_place))


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.position.line, problem.position.column) if problem.position else (-1, -1)


def _part(position: Position | None, text: str, *, at_end: bool = False) -> Position | None:
    """The place of a word at the start or the end of a stretch."""
    if position is None:
        return None
    column = position.end_column - len(text) if at_end else position.column
    return Position(position.line, column, column + len(text))


# ----- names ----------------------------------------------------------------------------------------------------------


def _schema(model: Model) -> Iterator[Problem]:
    if model.schema_version != SCHEMA_VERSION:
        message = f"The schema version {model.schema_version} is not supported: write 'schema {SCHEMA_VERSION}'."
        yield Problem(ProblemKind.SCHEMA, message, model.schema_version, model.schema_position)


def _names(model: Model) -> Iterator[Problem]:
    for definition in model.types.values():
        name, position = definition.name, definition.position
        if name in _RESERVED:
            yield Problem(ProblemKind.RESERVED_TYPE, f"A type cannot be named '{name}': rename it.", name, position)
        yield from _name("type", name, MAX_TYPE_NAME, position, fits=lexer.is_name(name))
    for _, relation in model.relations():
        name, position = relation.name, relation.position
        if name in _RESERVED:
            message = f"A relation cannot be named '{name}': rename it."
            yield Problem(ProblemKind.RESERVED_RELATION, message, name, position)
        yield from _name("relation", name, MAX_RELATION_NAME, position, fits=lexer.is_name(name))
    for condition in model.conditions.values():
        name, position = condition.name, condition.position
        yield from _name("condition", name, MAX_CONDITION_NAME, position, fits=lexer.is_plain_name(name))
        for parameter in condition.parameters.values():
            name, position = parameter.name, parameter.position
            yield from _name("parameter", name, MAX_CONDITION_NAME, position, fits=expressions.is_name(name))


def _name(what: str, name: str, limit: int, position: Position | None, *, fits: bool) -> Iterator[Problem]:
    if len(name) > limit:
        message = f"The name of a {what} has at most {limit} characters, this one {len(name)}: '{name}'."
        yield Problem(ProblemKind.NAME, message, name, position)
    elif not fits:
        message = (
            f"'{name}' cannot be the name of a {what}: use a letter or '_', then letters, digits and '_', "
            "no word of the language."
        )
        yield Problem(ProblemKind.NAME, message, name, position)


# ----- definitions ----------------------------------------------------------------------------------------------------


def _definitions(model: Model) -> Iterator[Problem]:
    for definition, relation in model.relations():
        yield from _restrictions(model, definition, relation)
        for leaf in leaves(relation.rewrite):
            match leaf:
                case ComputedUserset():
                    yield from _computed(definition, relation, leaf)
                case TupleToUserset():
                    yield from _tuple_to_userset(model, definition, leaf)
        yield from _redundant(relation)


def _computed(definition: TypeDefinition, relation: Relation, leaf: ComputedUserset) -> Iterator[Problem]:
    if leaf.relation not in definition.relations:
        message = f"The type '{definition.name}' has no relation '{leaf.relation}': define it, or name another."
        yield Problem(ProblemKind.RELATION_UNDEFINED, message, leaf.relation, leaf.position)
    elif leaf.relation == relation.name:
        message = f"The relation '{leaf.relation}' is defined by itself: leave that out."
        yield Problem(ProblemKind.CYCLE, message, leaf.relation, leaf.position)


def _tuple_to_userset(model: Model, definition: TypeDefinition, leaf: TupleToUserset) -> Iterator[Problem]:
    symbol = str(leaf)
    tupleset = definition.relations.get(leaf.tupleset)
    if tupleset is None:
        message = f"The type '{definition.name}' has no relation '{leaf.tupleset}': define it, or name another."
        yield Problem(ProblemKind.TYPE_RELATION_UNDEFINED, message, symbol, leaf.position)
        return
    position = _part(leaf.position, leaf.tupleset, at_end=True)
    if tupleset.rewrite != This():
        message = f"'from' needs a relation of direct grants only, which '{leaf.tupleset}' is not: define it as '[…]'."
        yield Problem(ProblemKind.TUPLESET_NOT_DIRECT, message, leaf.tupleset, position)
        return
    for restriction in tupleset.restrictions:
        if restriction.wildcard or restriction.relation is not None:
            message = (
                f"'from' needs a relation to objects only, but '{leaf.tupleset}' can also be granted to "
                f"'{restriction}': allow plain types there, nothing else."
            )
            yield Problem(ProblemKind.TUPLESET_NOT_DIRECT, message, leaf.tupleset, position)
            return
    types = dict.fromkeys(restriction.type for restriction in tupleset.restrictions)
    defined = [model.types[name] for name in types if name in model.types]
    if defined and not any(leaf.relation in other.relations for other in defined):
        names = ", ".join(f"'{name}'" for name in types)
        message = (
            f"'{leaf.tupleset}' leads to {names}, where there is no relation '{leaf.relation}': define it there, "
            "or name another."
        )
        yield Problem(ProblemKind.TUPLESET_RELATION_UNDEFINED, message, symbol, leaf.position)


def _restrictions(model: Model, definition: TypeDefinition, relation: Relation) -> Iterator[Problem]:
    direct = This() in leaves(relation.rewrite)
    if direct and not relation.restrictions:
        message = (
            f"The relation '{relation.name}' of '{definition.name}' can be granted to nobody: name types in '[…]'."
        )
        yield Problem(ProblemKind.RESTRICTIONS_MISSING, message, relation.name, relation.position)
    if relation.restrictions and not direct:
        message = (
            f"The relation '{relation.name}' of '{definition.name}' names types that it can be granted to, "
            "but has no direct grants: leave them out."
        )
        yield Problem(ProblemKind.RESTRICTIONS_IDLE, message, relation.name, relation.position)
    if len(relation.restrictions) > MAX_RESTRICTIONS:
        message = f"The relation '{relation.name}' names too many types: {MAX_RESTRICTIONS} are the most."
        yield Problem(ProblemKind.LIMIT, message, relation.name, relation.position)
        return
    seen: set[TypeRestriction] = set()
    for restriction in relation.restrictions:
        yield from _restriction(model, restriction)
        if restriction in seen:
            message = f"'{restriction}' stands twice in the relation '{relation.name}': once is enough."
            yield Problem(ProblemKind.REDUNDANT, message, str(restriction), restriction.position)
        seen.add(restriction)


def _restriction(model: Model, restriction: TypeRestriction) -> Iterator[Problem]:
    type_, relation, condition = restriction.type, restriction.relation, restriction.condition
    if type_ not in model.types:
        message = f"There is no type '{type_}': define it, or name another."
        yield Problem(ProblemKind.TYPE_UNDEFINED, message, type_, _part(restriction.position, type_))
    elif relation is not None and relation not in model.types[type_].relations:
        symbol = f"{type_}#{relation}"
        message = f"The type '{type_}' has no relation '{relation}': define it, or name another."
        yield Problem(ProblemKind.TYPE_RELATION_UNDEFINED, message, symbol, _part(restriction.position, symbol))
    if relation is not None and restriction.wildcard:
        message = f"'{restriction}' is everybody and a set at once: keep one of the two."
        yield Problem(ProblemKind.WILDCARD_AND_RELATION, message, str(restriction), restriction.position)
    if condition is not None and condition not in model.conditions:
        message = f"There is no condition '{condition}': define it, or name another."
        position = _part(restriction.position, condition, at_end=True)
        yield Problem(ProblemKind.CONDITION_UNDEFINED, message, condition, position)


def _redundant(relation: Relation) -> Iterator[Problem]:
    """Find operands that stand twice under one operator."""
    pending = [relation.rewrite]
    while pending:
        children = operands(pending.pop())
        pending += children
        seen: set[Rewrite] = set()
        for child in children:
            if child in seen and isinstance(child, ComputedUserset | TupleToUserset):
                name = (
                    child.relation if isinstance(child, ComputedUserset) else f"{child.relation} from {child.tupleset}"
                )
                message = f"'{name}' stands twice in the relation '{relation.name}': once is enough."
                yield Problem(ProblemKind.REDUNDANT, message, name, child.position)
            seen.add(child)


# ----- conditions -----------------------------------------------------------------------------------------------------


def _conditions(model: Model) -> Iterator[Problem]:
    used = {restriction.condition for _, relation in model.relations() for restriction in relation.restrictions}
    for condition in model.conditions.values():
        if condition.name not in used:
            message = f"No relation uses the condition '{condition.name}'."
            yield Problem(ProblemKind.CONDITION_UNUSED, message, condition.name, condition.position)
        yield from _parameters(condition)


def _parameters(condition: Condition) -> Iterator[Problem]:
    asked = expressions.free_names(condition.expression)
    for name in asked:
        if name not in condition.parameters:
            message = f"The condition '{condition.name}' asks for '{name}', which is none of its parameters: add it."
            yield Problem(ProblemKind.PARAMETER_UNDEFINED, message, name, condition.position)
    for parameter in condition.parameters.values():
        if parameter.name not in asked:
            message = f"The condition '{condition.name}' makes no use of its parameter '{parameter.name}'."
            yield Problem(ProblemKind.PARAMETER_UNUSED, message, parameter.name, parameter.position)
