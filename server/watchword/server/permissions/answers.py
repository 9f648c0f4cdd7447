"""What the engine answers, and how it refuses to answer.

An answer is never guessed: where a limit is met, a condition cannot be decided by what was given, or the question
makes no sense, the engine raises or says CONDITIONAL. It never allows for such a reason and never shortens a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

DEPTH: Final = 25
"""OpenFGA's limit on resolution depth."""


class Decision(StrEnum):
    """What a check comes to."""

    ALLOWED = "allowed"
    DENIED = "denied"
    CONDITIONAL = "conditional"
    """Undecided for want of context; the answer names what is missing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the engine goes for one answer before it raises `LimitMet`.

    depth: how many steps from object to object, set to set or relation to relation lead away from the question, on
        the shortest way.
    work: nodes entered and relationships looked at for a check or an explanation. A step takes about a microsecond.
    list_work: the same for a list, which costs at least one for each name in it.
    """

    depth: int = DEPTH
    work: int = 200_000
    list_work: int = 2_000_000


class Answer(NamedTuple):
    """What a check came to.

    missing: the parameters of conditions that the context lacks, sorted; empty unless CONDITIONAL.
    nodes: every node that was read, as `object#relation`. As long as no relationship of these changes, the same
        question on the same model has the same answer, up to `until`.
    until: when a relationship that was looked at expires. From then on the answer may be another.
    """

    decision: Decision
    missing: tuple[str, ...]
    nodes: frozenset[str]
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Listing:
    """All names for which a check says ALLOWED, and separately those for which it says CONDITIONAL.

    names: sorted.
    conditional: name to the parameters missing for it.
    excluded: who is named in question but not allowed, although a `type:*` in the list would cover them; sorted.
        Everybody else of the type whom the list does not mention comes to the same as `type:*` does.
    nodes: what was read: nodes as `object#relation`, or `type#relation` for all nodes of one relation.
    until: as in `Answer`.
    """

    names: tuple[str, ...]
    conditional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    excluded: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    until: datetime | None = None


class Unanswerable(Exception):
    """A question has no answer. The message is for who asked."""


class InvalidQuestion(Unanswerable):
    """A question names what is not there, or is malformed.

    field: what is wrong with it: object, relation, subject, type, filter or contextual_relationships.
    """

    def __init__(self, field_name: str, message: str) -> None:
        super().__init__(message)
        self.field = field_name


class ConditionFailed(Unanswerable):
    """A condition on which the answer hangs cannot be evaluated: a value of the wrong type, or an error in it."""


class Limit(StrEnum):
    """Which limit was met."""

    DEPTH = "depth"
    WORK = "work"
    TIME = "time"


class LimitMet(Unanswerable):
    """The answer lies beyond a limit. It is neither an allow nor a deny."""

    def __init__(self, limit: Limit, message: str) -> None:
        super().__init__(message)
        self.limit = limit
