"""A model in OpenFGA's JSON form, in and out: what OpenFGA's API and CLI exchange.

What comes in is foreign and may be anything. It is read by its shape, with the path of what does not fit; what it
means is for `checks.check_model`. What is not part of schema 1.1 (ids, sources of modules) is ignored.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchword.server.permissions.model import (
    MAX_NESTING,
    SCHEMA_VERSION,
    ComputedUserset,
    Condition,
    Container,
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
    TypeRestriction,
    Union,
)
from watchword.server.permissions.problems import InvalidModel, Problem, ProblemKind

_TYPE_PREFIX: Final = "TYPE_NAME_"
_MIN_CHILDREN: Final = 2


# ----- out ------------------------------------------------------------------------------------------------------------


def to_json(model: Model) -> dict[str, Any]:
    """Give a model as the value that `json.dumps` takes."""
    document: dict[str, Any] = {"schema_version": model.schema_version}
    if model.types:
        document["type_definitions"] = [_type_json(definition) for definition in model.types.values()]
    if model.conditions:
        document["conditions"] = {name: _condition_json(condition) for name, condition in model.conditions.items()}
    return document


def _type_json(definition: TypeDefinition) -> dict[str, Any]:
    relations = {name: _rewrite_json(relation.rewrite) for name, relation in definition.relations.items()}
    metadata = {
        name: {"directly_related_user_types": [_restriction_json(item) for item in relation.restrictions]}
        for name, relation in definition.relations.items()
    }
    return {
        "type": definition.name,
        "relations": relations,
        "metadata": {"relations": metadata} if metadata else None,
    }


def _rewrite_json(rewrite: Rewrite) -> dict[str, Any]:
    match rewrite:
        case This():
            return {"this": {}}
        case ComputedUserset(relation):
            return {"computedUserset": {"relation": relation}}
        case TupleToUserset(relation, tupleset):
            return {"tupleToUserset": {"computedUserset": {"relation": relation}, "tupleset": {"relation": tupleset}}}
        case Union(children):
            return {"union": {"child": [_rewrite_json(child) for child in children]}}
        case Intersection(children):
            return {"intersection": {"child": [_rewrite_json(child) for child in children]}}
        case Difference(base, subtract):
            return {"difference": {"base": _rewrite_json(base), "subtract": _rewrite_json(subtract)}}


def _restriction_json(restriction: TypeRestriction) -> dict[str, Any]:
    document: dict[str, Any] = {"type": restriction.type}
    if restriction.wildcard:
        document["wildcard"] = {}
    if restriction.relation is not None:
        document["relation"] = restriction.relation
    if restriction.condition is not None:
        document["condition"] = restriction.condition
    return document


def _condition_json(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "expression": condition.expression,
        "parameters": {name: _parameter_json(parameter) for name, parameter in condition.parameters.items()},
    }


def _parameter_json(parameter: Parameter) -> dict[str, Any]:
    type_ = f"{_TYPE_PREFIX}{parameter.type.upper()}"
    if parameter.container is None:
        return {"type_name": type_}
    return {"type_name": f"{_TYPE_PREFIX}{parameter.container.upper()}", "generic_types": [{"type_name": type_}]}


# ----- in -------------------------------------------------------------------------------------------------------------


def from_json(document: Any) -> Model:
    """Read what `json.loads` gave.

    Raises:
        InvalidModel: it has not the shape of a model, with the path of the first misfit; or is nested too deep.

    """
    top = _object(document, "")
    version = _text(top.get("schema_version", SCHEMA_VERSION), "schema_version")
    types: dict[str, TypeDefinition] = {}
    for index, item in enumerate(_list(top.get("type_definitions"), "type_definitions")):
        path = f"type_definitions[{index}]"
        definition = _read_type(_object(item, path), path)
        if definition.name in types:
            message = f"{path}: the type '{definition.name}' is already defined: join the two."
            raise InvalidModel([Problem(ProblemKind.DUPLICATE, message, definition.name)])
        types[definition.name] = definition
    conditions = {
        name: _read_condition(name, _object(item, f"conditions.{name}"), f"conditions.{name}")
        for name, item in _optional_object(top.get("conditions"), "conditions").items()
    }
    return Model(types, conditions, version)


def _read_type(item: Mapping[str, Any], path: str) -> TypeDefinition:
    name = _text(item.get("type"), f"{path}.type")
    metadata = _optional_object(item.get("metadata"), f"{path}.metadata")
    restricted = _optional_object(metadata.get("relations"), f"{path}.metadata.relations")
    relations = {
        relation: Relation(
            relation,
            _read_rewrite(rewrite, f"{path}.relations.{relation}", 0),
            _read_restrictions(restricted.get(relation), f"{path}.metadata.relations.{relation}"),
        )
        for relation, rewrite in _optional_object(item.get("relations"), f"{path}.relations").items()
    }
    return TypeDefinition(name, relations)


def _read_restrictions(item: Any, path: str) -> tuple[TypeRestriction, ...]:
    related = _list(
        _optional_object(item, path).get("directly_related_user_types"), f"{path}.directly_related_user_types"
    )
    return tuple(
        _read_restriction(_object(restriction, at), at)
        for index, restriction in enumerate(related)
        for at in [f"{path}.directly_related_user_types[{index}]"]
    )


def _read_restriction(item: Mapping[str, Any], path: str) -> TypeRestriction:
    return TypeRestriction(
        _text(item.get("type"), f"{path}.type"),
        _text(item.get("relation") or "", f"{path}.relation") or None,
        item.get("wildcard") is not None,
        _text(item.get("condition") or "", f"{path}.condition") or None,
    )


def _read_rewrite(item: Any, path: str, depth: int) -> Rewrite:
    # Every level costs stack: a limit here keeps a hostile document from exhausting it.
    if depth > MAX_NESTING:
        message = f"The definition is nested too deep: {MAX_NESTING} levels are the most."
        raise InvalidModel([Problem(ProblemKind.LIMIT, message)])
    rewrite = {key: value for key, value in _object(item, path).items() if value is not None}
    match rewrite:
        case {"this": _, **rest} if not rest:
            return This()
        case {"computedUserset": computed, **rest} if not rest:
            return ComputedUserset(_relation_in(computed, f"{path}.computedUserset"))
        case {"tupleToUserset": {"computedUserset": computed, "tupleset": tupleset}, **rest} if not rest:
            return TupleToUserset(
                _relation_in(computed, f"{path}.tupleToUserset.computedUserset"),
                _relation_in(tupleset, f"{path}.tupleToUserset.tupleset"),
            )
        case {"union": {"child": children}, **rest} if not rest:
            return Union(_read_children(children, f"{path}.union.child", depth))
        case {"intersection": {"child": children}, **rest} if not rest:
            return Intersection(_read_children(children, f"{path}.intersection.child", depth))
        case {"difference": {"base": base, "subtract": subtract}, **rest} if not rest:
            return Difference(
                _read_rewrite(base, f"{path}.difference.base", depth + 1),
                _read_rewrite(subtract, f"{path}.difference.subtract", depth + 1),
            )
    raise _misfit(path, "must be one of this, computedUserset, tupleToUserset, union, intersection and difference")


def _read_children(items: Any, path: str, depth: int) -> tuple[Rewrite, ...]:
    children = _list(items, path)
    if len(children) < _MIN_CHILDREN:
        raise _misfit(path, "must have at least two items")
    return tuple(_read_rewrite(child, f"{path}[{index}]", depth + 1) for index, child in enumerate(children))


def _relation_in(item: Any, path: str) -> str:
    return _text(_object(item, path).get("relation"), f"{path}.relation")


def _read_condition(key: str, item: Mapping[str, Any], path: str) -> Condition:
    name = _text(item.get("name"), f"{path}.name")
    if name != key:
        message = f"{path}.name: the condition is named '{name}' inside and '{key}' outside: make them one."
        raise InvalidModel([Problem(ProblemKind.CONDITION_NAME, message, name)])
    parameters = {
        parameter: _read_parameter(parameter, _object(value, at), at)
        for parameter, value in _optional_object(item.get("parameters"), f"{path}.parameters").items()
        for at in [f"{path}.parameters.{parameter}"]
    }
    return Condition(name, parameters, _text(item.get("expression"), f"{path}.expression").strip())


def _read_parameter(name: str, item: Mapping[str, Any], path: str) -> Parameter:
    type_ = _type_name(item, path)
    if type_ not in set(Container):
        return Parameter(name, _parameter_type(type_, path))
    inner = _list(item.get("generic_types"), f"{path}.generic_types")
    if len(inner) != 1:
        raise _misfit(f"{path}.generic_types", "must have one item")
    at = f"{path}.generic_types[0]"
    return Parameter(name, _parameter_type(_type_name(_object(inner[0], at), at), at), Container(type_))


def _type_name(item: Mapping[str, Any], path: str) -> str:
    return _text(item.get("type_name"), f"{path}.type_name").removeprefix(_TYPE_PREFIX).lower()


def _parameter_type(name: str, path: str) -> ParameterType:
    if name not in set(ParameterType):
        raise _misfit(f"{path}.type_name", f"must be {_TYPE_PREFIX} and one of {', '.join(ParameterType).upper()}")
    return ParameterType(name)


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _misfit(path, "must be an object")
    return value


def _optional_object(value: Any, path: str) -> Mapping[str, Any]:
    return {} if value is None else _object(value, path)


def _list(value: Any, path: str) -> Sequence[Any]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _misfit(path, "must be a list")
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _misfit(path, "must be a string")
    return value


def _misfit(path: str, rule: str) -> InvalidModel:
    return InvalidModel([Problem(ProblemKind.FORM, f"{path or 'The model'}: {rule}.", path.rpartition(".")[2])])
