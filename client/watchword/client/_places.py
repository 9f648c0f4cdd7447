"""Where a caller that follows events stands, told by the messages of the stream. Pure state, without gRPC."""

from collections.abc import Iterable
from typing import Final

from watchword.client._convert import object_of, time_of
from watchword.client._convert_permissions import relationship, relationship_key
from watchword.client._event_models import Event, EventBatch
from watchword.v1 import watch_pb2

_LONGEST_SILENCE: Final = 10.0
"""Seconds between two pings; the server ends a stream from which it has heard nothing for 30."""
_SILENCE_IN_TIME: Final = 0.4
"""And for each second that an answer may take."""


def silence(timeout: float) -> float:
    """Seconds between two pings: an answer comes before its stream is given up."""
    return min(_LONGEST_SILENCE, timeout * _SILENCE_IN_TIME)


class Place:
    """A place in the log."""

    def __init__(self, since: str | None, object_types: Iterable[str]) -> None:
        self._checkpoint = since or ""
        self._object_types = tuple(object_types)
        self._pings = 0
        self.has_begun = False
        """Whether the server has ever answered."""
        self.has_caught_up = False
        """Whether all has been told that had happened when it began."""

    def start(self) -> watch_pb2.WatchRequest:
        """The first message of a stream: to go on from here."""
        start = watch_pb2.WatchStart(checkpoint=self._checkpoint, include_details=True, object_types=self._object_types)
        return watch_pb2.WatchRequest(start=start)

    def ping(self) -> watch_pb2.WatchRequest:
        """The next ping."""
        self._pings += 1
        return watch_pb2.WatchRequest(ping=watch_pb2.WatchPing(number=self._pings, promptly=not self.has_caught_up))

    def take(self, response: watch_pb2.WatchResponse) -> EventBatch | None:
        """Take a message of the server; give what the caller has to know of it, if anything."""
        kind = response.WhichOneof("response")
        if kind == "started":
            return self._begin(response.started)
        if kind == "resynchronize":
            self._checkpoint = response.resynchronize.started.checkpoint
            return EventBatch(events=(), checkpoint=self._checkpoint, is_gap=True)
        if kind == "changes":
            return self._pass(response.changes)
        if kind == "pong":
            self._checkpoint, self.has_caught_up = response.pong.checkpoint, True
        return None

    def _begin(self, started: watch_pb2.WatchStarted) -> EventBatch | None:
        is_gap = bool(self._checkpoint) and not started.resumed
        is_first = not self.has_begun
        self.has_begun = True
        self._checkpoint = started.checkpoint
        return EventBatch(events=(), checkpoint=self._checkpoint, is_gap=is_gap) if is_first or is_gap else None

    def _pass(self, changes: watch_pb2.WatchChanges) -> EventBatch | None:
        # Of a message in the middle of what becomes visible together the place is still the one before.
        self._checkpoint = changes.checkpoint or self._checkpoint
        epoch = self._checkpoint.partition(".")[0]
        events = tuple(_event(change, epoch) for change in changes.changes)
        return EventBatch(events=events, checkpoint=self._checkpoint, is_gap=False) if events else None


def _event(change: watch_pb2.Change, epoch: str) -> Event:
    told = change.details
    return Event(
        event_id=told.event_id,
        type=told.type,
        event_time=time_of(told.event_time),
        actor=told.actor,
        objects=tuple(told.objects),
        organization_id=told.organization_id or None,
        written=tuple(map(relationship, told.written)),
        deleted=tuple(map(relationship_key, told.deleted)),
        facts=object_of(told.facts),
        revision=f"{epoch}.{change.transaction_id}",
    )
