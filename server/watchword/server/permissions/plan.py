"""A sound model, prepared once for all the questions that will be asked of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from watchword.server.permissions.answers import ConditionFailed, InvalidQuestion
from watchword.server.permissions.conditions import CompiledCondition
from watchword.server.permissions.model import Model, Relation, Rewrite, operands
from watchword.server.permissions.names import MAX_OBJECT, InvalidName, is_object_id, parse_object, parse_subject
from watchword.server.permissions.relationships import Relationship, shape
from watchword.server.permissions.rewrites import Decide, Shapes, compile_rewrite
from watchword.server.permissions.routes import Routes, TypeRelation

_MAX_FRAMES: Final = 400
"""How much of the stack a walk may take. Python's own limit is 1,000, shared with whoever asks."""
_NO_RELATIONS: Final[Mapping[str, "RelationPlan"]] = {}
_SUBJECTS: Final = 8192
"""How many subjects that made sense are remembered: who asks once asks again, in a batch a hundred times."""


@dataclass(slots=True, eq=False)
class RelationPlan:
    """A relation of a type: its definition, whom it can be granted to, and the function that decides it.

    suffix: what makes an object a node of the relation, `#relation`.
    decide: set last, when all relations are there that a definition may lead to.
    """

    type: str
    name: str
    rewrite: Rewrite
    shapes: Shapes
    suffix: str
    decide: Decide = field(init=False, repr=False)


class Plan:
    """A model, prepared. It means the same for good, so any number of engines may share it."""

    def __init__(self, model: Model) -> None:
        """Prepare a model that is sound: see `checks.require_sound`.

        Raises:
            InvalidCondition: a condition's expression does not compile.

        """
        self.model: Final = model
        self.conditions: Final = {name: CompiledCondition(item) for name, item in model.conditions.items()}
        self._routes: dict[TypeRelation, Routes] = {}
        self.require_subject: Final = lru_cache(maxsize=_SUBJECTS)(self._require_subject)
        """Raise InvalidQuestion unless a text names an object, a set, or everybody of a type of the model."""
        nesting = max((_nesting(item.rewrite) for _, item in model.relations()), default=0)
        self.dive: Final = _MAX_FRAMES // (nesting + 2)
        """How many nodes deep a walk may go, for its definitions not to exhaust the stack."""
        self.types: Final[Mapping[str, Mapping[str, RelationPlan]]] = {
            type_: {name: _relation(type_, name, item) for name, item in definition.relations.items()}
            for type_, definition in model.types.items()
        }
        for relations in self.types.values():
            for plan in relations.values():
                plan.decide = compile_rewrite(plan.rewrite, plan, self.types)

    def routes(self, type_: str, relation: str) -> Routes:
        """How to get to a relation from subjects. Made when first asked for."""
        if (routes := self._routes.get((type_, relation))) is None:
            routes = self._routes[type_, relation] = Routes.to(self, (type_, relation))
        return routes

    def relations(self, node: str) -> Mapping[str, RelationPlan]:
        """All relations of the type of a node's object; none if there is no such type."""
        return self.types.get(node.partition(":")[0], {})

    def relation(self, node: str) -> RelationPlan | None:
        """The relation that a node is of, if there is one."""
        object_, _, relation = node.partition("#")
        relations = self.types.get(object_.partition(":")[0])
        return relations.get(relation) if relations else None

    def has(self, object_: str, relation: str) -> bool:
        """Whether the object's type has the relation."""
        return relation in self.types.get(object_.partition(":")[0], ())

    # ----- what questions may say -------------------------------------------------------------------------------------

    def asked(self, relation: str, object_: str) -> RelationPlan:
        """The relation that a question is about. Raise InvalidQuestion unless the object is one and its type has it."""
        type_, _, id_ = object_.partition(":")
        relations = self.types.get(type_)
        # A type that the model has is well named.
        if relations is not None and relation in relations and is_object_id(id_) and len(object_) <= MAX_OBJECT:
            return relations[relation]
        try:
            parse_object(object_)
        except InvalidName as error:
            raise InvalidQuestion("object", str(error)) from None
        self.require_type(type_, field="object")
        return self.require_relation(type_, relation)

    def require_type(self, type_: str, *, field: str) -> None:
        """Raise InvalidQuestion unless the model has the type."""
        if type_ not in self.types:
            raise InvalidQuestion(field, "is of a type that the permission model does not have")

    def require_relation(self, type_: str, relation: str) -> RelationPlan:
        """The relation of a type that the model has. Raise InvalidQuestion unless the type has it."""
        if (plan := self.types[type_].get(relation)) is None:
            message = f"is no relation that the permission model has for the type '{type_}'"
            raise InvalidQuestion("relation", message)
        return plan

    def _require_subject(self, subject: str) -> None:
        try:
            name = parse_subject(subject)
        except InvalidName as error:
            raise InvalidQuestion("subject", str(error)) from None
        self.require_type(name.type, field="subject")
        if name.relation is not None and name.relation not in self.types[name.type]:
            message = f"is a set of a relation that the permission model does not have for the type '{name.type}'"
            raise InvalidQuestion("subject", message)

    def require_filter(self, subject_filter: str) -> None:
        """Raise InvalidQuestion unless it is `type` or `type#relation`, as the model has them."""
        type_, hash_, relation = subject_filter.partition("#")
        self.require_type(type_, field="subject_filters")
        if hash_ and relation not in self.types[type_]:
            message = f"names a relation that the permission model does not have for the type '{type_}'"
            raise InvalidQuestion("subject_filters", message)

    def misfit(self, relationship: Relationship) -> str | None:
        """Why the model does not allow a relationship to be granted; None if it does. To be shown to who wants it."""
        return None if self._plainly_fits(relationship) else self._misfit(relationship)

    def _misfit(self, relationship: Relationship) -> str | None:
        try:
            parse_object(relationship.object)
            subject = parse_subject(relationship.subject)
        except InvalidName as error:
            return str(error)
        plan = self.relation(relationship.node)
        if plan is None:
            return "The permission model has no such type of objects, or no such relation for them."
        if relationship.subject == relationship.node:
            return "A set belongs to itself already: that cannot be granted."
        allowed = plan.shapes.get(shape(relationship.subject))
        if allowed is None:
            kind = shape(relationship.subject) if subject.relation is not None or subject.is_wildcard else subject.type
            can = ", ".join(plan.shapes) or "nobody"
            return f"The permission model lets '{plan.name}' be granted to {can} here, not to '{kind}'."
        if relationship.condition not in allowed:
            can = ", ".join(sorted(f"'{name}'" for name in allowed if name is not None))
            with_ = f"with the condition {can}" if can else "without a condition"
            return f"The permission model lets '{plan.name}' be granted to such subjects only {with_}."
        return self._context_misfit(relationship)

    def _plainly_fits(self, relationship: Relationship) -> bool:
        """Whether the model allows a relationship without a condition, as most are; False also for not knowing."""
        object_, subject = relationship.object, relationship.subject
        if relationship.condition is not None or relationship.context or len(object_) > MAX_OBJECT:
            return False
        type_, _, id_ = object_.partition(":")
        relation = self.types.get(type_, _NO_RELATIONS).get(relationship.relation)
        if relation is None or not is_object_id(id_):
            return False
        name, hash_, set_ = subject.partition("#")
        subject_type, _, subject_id = name.partition(":")
        if hash_:
            allowed = relation.shapes.get(f"{subject_type}#{set_}")
            fits = set_ != relationship.relation or name != object_
        else:
            allowed = relation.shapes.get(subject_type)
            fits = True
        return fits and allowed is not None and None in allowed and len(name) <= MAX_OBJECT and is_object_id(subject_id)

    def _context_misfit(self, relationship: Relationship) -> str | None:
        context = relationship.context or {}
        if relationship.condition is None:
            return "A context belongs to a condition, and there is none." if context else None
        condition = self.conditions[relationship.condition]
        if unknown := sorted(set(context) - set(condition.parameters)):
            return f"The condition '{condition.name}' has no parameter of the name '{unknown[0][:50]}'."
        try:
            condition.typed(context)
        except ConditionFailed as error:
            return str(error)
        return None


def _relation(type_: str, name: str, item: Relation) -> RelationPlan:
    return RelationPlan(type_, name, item.rewrite, _shapes(item), f"#{name}")


def _nesting(rewrite: Rewrite) -> int:
    return max((_nesting(part) + 1 for part in operands(rewrite)), default=0)


def _shapes(relation: Relation) -> Shapes:
    found: dict[str, set[str | None]] = {}
    for item in relation.restrictions:
        wildcard = ":*" if item.wildcard else ""
        name = f"{item.type}{wildcard}" if item.relation is None else f"{item.type}#{item.relation}"
        found.setdefault(name, set()).add(item.condition)
    return {name: frozenset(conditions) for name, conditions in found.items()}
