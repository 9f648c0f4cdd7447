"""A permission model as a value: what types there are, and how each of their relations comes about.

It is OpenFGA's schema 1.1, whichever way it was written (DSL or JSON). A model that was only parsed may be
nonsense; `checks.check_model` tells. Every node remembers where in the DSL it stands, if it came from one; that
plays no part when models are compared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from watchword.server.permissions.problems import Position

SCHEMA_VERSION: Final = "1.1"

MAX_NESTING: Final = 32
"""How deep parentheses may nest in one definition. Guards every walk over a model against exhausting the stack."""


class ParameterType(StrEnum):
    """What a condition's parameter holds; inside lists and maps, what their values are. Map keys are strings.

    ANY is for JSON only: DSL has no word for it.
    """

    BOOL = "bool"
    STRING = "string"
    INT = "int"
    UINT = "uint"
    DOUBLE = "double"
    DURATION = "duration"
    TIMESTAMP = "timestamp"
    IPADDRESS = "ipaddress"
    ANY = "any"


class Container(StrEnum):
    """What a parameter may hold many values in."""

    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A condition's parameter: `name: type` or `name: container<type>`."""

    name: str
    type: ParameterType
    container: Container | None = None
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition: the text of a CEL expression, and what it may ask for."""

    name: str
    parameters: Mapping[str, Parameter]
    expression: str
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TypeRestriction:
    """Who may be granted a relation directly: `type`, `type:*` or `type#relation`, perhaps `with condition`."""

    type: str
    relation: str | None = None
    wildcard: bool = False
    condition: str | None = None
    position: Position | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """As the DSL writes it."""
        wildcard = ":*" if self.wildcard else ""
        relation = f"#{self.relation}" if self.relation is not None else ""
        condition = f" with {self.condition}" if self.condition is not None else ""
        return f"{self.type}{wildcard}{relation}{condition}"


@dataclass(frozen=True, slots=True)
class This:
    """The direct grants of the relation itself, `[…]` in the DSL."""


@dataclass(frozen=True, slots=True)
class ComputedUserset:
    """Whoever has another relation to the same object."""

    relation: str
    position: Position | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """As the DSL writes it."""
        return self.relation


@dataclass(frozen=True, slots=True)
class TupleToUserset:
    """`relation from tupleset`: whoever has the relation to an object that the tupleset names."""

    relation: str
    tupleset: str
    position: Position | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """As the DSL writes it."""
        return f"{self.relation} from {self.tupleset}"


@dataclass(frozen=True, slots=True)
class Union:
    """Whoever is in any of two or more sets."""

    children: "tuple[Rewrite, ...]"


@dataclass(frozen=True, slots=True)
class Intersection:
    """Whoever is in all of two or more sets."""

    children: "tuple[Rewrite, ...]"


@dataclass(frozen=True, slots=True)
class Difference:
    """Whoever is in the base and not in what is taken off it."""

    base: "Rewrite"
    subtract: "Rewrite"


Rewrite = This | ComputedUserset | TupleToUserset | Union | Intersection | Difference


@dataclass(frozen=True, slots=True)
class Relation:
    """How a relation comes about. The restrictions are those of the direct grants in it, empty if there are none."""

    name: str
    rewrite: Rewrite
    restrictions: tuple[TypeRestriction, ...] = ()
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TypeDefinition:
    """A type of objects and its relations, by name."""

    name: str
    relations: Mapping[str, Relation] = field(default_factory=dict)
    position: Position | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """Types and conditions, by name and in the order written."""

    types: Mapping[str, TypeDefinition]
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    schema_version: str = SCHEMA_VERSION
    schema_position: Position | None = field(default=None, compare=False, repr=False)

    def relations(self) -> Iterator[tuple[TypeDefinition, Relation]]:
        """All relations, each with its type."""
        for definition in self.types.values():
            for relation in definition.relations.values():
                yield definition, relation


def operands(rewrite: Rewrite) -> "tuple[Rewrite, ...]":
    """The sets that a rewrite combines; none for a leaf."""
    match rewrite:
        case Union(children) | Intersection(children):
            return children
        case Difference(base, subtract):
            return (base, subtract)
    return ()


def leaves(rewrite: Rewrite) -> Iterator[This | ComputedUserset | TupleToUserset]:
    """What a rewrite is made of, from left to right, without the operators."""
    match rewrite:
        case Union() | Intersection() | Difference():
            for operand in operands(rewrite):
                yield from leaves(operand)
        case _:
            yield rewrite
