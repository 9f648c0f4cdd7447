"""What is asked about permissions, as the questions themselves and as what has to be gathered to answer them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from watchword.server.errors import (
    ConditionUnresolved,
    DomainError,
    InvalidField,
    ResolutionLimit,
    RevisionUnknown,
)
from watchword.server.permissions.answers import ConditionFailed, InvalidQuestion, LimitMet, Unanswerable
from watchword.server.permissions.model import TupleToUserset, leaves
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship
from watchword.server.plans import PreparedModel
from watchword.server.storage.gather import gather_for
from watchword.server.storage.gathered import (
    Gathered,
    Start,
    Steps,
    account_parameters,
    forward_parameters,
    gathered,
)
from watchword.server.storage.statement import Statement

MAX_ROWS: Final = 100_000
"""Relationships gathered for checks, all of a batch together."""
TOO_SLOW: Final = "The answer took longer to find than the limit allows: ask a narrower question."
TOO_MUCH: Final = "The answer needs more relationships to be read than the limit allows: ask a narrower question."


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a subject has a relation to an object."""

    subject: str
    relation: str
    object: str
    context: Mapping[str, Any] = field(default_factory=dict)
    contextual: Sequence[Relationship] = ()


@dataclass(frozen=True, slots=True)
class Consistency:
    """How fresh an answer must be: as fresh as a transaction of the history `epoch`, or as the database itself."""

    epoch: str = ""
    at_least: int | None = None
    full: bool = False


def parse_revision(revision: str) -> Consistency:
    """Read a revision, "<epoch>.<transaction id>", as what an answer must be as fresh as.

    Raises:
        InvalidField: it is no revision.

    """
    epoch, dot, xid = revision.rpartition(".")
    if not dot or not xid.isascii() or not xid.isdigit() or len(xid) > 20:  # noqa: PLR2004
        raise InvalidField([("consistency.at_least", "must be a revision as a write answered with")])
    return Consistency(epoch=epoch, at_least=int(xid))


def unanswerable(error: Unanswerable) -> DomainError:
    """Turn the engine's refusal into ours."""
    match error:
        case InvalidQuestion():
            return InvalidField([(error.field, str(error))])
        case ConditionFailed():
            return ConditionUnresolved(str(error))
        case LimitMet():
            return ResolutionLimit(error.limit.value, str(error))
    raise AssertionError("there are no others")


def account_of(subject: str) -> tuple[str, ...]:
    """The account that a subject is, if it can be one."""
    return (subject,) if "#" not in subject and subject.partition(":")[0] in {"user", "service"} else ()


def require_history(found: Gathered, consistency: Consistency) -> None:
    """Refuse to compare revisions of different histories.

    Raises:
        RevisionUnknown: the revision is of another one, or of none that there was yet.

    """
    if consistency.at_least is not None and (
        consistency.epoch != found.epoch or consistency.at_least >= found.visible.xmax
    ):
        raise RevisionUnknown


@dataclass(frozen=True, slots=True)
class Asked:
    """What has to be gathered for some questions on a model."""

    subjects: Sequence[str]
    starts: Sequence[Start]
    accounts: frozenset[str]
    steps: Steps

    @property
    def statement(self) -> Statement:
        """What gathers it."""
        return gather_for(len(self.subjects))

    def parameters(self) -> dict[str, Any]:
        """The statement's parameters."""
        values = forward_parameters(self.steps, self.starts, self.subjects, limit=MAX_ROWS)
        return values | account_parameters(self.accounts)

    def read(self, rows: Sequence[tuple[Any, ...]]) -> Gathered:
        """Read the statement's rows."""
        return gathered(rows, self.steps, self.subjects, self.accounts, limit=MAX_ROWS)

    @classmethod
    def of(cls, model: PreparedModel, questions: Sequence[Question], *, strict: bool = True) -> "Asked":
        """Find out. What has no answer on this model is left out, unless `strict`.

        Raises:
            InvalidQuestion: a question has no answer.

        """
        plan = model.plan
        numbers: dict[str, int] = {}
        starts: dict[Start, None] = {}
        for question in questions:
            try:
                require_names(plan, question)
            except InvalidQuestion:
                if strict:
                    raise
                continue
            who = numbers.setdefault(question.subject, len(numbers))
            starts[who, question.object, question.relation] = None
            for object_, relation in through(plan, question.contextual):
                starts[who, object_, relation] = None
        targets = frozenset((object_.partition(":")[0], relation) for _, object_, relation in starts)
        accounts = frozenset(account for subject in numbers for account in account_of(subject))
        return cls(list(numbers), list(starts), accounts, model.forward(targets))


def require_names(plan: Plan, question: Question) -> None:
    """Raise InvalidQuestion unless a model has all names of a question."""
    plan.asked(question.relation, question.object)
    plan.require_subject(question.subject)
    require_fit(plan, question.contextual)


def require_fit(plan: Plan, contextual: Sequence[Relationship]) -> None:
    """Raise InvalidQuestion unless a model allows all relationships that came with a question."""
    for index, row in enumerate(contextual):
        if misfit := plan.misfit(row):
            raise InvalidQuestion(f"contextual_relationships[{index}]", misfit)


def through(plan: Plan, contextual: Sequence[Relationship]) -> Iterable[tuple[str, str]]:
    """The nodes that contextual relationships may lead to, which no stored relationship need lead to."""
    for row in contextual:
        object_, hash_, relation = row.subject.partition("#")
        if hash_:
            yield object_, relation
            continue
        for plan_ in plan.relations(row.object).values():
            for leaf in leaves(plan_.rewrite):
                if (
                    isinstance(leaf, TupleToUserset)
                    and leaf.tupleset == row.relation
                    and plan.has(object_, leaf.relation)
                ):
                    yield object_, leaf.relation
