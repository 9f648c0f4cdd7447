"""Lists of objects and subjects, and explanations: answered on one fresh snapshot each, and complete.

*Every list equals the set of its checks.* So a list is computed as a whole, whatever the size of its pages, and on one
snapshot; the further pages are put by for some minutes, since the database keeps no past to read them from later.
Lists are not answered from the cache: it holds nodes, and a list needs to know that it has seen all of them.
"""

import asyncio
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final, TypeVar
from uuid import UUID

from watchword.server.asked import (
    TOO_MUCH,
    TOO_SLOW,
    Asked,
    Consistency,
    Question,
    account_of,
    require_fit,
    require_history,
    require_names,
    through,
)
from watchword.server.errors import InvalidPageToken, ResolutionLimit, TimedOut
from watchword.server.identifiers import Clock
from watchword.server.kept_answers import NOT_TO_BE_KEPT, Standings
from watchword.server.permissions.answers import Limit, LimitMet, Limits, Listing
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.explain import Explanation
from watchword.server.permissions.known import NotKnown
from watchword.server.permissions.names import WILDCARD
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import MAX_NODES
from watchword.server.plans import PreparedModel
from watchword.server.questions import Questions
from watchword.server.storage.database import Database, Gatherer
from watchword.server.storage.gather import GATHER_MEMBERS, GATHER_OBJECTS, gather_for
from watchword.server.storage.gathered import (
    Gathered,
    account_parameters,
    backward_parameters,
    forward_parameters,
    gathered,
    gathered_members,
    gathered_objects,
    names_of,
    size_of,
)

MAX_LISTED: Final = 300_000
"""Relationships gathered for one list."""
LIST_IS_KEPT: Final = timedelta(minutes=10)
PAGE_ENTRIES: Final = 1_000
"""Entries of a list in one row of those that are put by."""
_IN_THREAD: Final = 2_000
"""From so many relationships on, a list is computed beside the event loop."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asking:
    """What comes with a question for a list: values, and relationships that count for it only."""

    context: dict[str, Any] = field(default_factory=dict)
    contextual: Sequence[Relationship] = ()


@dataclass(frozen=True, slots=True)
class _Objects:
    """A question for a list of objects."""

    subject: str
    relation: str
    type: str
    asking: Asking


@dataclass(frozen=True, slots=True)
class Listed:
    """A list with what it stands on."""

    listing: Listing
    standings: Standings


class Listings:
    """Answers lists and explanations."""

    def __init__(self, database: Database, questions: Questions, *, clock: Clock) -> None:
        self._database = database
        self._questions = questions
        self._clock = clock
        self._limits = Limits()

    # ----- objects ----------------------------------------------------------------------------------------------------

    async def objects(
        self, subject: str, relation: str, object_type: str, asking: Asking, consistency: Consistency
    ) -> Listed:
        """List all objects of a type to which a subject has a relation."""
        asked = _Objects(subject, relation, object_type, asking)

        async def answer(model: PreparedModel) -> tuple[Gathered, Listed]:
            plan = model.plan
            plan.require_type(object_type, field="object_type")
            plan.require_relation(object_type, relation)
            plan.require_subject(subject)
            require_fit(plan, asking.contextual)
            try:
                rows = await self._database.gather(GATHER_OBJECTS, self._backward(model, asked))
                found = await _beside(size_of(rows), lambda: gathered_objects(rows, account_of(subject)))
                _require_bounds(found, consistency)
                listing = await self._list_objects(model, found, asked)
            except NotKnown:
                # A definition or a condition asks for more than the way to a candidate.
                async with self._database.gathering() as gatherer:
                    found = await self._gather_candidates(gatherer, model, asked)
                    _require_bounds(found, consistency)
                    listing = await self._list_objects(model, found, asked)
            if subject in found.disabled:
                listing = replace(listing, names=(), conditional={})
            return found, self._listed(listing, found, account_of(subject), asking)

        return await self._in_time(answer)

    @staticmethod
    def _backward(model: PreparedModel, asked: _Objects) -> dict[str, Any]:
        name, _, entry = asked.subject.partition("#")
        starts = [(name, entry), *((other, "") for other in names_of(asked.subject)[1:])]
        steps = model.backward((asked.type, asked.relation))
        for row in asked.asking.contextual:
            starts.append((row.object, row.relation))
            type_ = row.object.partition(":")[0]
            starts += [(row.object, step[4]) for step in steps.followed if (step[3], step[2]) == (type_, row.relation)]
        values = backward_parameters(steps, list(dict.fromkeys(starts)), limit=MAX_LISTED)
        return values | account_parameters(account_of(asked.subject))

    async def _gather_candidates(self, gatherer: Gatherer, model: PreparedModel, asked: _Objects) -> Gathered:
        """Gather what lists of objects need, and what a check of each candidate needs, on one snapshot."""
        rows = await gatherer.gather(GATHER_OBJECTS, self._backward(model, asked))
        found = gathered_objects(rows, account_of(asked.subject))
        # Of everything that was met, whatever has the type asked for: whether it has the relation is to be checked.
        everybody = f"{asked.type}:{WILDCARD}"  # may be met as a subject, and is no object
        met = {object_ for object_, _ in found.reached}
        met.update(row.object for rows in found.reverse.values() for row in rows)
        candidates = sorted(name for name in met - {everybody} if name.partition(":")[0] == asked.type)
        contextual = asked.asking.contextual
        checks = [Question(asked.subject, asked.relation, object_, contextual=contextual) for object_ in candidates]
        if checks:
            needed = Asked.of(model, checks)
            values = forward_parameters(needed.steps, needed.starts, needed.subjects, limit=MAX_LISTED)
            rows = await gatherer.gather(needed.statement, values | account_parameters(needed.accounts))
            found.add(gathered(rows, needed.steps, needed.subjects, needed.accounts))
        return found

    async def _list_objects(self, model: PreparedModel, found: Gathered, asked: _Objects) -> Listing:
        engine = Engine(model.plan, found.reader(), now=self._clock(), limits=self._limits)
        return await _beside(
            found.size,
            lambda: engine.list_objects(
                asked.subject,
                asked.relation,
                asked.type,
                context=asked.asking.context,
                contextual=asked.asking.contextual,
            ),
        )

    # ----- subjects ---------------------------------------------------------------------------------------------------

    async def subjects(
        self, object_: str, relation: str, filters: Sequence[str], asking: Asking, consistency: Consistency
    ) -> Listed:
        """List all subjects of some kinds that have a relation to an object."""

        async def answer(model: PreparedModel) -> tuple[Gathered, Listed]:
            plan = model.plan
            plan.asked(relation, object_)
            for subject_filter in filters:
                plan.require_filter(subject_filter)
            require_fit(plan, asking.contextual)
            starts = [(0, object_, relation), *((0, name, entry) for name, entry in through(plan, asking.contextual))]
            targets = frozenset((name.partition(":")[0], entry) for _, name, entry in starts)
            steps = model.forward(targets)
            async with self._database.gathering() as gatherer:
                values = forward_parameters(steps, starts, (), limit=MAX_LISTED) | account_parameters(())
                rows = await gatherer.gather(GATHER_MEMBERS, values)
                found = await _beside(size_of(rows), lambda: gathered_members(rows, steps, ()))
                _require_bounds(found, consistency)
                engine = Engine(plan, found.reader(), now=self._clock(), limits=self._limits)
                listing = await _beside(
                    found.size,
                    lambda: engine.list_subjects(
                        object_, relation, filters, context=asking.context, contextual=asking.contextual
                    ),
                )
                accounts = _accounts((*listing.names, *listing.conditional, *listing.excluded))
                disabled = await self._disabled(gatherer, model, accounts)
            return found, self._listed(_without(listing, disabled), found, accounts, asking)

        return await self._in_time(answer)

    async def _disabled(self, gatherer: Gatherer, model: PreparedModel, accounts: Sequence[str]) -> set[str]:
        """Find out which accounts are disabled: they are denied everything, so no list may name them."""
        values = account_parameters(accounts)
        if not accounts:
            return set()
        steps = model.forward(frozenset())
        rows = await gatherer.gather(gather_for(0), values | forward_parameters(steps, (), (), limit=MAX_LISTED))
        return gathered(rows, steps, (), ()).disabled

    # ----- explanations -----------------------------------------------------------------------------------------------

    async def explain(self, question: Question) -> tuple[Explanation, bool, str]:
        """Check on a fresh snapshot and say why; also whether the account is disabled, and the horizon."""

        async def answer(model: PreparedModel) -> tuple[Gathered, tuple[Explanation, bool, str]]:
            require_names(model.plan, question)
            found = await self._questions.gather(model, Asked.of(model, [question]))
            explanation = Engine(model.plan, found.reader(), now=self._clock(), limits=self._limits).explain(
                question.subject,
                question.relation,
                question.object,
                context=question.context,
                contextual=question.contextual,
            )
            horizon = f"{found.epoch}.{found.visible.xmin}"
            return found, (explanation, question.subject in found.disabled, horizon)

        return await self._questions.on_model_in_force(answer)

    # ----- all --------------------------------------------------------------------------------------------------------

    async def _in_time(self, answer: Callable[[PreparedModel], Any]) -> Listed:
        try:
            return await self._questions.on_model_in_force(answer)
        except TimedOut:
            raise ResolutionLimit(Limit.TIME.value, TOO_SLOW) from None

    def _listed(self, listing: Listing, found: Gathered, accounts: Sequence[str], asking: Asking) -> Listed:
        if asking.contextual or len(accounts) > MAX_NODES:
            return Listed(listing, NOT_TO_BE_KEPT)
        horizon = f"{found.epoch}.{found.visible.xmin}"
        standings = self._questions.standings(listing.nodes, accounts, horizon, listing.until, self._clock())
        return Listed(listing, standings)

    async def put_by(self, entries: Sequence[Sequence[Any]], first: int) -> UUID:
        """Keep the entries of a list from a place on for its further pages."""
        async with self._database.read() as reader:
            list_id = reader.new_id()
            pages = [
                (number, zlib.compress(json.dumps(entries[start : start + PAGE_ENTRIES]).encode(), 1))
                for number, start in enumerate(range(first, len(entries), PAGE_ENTRIES))
            ]
            await reader.list_pages.add(list_id, pages)
        return list_id

    async def fetch(self, list_id: UUID, offset: int, size: int) -> list[list[Any]]:
        """Get entries that were put by: one more than asked for if there are more.

        Raises:
            InvalidPageToken: they are there no longer.

        """
        numbers = range(offset // PAGE_ENTRIES, (offset + size) // PAGE_ENTRIES + 1)
        async with self._database.read() as reader:
            pages = await reader.list_pages.get(list_id, list(numbers), after=reader.now - LIST_IS_KEPT)
        if numbers[0] not in pages:
            raise InvalidPageToken
        entries: list[list[Any]] = []
        for number in numbers:
            if number in pages:
                entries += json.loads(zlib.decompress(pages[number]))
        skipped = offset - numbers[0] * PAGE_ENTRIES
        return entries[skipped : skipped + size + 1]


async def _beside(read: int, work: Callable[[], T]) -> T:
    """Do much work in a thread, so that other calls have their turn; little work at once."""
    return await asyncio.to_thread(work) if read > _IN_THREAD else work()


def _require_bounds(found: Gathered, consistency: Consistency) -> None:
    require_history(found, consistency)
    if found.size >= MAX_LISTED:
        raise LimitMet(Limit.WORK, TOO_MUCH)


def _accounts(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(":*") and account_of(name)]


def _without(listing: Listing, disabled: set[str]) -> Listing:
    if not disabled:
        return listing
    return replace(
        listing,
        names=tuple(name for name in listing.names if name not in disabled),
        conditional={name: missing for name, missing in listing.conditional.items() if name not in disabled},
    )
