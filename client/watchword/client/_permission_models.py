"""Models of permissions and relationships, see `models`."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Decision(StrEnum):
    """What a check comes to."""

    ALLOWED = "allowed"
    DENIED = "denied"
    CONDITIONAL = "conditional"
    """Undecided: a condition lacks context. Treat it as denied, or ask again with what is missing."""
    UNSPECIFIED = "unspecified"
    """A decision that this version of the SDK does not know; treat it as denied."""


@dataclass(frozen=True, slots=True)
class Consistency:
    """How fresh an answer must be. Default everywhere: `minimize_latency`."""

    _at_least: str | None = None
    _is_full: bool = False

    @classmethod
    def minimize_latency(cls) -> "Consistency":
        """From the server's cache, if that has followed the database within the last second."""
        return cls()

    @classmethod
    def at_least(cls, revision: str) -> "Consistency":
        """At least as fresh as a revision, which a write answered with.

        Raises:
            ValueError: The revision is empty, so that the answer would be as fresh as nothing.

        """
        if not revision:
            raise ValueError("revision must not be empty")
        return cls(_at_least=revision)

    @classmethod
    def full(cls) -> "Consistency":
        """As fresh as the database is."""
        return cls(_is_full=True)

    @property
    def revision(self) -> str | None:
        """The revision of `at_least`."""
        return self._at_least

    @property
    def is_full(self) -> bool:
        """Whether it is `full`."""
        return self._is_full


@dataclass(frozen=True, slots=True)
class Relationship:
    """`subject` has `relation` to `object`.

    ```python
    Relationship("user:ana", "viewer", "document:42")
    Relationship("group:eng#member", "viewer", "document:42", expire_time=tomorrow)
    ```
    """

    subject: str
    """An object "user:ana", everybody who has a relation "group:eng#member", or everybody of a type "user:*"."""
    relation: str
    """A relation of the object's type in the permission model."""
    object: str
    """ "type:id", such as "document:42"."""
    _: KW_ONLY
    condition: str | None = None
    """The condition of the permission model under which it counts."""
    context: Mapping[str, Any] | None = field(default=None, hash=False)
    """Values for the condition's parameters, which go before those of a question: a JSON object."""
    expire_time: datetime | None = None
    """From when on it counts as absent."""


@dataclass(frozen=True, slots=True)
class RelationshipKey:
    """Names one relationship; condition and expiry play no part."""

    subject: str
    relation: str
    object: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationshipFilter:
    """Which relationships. Fields that are None select all; those that are set must all fit."""

    object_type: str | None = None
    """The type of the object, such as "document"."""
    object: str | None = None
    relation: str | None = None
    subject: str | None = None
    """Exactly this subject."""
    subject_type: str | None = None
    """The type of the subject, such as "user"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """What must hold for a write to be made. An expired relationship counts as absent."""

    must_exist: bool
    """Whether at least one relationship must fit the filter before the write, or none."""
    filter: RelationshipFilter
    """Of which relationships. It must not be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedRelationships:
    """What `relationships.delete` did."""

    deleted_count: int
    complete: bool
    """Whether none is left that the filter selects; if not, delete again."""
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRelationships:
    """What `relationships.import_` did."""

    relationship_count: int
    """How many relationships were committed."""
    revision: str | None
    """The revision of the last change; None if there was nothing to import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnswer:
    """Whether a subject has a relation to an object. True in an `if` only if it is allowed for sure.

    It stands until an event whose transaction id is at or after the horizon names one of its nodes, and no longer
    than its remaining lifetime.
    """

    decision: Decision
    missing_context: tuple[str, ...] = ()
    """The parameters of conditions that the context lacks, sorted; empty unless conditional."""
    horizon: str | None = None
    """The horizon of the snapshot that it was computed on; None: not to be cached."""
    nodes: tuple[int, ...] = field(default=(), repr=False)
    """What it depends on."""
    remaining_lifetime: timedelta | None = None
    """For how much longer it can stand, from the moment of the question; None if without end."""

    @property
    def allowed(self) -> bool:
        """Whether the subject has the relation for sure."""
        return self.decision is Decision.ALLOWED

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class CheckItem:
    """One question of `permissions.batch_check`, with the arguments of `check`."""

    subject: str
    relation: str
    object: str
    _: KW_ONLY
    context: Mapping[str, Any] | None = field(default=None, hash=False)
    contextual_relationships: tuple[Relationship, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckError:
    """Why one question of `permissions.batch_check` has no answer. False in an `if`."""

    reason: str
    """The name of the server's `ErrorReason`, such as "CONDITION_FAILED"."""
    message: str
    """For people."""

    @property
    def allowed(self) -> bool:
        """False."""
        return False

    def __bool__(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionalName:
    """A name in a list for which a check says conditional."""

    name: str
    missing_context: tuple[str, ...]
    """The parameters of conditions that the context lacks, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsPage:
    """One page of the objects to which a subject has a relation."""

    objects: tuple[str, ...]
    """Those for which a check says allowed."""
    conditional: tuple[ConditionalName, ...]
    """Those for which a check says conditional; they come behind all of `objects`."""
    next_page_token: str | None
    """What to pass for the next page; None if this is the last one."""
    complete: bool
    """Whether, with the pages before, nothing is left out."""
    horizon: str | None
    """See `CheckAnswer`."""
    nodes: tuple[int, ...] = field(repr=False)
    """See `CheckAnswer`."""
    remaining_lifetime: timedelta | None
    """See `CheckAnswer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectsPage:
    """One page of the subjects that have a relation to an object."""

    subjects: tuple[str, ...]
    """Those for which a check says allowed.

    "user:*" stands for all users whom no field of this list names and whose accounts are not disabled.
    """
    conditional: tuple[ConditionalName, ...]
    """Those for which a check says conditional; they come behind all of `subjects`."""
    excluded: tuple[str, ...]
    """Who is not allowed although "type:*" is in the list; they come last."""
    next_page_token: str | None
    """What to pass for the next page; None if this is the last one."""
    complete: bool
    """Whether, with the pages before, nothing is left out."""
    horizon: str | None
    """See `CheckAnswer`."""
    nodes: tuple[int, ...] = field(repr=False)
    """See `CheckAnswer`."""
    remaining_lifetime: timedelta | None
    """See `CheckAnswer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationStep:
    """One step of an explanation."""

    kind: str
    """What it is: "node", "any", "all", "except", "subject", "grant", "through", "missing-grant", "nothing",
    "cycle" or "account-disabled".
    """
    verdict: Decision
    """What it comes to."""
    node: str
    """What it is about: "document:42#viewer", or an account."""
    relationship: Relationship | None
    """The relationship looked at."""
    why: str | None
    """Why the relationship does not count: "expired", "condition-false" or "context-missing"."""
    missing: tuple[str, ...]
    """The parameters that the relationship's condition lacks."""
    children: "tuple[ExplanationStep, ...]"
    """The steps that decided it."""
    omitted: int
    """How many steps below it are not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a subject has a relation to an object, or has not. True in an `if` only if it is allowed for sure."""

    decision: Decision
    missing_context: tuple[str, ...]
    """The parameters of conditions that the context lacks, sorted; empty unless conditional."""
    tree: ExplanationStep
    """The reasons: for an allow one way that leads to it, for a deny all that is lacking."""
    nearest: tuple[ExplanationStep, ...]
    """What was lacking, nearest first."""

    @property
    def allowed(self) -> bool:
        """Whether the subject has the relation for sure."""
        return self.decision is Decision.ALLOWED

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionModel:
    """A permission model."""

    model_id: str | None
    """None for one that was validated only."""
    dsl: str | None = field(repr=False)
    """The model in OpenFGA's DSL; None in lists, and for one that the DSL cannot express."""
    openfga_json: str | None = field(repr=False)
    """The model in OpenFGA's JSON; None in lists."""
    create_time: datetime | None
    """When it came into force; None for the starter model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProblem:
    """Something about a model that is allowed and probably not meant."""

    kind: str
    """What kind it is, such as "unused-condition"."""
    message: str
    """What is wrong, for people."""
    line: int | None
    """The line in the DSL, counted from 1; None if it has no place there."""
    column: int | None
    """The column in the DSL, counted from 1; None if it has no place there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenModel:
    """What `permissions.write_model` did."""

    model: PermissionModel
    warnings: tuple[ModelProblem, ...]
    orphan_count: int
    """How many stored relationships do not fit the model."""
    orphan_examples: tuple[RelationshipKey, ...]
    """Up to 10 of them."""
    revision: str | None
    """The revision of the change; None if the model was validated only."""
