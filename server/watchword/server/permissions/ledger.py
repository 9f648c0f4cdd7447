"""What all walks for one answer have in common: what they read, when it ends, and how much more they may do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from watchword.server.permissions.answers import ConditionFailed, Limit, LimitMet
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship, RelationshipReader
from watchword.server.permissions.rewrites import NO, OPEN, YES, Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a relationship's condition comes to: holds or not, or is open for want of parameters, or as it failed."""

    verdict: Verdict
    missing: tuple[str, ...] = ()
    failure: str | None = None


class Ledger:
    """The account of one answer: its means and its limits."""

    __slots__ = ("_outcomes", "context", "now", "plan", "read", "reader", "until", "work")

    def __init__(
        self, plan: Plan, reader: RelationshipReader, now: datetime, work: int, context: Mapping[str, Any]
    ) -> None:
        self.plan: Final = plan
        self.reader: Final = reader
        self.now: Final = now
        self.context: Final = context
        self.work = work
        self.read: Final[set[str]] = set()
        self.until: datetime | None = None
        self._outcomes: dict[tuple[str, str], Outcome] | None = None

    def holds(self, row: Relationship, allowed: frozenset[str | None]) -> Verdict:
        """Whether a relationship counts, given the conditions that the model lets it have."""
        self.work -= 1
        if self.work < 0:
            self.exhausted()
        condition = row.condition
        if condition not in allowed:
            return NO
        if (expire_time := row.expire_time) is not None:
            if expire_time <= self.now:
                return NO
            if self.until is None or expire_time < self.until:
                self.until = expire_time
        return YES if condition is None else self.outcome(row).verdict

    def outcome(self, row: Relationship) -> Outcome:
        """What the condition of a relationship comes to; it has one, and the model knows it."""
        if self._outcomes is None:
            self._outcomes = {}
        key = (row.node, row.subject)
        if (outcome := self._outcomes.get(key)) is None:
            outcome = self._outcomes[key] = self._evaluate(row)
        return outcome

    def _evaluate(self, row: Relationship) -> Outcome:
        # What is stored goes before what is asked with: who asks must not be able to widen a grant.
        context = {**self.context, **row.context} if row.context else self.context
        try:
            result = self.plan.conditions[row.condition or ""].evaluate(context)
        except ConditionFailed as error:
            return Outcome(OPEN, failure=str(error))
        if isinstance(result, bool):
            return Outcome(YES if result else NO)
        return Outcome(OPEN, missing=result)

    def spend(self) -> None:
        """Count one step of work.

        Raises:
            LimitMet: there have been too many.

        """
        self.work -= 1
        if self.work < 0:
            self.exhausted()

    @staticmethod
    def exhausted() -> NoReturn:
        """Raise for too much work."""
        message = "The answer needs more relationships to be read than the limit allows: ask a narrower question."
        raise LimitMet(Limit.WORK, message)
