"""What can be wrong with a permission model, and where.

Kinds bear the names that OpenFGA's own tools give them, where they have one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class Position:
    """A stretch of one line of DSL. Counted from 0, as in OpenFGA's tools; the end is exclusive.

    The stretch of a symbol that goes over the end of its line is counted on as if the line went on.
    """

    line: int
    column: int
    end_column: int

    def __str__(self) -> str:
        """For people, who count from 1."""
        return f"line {self.line + 1}, column {self.column + 1}"


class ProblemKind(StrEnum):
    """What is wrong."""

    SYNTAX = "invalid-syntax"
    LIMIT = "limit-exceeded"
    SCHEMA = "invalid-schema"
    MODULE = "module-not-supported"
    FORM = "invalid-json-form"
    DUPLICATE = "duplicated-error"
    NAME = "invalid-name"
    RESERVED_TYPE = "reserved-type-keywords"
    RESERVED_RELATION = "reserved-relation-keywords"
    RELATION_UNDEFINED = "missing-definition"
    TYPE_UNDEFINED = "invalid-type"
    TYPE_RELATION_UNDEFINED = "invalid-relation-type"
    TUPLESET_RELATION_UNDEFINED = "invalid-relation-on-tupleset"
    TUPLESET_NOT_DIRECT = "tupleuserset-not-direct"
    RESTRICTIONS_MISSING = "assignable-relation-must-have-type"
    RESTRICTIONS_IDLE = "non-assignable-relation-has-type"
    WILDCARD_AND_RELATION = "type-wildcard-relation"
    NO_ENTRY_POINT = "relation-no-entry-point"
    CYCLE = "relation-cycle"
    CONDITION_UNDEFINED = "condition-not-defined"
    PARAMETER_UNDEFINED = "condition-parameter-not-defined"
    CONDITION_NAME = "different-nested-condition-name"
    REDUNDANT = "redundant-operand"
    CONDITION_UNUSED = "condition-not-used"
    PARAMETER_UNUSED = "condition-parameter-not-used"

    @property
    def is_warning(self) -> bool:
        """Whether a model with it means something all the same. OpenFGA's server takes such models, and so do we."""
        return self in _WARNINGS


_MAX_MESSAGE: Final = 600
_MAX_SYMBOL: Final = 256
_WARNINGS: Final = frozenset({ProblemKind.REDUNDANT, ProblemKind.CONDITION_UNUSED, ProblemKind.PARAMETER_UNUSED})


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: a sentence to act on, the symbol it is about, and where that stands if the model was DSL."""

    kind: ProblemKind
    message: str
    symbol: str = ""
    position: Position | None = None

    def __post_init__(self) -> None:
        """Cut what quotes the model: a name of 200 kB must not make an error of 200 kB."""
        object.__setattr__(self, "message", _cut(self.message, _MAX_MESSAGE))
        object.__setattr__(self, "symbol", _cut(self.symbol, _MAX_SYMBOL))

    def __str__(self) -> str:
        """The sentence, behind its place."""
        return f"{self.position}: {self.message}" if self.position else self.message


class InvalidModel(Exception):
    """A text is not a model, or a model is not sound. Holds at least one problem, in the order they were found."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))
