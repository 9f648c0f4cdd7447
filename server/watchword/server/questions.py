"""May they? Questions about permissions, answered from the cache or from the database, on one snapshot each.

    warm: the cache holds every node that the answer needs, and is as fresh as is asked: no SQL, no waiting
    cold: one statement gathers what the answer needs, on a snapshot of its own; the cache gets it for the next time

Never are the two mixed in one answer: see `node_cache`. The engine itself knows nothing of this (permissions/).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from watchword.server.errors import (
    ConditionUnresolved,
    DomainError,
    InvalidField,
    ResolutionLimit,
    RevisionUnknown,
    TimedOut,
)
from watchword.server.feed import Feed
from watchword.server.identifiers import PERMISSION_MODEL, Clock
from watchword.server.node_cache import NodeCache
from watchword.server.permissions.answers import (
    Answer,
    ConditionFailed,
    Decision,
    InvalidQuestion,
    Limit,
    LimitMet,
    Limits,
    Unanswerable,
)
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.known import NotKnown
from watchword.server.permissions.model import TupleToUserset, leaves
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship, RelationshipReader
from watchword.server.permissions.standing import MAX_NODES, Standing
from watchword.server.plans import Plans, PreparedModel
from watchword.server.storage.database import Database
from watchword.server.storage.gather import GATHER
from watchword.server.storage.gathered import (
    Gathered,
    Start,
    Steps,
    account_parameters,
    forward_parameters,
    gathered,
)

MAX_ROWS: Final = 100_000
"""Relationships gathered for checks, all of a batch together."""
_IN_THREAD: Final = 10_000
"""From so many rows on, they are read beside the event loop."""
_BATCH_SECONDS: Final = 5.0
_TURN_SECONDS: Final = 0.01
"""After so long a batch lets other calls have their turn."""
_TRIES: Final = 3

T = TypeVar("T")


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


@dataclass(frozen=True, slots=True)
class Standings:
    """What an answer stands on: hashes of nodes, and the horizon as text; no horizon if it must not be cached."""

    nodes: Sequence[int]
    horizon: str
    remaining: timedelta | None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with what it stands on."""

    answer: Answer
    standings: Standings


_DENIED: Final = Answer(Decision.DENIED, (), frozenset(), None)
NOT_TO_BE_KEPT: Final = Standings((), "", None)


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


class Questions:
    """Answers checks."""

    def __init__(
        self, database: Database, plans: Plans, feed: Feed, cache: NodeCache, standing: Standing, *, clock: Clock
    ) -> None:
        self._database = database
        self._plans = plans
        self._feed = feed
        self._cache = cache
        self._standing = standing
        self._clock = clock
        self._limits = Limits()

    async def check(self, question: Question, consistency: Consistency) -> Answered:
        """Answer one question.

        Raises:
            InvalidField, ConditionUnresolved, ResolutionLimit: it has no answer.
            RevisionUnknown: it must be as fresh as what is of another history.

        """
        warm = self._warm(consistency)
        if warm is not None:
            try:
                return self._from_cache(warm, question)
            except NotKnown:
                pass
            except Unanswerable as error:
                raise unanswerable(error) from None
        (found,) = await self._cold([question], consistency)
        if isinstance(found, DomainError):
            raise found
        return found

    async def batch(
        self, questions: Sequence[Question], consistency: Consistency
    ) -> tuple[list[Answered | DomainError], str]:
        """Answer many questions on one snapshot; give its horizon too."""
        warm = self._warm(consistency)
        if warm is not None:
            horizon = self._horizon()
            known = await self._batch_from_cache(warm, questions)
            if known is not None:
                return known, horizon
        results = await self._cold(questions, consistency, strict=False)
        horizons = [found.standings.horizon for found in results if isinstance(found, Answered)]
        return results, next((horizon for horizon in horizons if horizon), "")

    # ----- warm -------------------------------------------------------------------------------------------------------

    def _warm(self, consistency: Consistency) -> PreparedModel | None:
        """The model in force, if the cache may be asked."""
        feed = self._feed
        if consistency.full or not self._cache.is_on or not feed.is_fresh or feed.visible is None:
            return None
        if consistency.at_least is not None and (
            consistency.epoch != feed.epoch or not feed.visible.sees(consistency.at_least)
        ):
            return None
        model_id = self._cache.model_id
        return self._plans.peek(model_id) if model_id is not None else None

    def _from_cache(self, model: PreparedModel, question: Question) -> Answered:
        cache = self._cache
        disabled = False
        for account in account_of(question.subject):
            known = cache.is_disabled(account)
            if known is None:
                raise NotKnown
            disabled = known
        now = self._clock()
        answer = self._evaluate(model.plan, cache.reader, question, now)
        return self._answered(answer, question, disabled=disabled, horizon=self._horizon(), now=now)

    async def _batch_from_cache(
        self, model: PreparedModel, questions: Sequence[Question]
    ) -> list[Answered | DomainError] | None:
        """Answer all at the snapshot that the cache is at; None if it lacks something, or has moved on meanwhile."""
        visible = self._feed.visible
        results: list[Answered | DomainError] = []
        turns = _Turns()
        for question in questions:
            if turns.is_over:
                results.append(ResolutionLimit(Limit.TIME.value, TOO_SLOW))
                continue
            if await turns.let_others() and self._feed.visible is not visible:
                return None
            try:
                results.append(self._from_cache(model, question))
            except NotKnown:
                return None
            except Unanswerable as error:
                results.append(unanswerable(error))
        return results

    def _horizon(self) -> str:
        visible = self._feed.visible
        return f"{self._feed.epoch}.{visible.xmin}" if visible is not None else ""

    # ----- cold -------------------------------------------------------------------------------------------------------

    async def _cold(
        self, questions: Sequence[Question], consistency: Consistency, *, strict: bool = True
    ) -> list[Answered | DomainError]:
        async def answer(model: PreparedModel) -> tuple[Gathered, list[Answered | DomainError]]:
            asked = Asked.of(model, questions, strict=strict)
            try:
                found = await self.gather(model, asked, consistency)
            except LimitMet:
                if len(questions) == 1:
                    raise
                return await self._in_parts(model, questions, consistency)
            return found, await self._evaluate_all(model, found, questions)

        return await self.on_model_in_force(answer)

    async def on_model_in_force(self, answer: Callable[[PreparedModel], Awaitable[tuple[Gathered, T]]]) -> T:
        """Answer by the model that was in force in the snapshot that was read, which is known only afterwards."""
        for _ in range(_TRIES):
            model = await self._plans.get(self._plans.latest)
            try:
                found, result = await answer(model)
            except InvalidQuestion as error:
                # Perhaps the model is not the one in force, and the one in force knows the name.
                if (await self._plans.in_force()).model_id == model.model_id:
                    raise unanswerable(error) from None
                continue
            except Unanswerable as error:
                raise unanswerable(error) from None
            if found.model_id == model.model_id:
                return result
            self._plans.latest = found.model_id
        raise ResolutionLimit(Limit.TIME.value, "The permission model kept changing while the answer was computed.")

    async def gather(self, model: PreparedModel, asked: "Asked", consistency: Consistency) -> Gathered:
        """Gather what checks need, on a snapshot of its own, and let the cache have it."""
        try:
            rows = await self._database.gather(GATHER, asked.parameters())
        except TimedOut:
            raise ResolutionLimit(Limit.TIME.value, TOO_SLOW) from None
        found = await asyncio.to_thread(asked.read, rows) if len(rows) > _IN_THREAD else asked.read(rows)
        require_history(found, consistency)
        if found.row_count >= MAX_ROWS:
            raise LimitMet(Limit.WORK, TOO_MUCH)
        if found.model_id == model.model_id:
            self._cache.offer(found)
        return found

    async def _in_parts(
        self, model: PreparedModel, questions: Sequence[Question], consistency: Consistency
    ) -> tuple[Gathered, list[Answered | DomainError]]:
        """Answer questions that need too much together, on one snapshot: half by half, until one by one if need be."""
        results: list[Answered | DomainError] = []
        pending = [questions]
        turns = _Turns()
        async with self._database.gathering() as gatherer:
            while pending:
                part = pending.pop()
                asked = Asked.of(model, part, strict=False)
                if turns.is_over:
                    results += [ResolutionLimit(Limit.TIME.value, TOO_SLOW)] * len(part)
                    continue
                try:
                    found = asked.read(await gatherer.gather(GATHER, asked.parameters()))
                except TimedOut:
                    raise ResolutionLimit(Limit.TIME.value, TOO_SLOW) from None
                require_history(found, consistency)
                if found.row_count < MAX_ROWS:
                    results += await self._evaluate_all(model, found, part)
                elif len(part) == 1:
                    results.append(ResolutionLimit(Limit.WORK.value, TOO_MUCH))
                else:
                    middle = len(part) // 2
                    pending += [part[middle:], part[:middle]]
        return found, results

    async def _evaluate_all(
        self, model: PreparedModel, found: Gathered, questions: Sequence[Question]
    ) -> list[Answered | DomainError]:
        reader, now = found.reader(), self._clock()
        horizon = f"{found.epoch}.{found.visible.xmin}"
        results: list[Answered | DomainError] = []
        turns = _Turns()
        for question in questions:
            if turns.is_over:
                results.append(ResolutionLimit(Limit.TIME.value, TOO_SLOW))
                continue
            await turns.let_others()
            try:
                answer = self._evaluate(model.plan, reader, question, now)
            except Unanswerable as error:
                results.append(unanswerable(error))
            else:
                disabled = question.subject in found.disabled
                results.append(self._answered(answer, question, disabled=disabled, horizon=horizon, now=now))
        return results

    # ----- both -------------------------------------------------------------------------------------------------------

    def _evaluate(self, plan: Plan, reader: RelationshipReader, question: Question, now: datetime) -> Answer:
        return Engine(plan, reader, now=now, limits=self._limits).check(
            question.subject,
            question.relation,
            question.object,
            context=question.context,
            contextual=question.contextual,
        )

    def _answered(self, answer: Answer, question: Question, *, disabled: bool, horizon: str, now: datetime) -> Answered:
        if disabled:
            answer = _DENIED  # whatever the account was granted
        if question.contextual:
            return Answered(answer, NOT_TO_BE_KEPT)
        return Answered(answer, self.standings(answer.nodes, account_of(question.subject), horizon, answer.until, now))

    def standings(
        self, read: Iterable[str], accounts: Iterable[str], horizon: str, until: datetime | None, now: datetime
    ) -> Standings:
        """Tell what an answer stands on."""
        nodes = self._standing.of_answer(read, (PERMISSION_MODEL, *accounts))
        if len(nodes) > 2 * MAX_NODES + 2:
            return NOT_TO_BE_KEPT
        return Standings(nodes, horizon, until - now if until is not None else None)


TOO_SLOW: Final = "The answer took longer to find than the limit allows: ask a narrower question."
TOO_MUCH: Final = "The answer needs more relationships to be read than the limit allows: ask a narrower question."


def require_history(found: Gathered, consistency: Consistency) -> None:
    """Refuse to compare revisions of different histories.

    Raises:
        RevisionUnknown: the revision is of another one, or of none that there was yet.

    """
    if consistency.at_least is not None and (
        consistency.epoch != found.epoch or consistency.at_least >= found.visible.xmax
    ):
        raise RevisionUnknown


class _Turns:
    """Shares the event loop while the questions of a batch are answered, and ends that in time."""

    __slots__ = ("_end", "_turn")

    def __init__(self) -> None:
        self._turn = time.monotonic() + _TURN_SECONDS
        self._end = time.monotonic() + _BATCH_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() > self._end

    async def let_others(self) -> bool:
        """Let other calls have their turn, if it is time; tell whether it was."""
        if time.monotonic() < self._turn:
            return False
        await asyncio.sleep(0)
        self._turn = time.monotonic() + _TURN_SECONDS
        return True


@dataclass(frozen=True, slots=True)
class Asked:
    """What has to be gathered for some questions on a model."""

    subjects: Sequence[str]
    starts: Sequence[Start]
    accounts: frozenset[str]
    steps: Steps

    def parameters(self) -> dict[str, Any]:
        """The statement's parameters."""
        values = forward_parameters(self.steps, self.starts, self.subjects, limit=MAX_ROWS)
        return values | account_parameters(self.accounts)

    def read(self, rows: Sequence[tuple[Any, ...]]) -> Gathered:
        """Read the statement's rows; of so many that they are of no use, no more than what they begin with."""
        count = len(rows)
        if count >= MAX_ROWS:
            rows = rows[: 1 + len(self.accounts)]  # the snapshot and the disabled accounts
        found = gathered(rows, self.steps.stored_at, self.subjects, self.accounts)
        found.row_count = count
        return found

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
