"""Models of what happened, see `models`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from watchword.client._permission_models import Relationship, RelationshipKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change that happened, see `Client.watch`.

    One that wrote or deleted very many relationships comes in several parts, all of the same `event_id`.
    """

    event_id: int
    """Its number, unique in the history of a database: a restore from a backup begins another history."""
    type: str
    """Its kind, such as "relationships-changed" or "session-revoked"."""
    event_time: datetime
    actor: str
    """Who did it: "user:<id>" or "service:<id>"."""
    objects: tuple[str, ...]
    """What it happened to, as "type:id"; the first is the main one. At most 100."""
    organization_id: str | None
    """The organization that it belongs to."""
    written: tuple[Relationship, ...]
    """Relationships that were written, as they are now."""
    deleted: tuple[RelationshipKey, ...]
    """Relationships that were deleted."""
    facts: Mapping[str, Any] = field(hash=False)
    """Further facts, by kind; nothing personal."""
    revision: str
    """That of the change: a question `at_least` as fresh sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBatch:
    """Events that have become visible together.

    ```python
    for batch in client.watch(since=kept):
        for event in batch.events:
            handle(event)
        keep(batch.checkpoint)
    ```
    """

    events: tuple[Event, ...]
    """The events; those that concern the same relationship or account in the order in which they happened."""
    checkpoint: str
    """Where to go on once these are dealt with. Opaque; up to 8,192 bytes."""
    is_gap: bool
    """Whether events before this batch may be missing, because the history of the database is another one after a
    restore. What was built from events is to be read anew."""
