"""May they? The four questions about permissions, answered exactly as OpenFGA's language defines it.

The engine is plain synchronous logic over a `RelationshipReader`: it knows nothing of databases, caches or calls. It is
made for one snapshot and one moment, and costs nothing to make.

How it decides is in `walk` and `sweep`, how lists are found in `lists`, how answers are explained in `explain`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from watchword.server.permissions.answers import Answer, InvalidQuestion, Limits, Listing
from watchword.server.permissions.explain import Explanation, explain
from watchword.server.permissions.ledger import Ledger
from watchword.server.permissions.lists import list_objects, list_subjects
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Overlay, Relationship, RelationshipReader
from watchword.server.permissions.sweep import conclude
from watchword.server.permissions.walk import Walk

_NO_CONTEXT: Final[Mapping[str, Any]] = {}
_DEFAULT_LIMITS: Final = Limits()


class Engine:
    """Answers questions on one model, one snapshot of relationships and one moment.

    All questions take a `context`, the values for conditions' parameters as JSON has them, and `contextual`
    relationships, which count for this question only and hide stored ones of the same object, relation and subject.

    All may raise, besides what they say themselves:
        InvalidQuestion: a name is malformed or not in the model, or it does not allow a contextual relationship.
        ConditionFailed: the answer hangs on a condition that cannot be evaluated.
        LimitMet: the answer lies beyond a limit.
    """

    __slots__ = ("_limits", "_now", "_plan", "_reader")

    def __init__(
        self, plan: Plan, reader: RelationshipReader, *, now: datetime, limits: Limits = _DEFAULT_LIMITS
    ) -> None:
        self._plan = plan
        self._reader = reader
        self._now = now
        self._limits = limits

    def check(
        self,
        subject: str,
        relation: str,
        object_: str,
        *,
        context: Mapping[str, Any] = _NO_CONTEXT,
        contextual: Sequence[Relationship] = (),
    ) -> Answer:
        """Whether a subject has a relation to an object. The subject may be a set or everybody of a type."""
        ledger = self._ledger(self._limits.work, context, contextual)
        asked = self._plan.asked(relation, object_)
        self._plan.require_subject(subject)
        decision, missing = conclude(Walk(ledger, subject, limits=self._limits), object_, asked)
        return Answer(decision, missing, frozenset(ledger.read), ledger.until)

    def list_objects(
        self,
        subject: str,
        relation: str,
        type_: str,
        *,
        context: Mapping[str, Any] = _NO_CONTEXT,
        contextual: Sequence[Relationship] = (),
    ) -> Listing:
        """All objects of a type to which a subject has a relation."""
        ledger = self._ledger(self._limits.list_work, context, contextual)
        self._plan.require_type(type_, field="object_type")
        self._plan.require_relation(type_, relation)
        self._plan.require_subject(subject)
        return list_objects(ledger, subject, relation, type_, limits=self._limits)

    def list_subjects(
        self,
        object_: str,
        relation: str,
        filters: Sequence[str],
        *,
        context: Mapping[str, Any] = _NO_CONTEXT,
        contextual: Sequence[Relationship] = (),
    ) -> Listing:
        """All subjects of some kinds, each `type` or `type#relation`, that have a relation to an object."""
        ledger = self._ledger(self._limits.list_work, context, contextual)
        asked = self._plan.asked(relation, object_)
        for subject_filter in filters:
            self._plan.require_filter(subject_filter)
        return list_subjects(ledger, object_, asked, frozenset(filters), limits=self._limits)

    def explain(
        self,
        subject: str,
        relation: str,
        object_: str,
        *,
        context: Mapping[str, Any] = _NO_CONTEXT,
        contextual: Sequence[Relationship] = (),
    ) -> Explanation:
        """What `check` answers, with its reasons."""
        ledger = self._ledger(self._limits.work, context, contextual)
        asked = self._plan.asked(relation, object_)
        self._plan.require_subject(subject)
        return explain(ledger, subject, object_, asked, limits=self._limits)

    def _ledger(self, work: int, context: Mapping[str, Any], contextual: Sequence[Relationship]) -> Ledger:
        reader = self._reader
        if contextual:
            for index, relationship in enumerate(contextual):
                if misfit := self._plan.misfit(relationship):
                    raise InvalidQuestion(f"contextual_relationships[{index}]", misfit)
            reader = Overlay(reader, contextual)
        return Ledger(self._plan, reader, self._now, work, context)
