"""Writes a model as DSL, in OpenFGA's own layout: conditions and parameters by name, all else as in the model.

Comments are not part of a model and so are not there.
"""

from watchword.server.permissions.model import (
    ComputedUserset,
    Condition,
    Difference,
    Intersection,
    Model,
    Parameter,
    ParameterType,
    Relation,
    Rewrite,
    This,
    TupleToUserset,
    TypeDefinition,
    Union,
    leaves,
    operands,
)


class NotExpressible(Exception):
    """JSON can say it and DSL cannot: direct grants behind `but not`, or twice in one relation; values of any type."""


def to_dsl(model: Model) -> str:
    """Write a model that `parse_dsl` reads back as an equal one; operands may change places, direct grants going first.

    Raises:
        NotExpressible: DSL cannot say it.

    """
    parts = [f"model\n  schema {model.schema_version}\n"]
    parts += [_type(definition) for definition in model.types.values()]
    parts += [_condition(condition) for condition in sorted(model.conditions.values(), key=_by_name)]
    return "\n".join(parts)


def _type(definition: TypeDefinition) -> str:
    lines = [f"type {definition.name}"]
    if definition.relations:
        lines.append("  relations")
    lines += [
        f"    define {relation.name}: {_definition(definition.name, relation)}"
        for relation in definition.relations.values()
    ]
    return "\n".join(lines) + "\n"


def _definition(type_name: str, relation: Relation) -> str:
    rewrite = _direct_first(relation.rewrite)
    found = list(leaves(rewrite))
    direct = found.count(This())
    if direct > 1 or (direct and found[0] != This()):
        raise NotExpressible(
            f"DSL cannot say what the relation '{relation.name}' of '{type_name}' is: direct grants can stand in it "
            "once, and not behind 'but not'. Make a relation of its own of them."
        )
    restrictions = f"[{', '.join(map(str, relation.restrictions))}]"
    return _expression(rewrite, restrictions)


def _direct_first(rewrite: Rewrite) -> Rewrite:
    """Bring direct grants to the front, where the order means nothing."""
    match rewrite:
        case Union(children):
            return Union(_sorted(children))
        case Intersection(children):
            return Intersection(_sorted(children))
        case Difference(base, subtract):
            return Difference(_direct_first(base), subtract)
    return rewrite


def _sorted(children: tuple[Rewrite, ...]) -> tuple[Rewrite, ...]:
    return tuple(sorted(map(_direct_first, children), key=lambda child: This() not in leaves(child)))


def _expression(rewrite: Rewrite, restrictions: str) -> str:
    match rewrite:
        case This():
            return restrictions
        case ComputedUserset() | TupleToUserset():
            return str(rewrite)
        case Union():
            operator = " or "
        case Intersection():
            operator = " and "
        case Difference():
            operator = " but not "
    return operator.join(_operand(operand, restrictions) for operand in operands(rewrite))


def _operand(rewrite: Rewrite, restrictions: str) -> str:
    text = _expression(rewrite, restrictions)
    return f"({text})" if operands(rewrite) else text


def _condition(condition: Condition) -> str:
    parameters = ", ".join(
        _parameter(condition.name, parameter) for parameter in sorted(condition.parameters.values(), key=_by_name)
    )
    return f"condition {condition.name}({parameters}) {{\n  {condition.expression}\n}}\n"


def _parameter(condition: str, parameter: Parameter) -> str:
    if parameter.type is ParameterType.ANY:
        raise NotExpressible(
            f"DSL has no word for values of any type, which the parameter '{parameter.name}' of the condition "
            f"'{condition}' takes. Name a type."
        )
    type_ = f"{parameter.container}<{parameter.type}>" if parameter.container else parameter.type
    return f"{parameter.name}: {type_}"


def _by_name(named: Condition | Parameter) -> str:
    return named.name
