"""May they? Questions about permissions, answered from the cache or from the database, on one snapshot each.

    kept: the very question was answered before, and the answer stands: see `kept_answers`
    warm: the cache holds every node that the answer needs, and is as fresh as is asked: no SQL, no waiting
    cold: one statement gathers what the answer needs, on a snapshot of its own; the cache gets it for the next time

Never are cold and warm mixed in one answer: see `node_cache`. The engine itself knows nothing of this (permissions/).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from watchword.server.asked import (
    MAX_ROWS,
    TOO_MUCH,
    TOO_SLOW,
    Asked,
    Consistency,
    Question,
    account_of,
    require_history,
    unanswerable,
)
from watchword.server.errors import DomainError, ResolutionLimit, RevisionUnknown, TimedOut
from watchword.server.feed import Feed
from watchword.server.identifiers import PERMISSION_MODEL, Clock
from watchword.server.kept_answers import NOT_TO_BE_KEPT, Answered, KeptAnswers, Standings
from watchword.server.node_cache import NodeCache
from watchword.server.permissions.answers import (
    Answer,
    Decision,
    InvalidQuestion,
    Limit,
    LimitMet,
    Limits,
    Unanswerable,
)
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.known import NotKnown
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import RelationshipReader
from watchword.server.permissions.standing import MAX_NODES, Standing
from watchword.server.plans import Plans, PreparedModel
from watchword.server.storage.database import Database
from watchword.server.storage.gathered import Gathered, size_of
from watchword.server.together import Together

_IN_THREAD: Final = 10_000
"""From so many relationships on, they are read beside the event loop."""
_BATCH_SECONDS: Final = 5.0
_TURN_SECONDS: Final = 0.01
"""After so long a batch lets other calls have their turn."""
_TRIES: Final = 3
_DENIED: Final = Answer(Decision.DENIED, (), frozenset(), None)

T = TypeVar("T")


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
        self._kept = KeptAnswers(feed, max_entries=cache.max_answers)
        self._together: Together[tuple[Question, Consistency], Answered] = Together(self._cold_round)
        self.cached_count = 0
        """Questions answered from the cache."""
        self.cold_count = 0
        """Questions for which the database was asked."""

    async def check(self, question: Question, consistency: Consistency) -> Answered:
        """Answer one question.

        Raises:
            InvalidField, ConditionUnresolved, ResolutionLimit: it has no answer.
            RevisionUnknown: it must be as fresh as what is of another history.

        """
        warm = self._warm(consistency)
        if warm is not None:
            try:
                answered = self._from_cache(warm, question).at(self._horizon())
            except NotKnown:
                pass
            except Unanswerable as error:
                raise unanswerable(error) from None
            else:
                self.cached_count += 1
                return answered
        return await self._together.ask((question, consistency))

    async def batch(
        self, questions: Sequence[Question], consistency: Consistency
    ) -> tuple[list[Answered | DomainError], str]:
        """Answer many questions on one snapshot; give its horizon too."""
        warm = self._warm(consistency)
        if warm is not None:
            horizon = self._horizon()
            known = await self._batch_from_cache(warm, questions)
            if known is not None:
                self.cached_count += len(known)
                return known, horizon
        found, results = await self._cold(questions)
        require_history(found, consistency)
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
            feed.nudge()  # the next one who has seen that write
            return None
        model_id = self._cache.model_id
        return self._plans.peek(model_id) if model_id is not None else None

    def _from_cache(self, model: PreparedModel, question: Question) -> Answered:
        """Answer at the snapshot that the cache is at; by an earlier horizon if the answer was kept since then."""
        key = (question.subject, question.relation, question.object)
        may_be_kept = not question.context and not question.contextual
        if may_be_kept and (kept := self._kept.get(key)) is not None:
            return kept
        cache = self._cache
        disabled = False
        for account in account_of(question.subject):
            known = cache.is_disabled(account)
            if known is None:
                raise NotKnown
            disabled = known
        now = self._clock()
        answer = self._evaluate(model.plan, cache.reader, question, now)
        answered = self._answered(answer, question, disabled=disabled, horizon=self._horizon(), now=now)
        if may_be_kept and self._feed.visible is not None:
            self._kept.put(key, answered, horizon=self._feed.visible.xmin)
        return answered

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

    async def _cold_round(self, asked: Sequence[tuple[Question, Consistency]]) -> list[Answered | Exception]:
        """Answer questions of several callers. Each may ask for another freshness, and all get what is there now."""
        found, results = await self._cold([question for question, _ in asked])
        answers: list[Answered | Exception] = list(results)
        for number, (_, consistency) in enumerate(asked):
            try:
                require_history(found, consistency)
            except RevisionUnknown as error:
                answers[number] = error
        return answers

    async def _cold(self, questions: Sequence[Question]) -> tuple[Gathered, list[Answered | DomainError]]:
        self.cold_count += len(questions)

        async def answer(model: PreparedModel) -> tuple[Gathered, tuple[Gathered, list[Answered | DomainError]]]:
            asked = Asked.of(model, questions, strict=False)
            try:
                found = await self.gather(model, asked)
                results = await self._evaluate_all(model, found, questions)
            except LimitMet:
                if len(questions) == 1:
                    raise
                found, results = await self._in_parts(model, questions)
            return found, (found, results)

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

    async def gather(self, model: PreparedModel, asked: Asked) -> Gathered:
        """Gather what checks need, on a snapshot of its own, and let the cache have it."""
        try:
            rows = await self._database.gather(asked.statement, asked.parameters())
        except TimedOut:
            raise ResolutionLimit(Limit.TIME.value, TOO_SLOW) from None
        found = await asyncio.to_thread(asked.read, rows) if size_of(rows) > _IN_THREAD else asked.read(rows)
        if found.size >= MAX_ROWS:
            raise LimitMet(Limit.WORK, TOO_MUCH)
        if found.model_id == model.model_id:
            self._cache.offer(found)
        return found

    async def _in_parts(
        self, model: PreparedModel, questions: Sequence[Question]
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
                    found = asked.read(await gatherer.gather(asked.statement, asked.parameters()))
                except TimedOut:
                    raise ResolutionLimit(Limit.TIME.value, TOO_SLOW) from None
                if found.size < MAX_ROWS:
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
