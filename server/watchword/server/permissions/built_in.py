"""The models that come with Watchword: the starter, and the part of every model that is Watchword's own."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from watchword.server.permissions.dsl import parse_dsl
from watchword.server.permissions.model import (
    ComputedUserset,
    Model,
    Relation,
    This,
    TypeDefinition,
    TypeRestriction,
    Union,
)
from watchword.server.permissions.problems import InvalidModel, Problem, ProblemKind

RESERVED: Final = "watchword"
"""The type whose relations are the permissions of Watchword's own RPCs."""
DEPLOYMENT: Final = f"{RESERVED}:deployment"
"""The one object of that type."""
ADMINISTRATOR: Final = "administrator"
"""The permission that holds every other."""
_SERVICE: Final = "service"

STARTER_DSL: Final = """model
  schema 1.1

type user

type service

type organization
  relations
    define owner: [user]
    define admin: [user, service, group#member] or owner
    define member: [user, service, group#member] or admin
    define can_manage: admin
    define can_view: member

type group
  relations
    define organization: [organization]
    define member: [user, service, group#member]
"""


def starter() -> Model:
    """Make the model that is in force until an application writes its own."""
    return parse_dsl(STARTER_DSL)


def refuse_reserved(model: Model) -> None:
    """Keep applications from defining what is Watchword's own.

    Threat: who may write models makes a type by which everybody may call every RPC.

    Raises:
        InvalidModel: the model defines the reserved type.

    """
    definition = model.types.get(RESERVED)
    if definition is not None:
        message = f"The type '{RESERVED}' is reserved for Watchword's own RPCs: choose another name."
        raise InvalidModel([Problem(ProblemKind.RESERVED_TYPE, message, RESERVED, definition.position)])


def with_reserved(model: Model, permissions: Iterable[str]) -> Model:
    """Add Watchword's own part to a model: who may call which of its RPCs.

    Only service accounts can be named, and nobody through a set: who may write to a group must not be able to make its
    members administrators of Watchword. A model that has no type `service` gets one, since such accounts exist.
    """
    service = (TypeRestriction(_SERVICE),)
    relations = {ADMINISTRATOR: Relation(ADMINISTRATOR, This(), service)}
    for name in sorted(set(permissions) - {ADMINISTRATOR}):
        relations[name] = Relation(name, Union((This(), ComputedUserset(ADMINISTRATOR))), service)
    types = {_SERVICE: TypeDefinition(_SERVICE), **model.types, RESERVED: TypeDefinition(RESERVED, relations)}
    return replace(model, types=types)
