"""Events as the messages of Watch streams that asked for details."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from watchword.server.api import messages
from watchword.server.permissions.relationships import Relationship
from watchword.server.storage.events import NOT_OF_TOKENS
from watchword.server.storage.watched import Logged
from watchword.v1 import relationships_pb2
from watchword.v1 import watch_pb2 as pb

_MAX_RELATIONSHIPS: Final = 1_000
_MAX_BYTES: Final = 512 * 1024
"""In one message. A relationship alone may have 17 KB, and clients take messages of 4 MiB by default."""
_RELATIONSHIPS: Final = frozenset({"written", "deleted"})

_Told = relationships_pb2.Relationship | relationships_pb2.RelationshipKey


def changes_of(event: Logged, object_types: Collection[str]) -> list[pb.Change]:
    """Write an event, in parts if it is large; nothing if it concerns no object of the types, where such are given."""
    told: list[_Told] = [_written(row) for row in event.payload.get("written", ())]
    told += [_deleted(row) for row in event.payload.get("deleted", ())]
    if object_types:
        # An event names a hundred objects at most, and so not all those of its relationships.
        objects = (*event.objects, *(row.object for row in told))
        if not any(name.partition(":")[0] in object_types for name in objects):
            return []
    return [_change(event, part, number) for number, part in enumerate(_parts(told))]


def messages_of(changes: Sequence[pb.Change], checkpoint: str) -> Iterator[bytes]:
    """Write messages of bounded size; what they lead to stands in the last one."""
    message, size = pb.WatchChanges(), 0
    for change in changes:
        length = change.ByteSize()
        if size and size + length > _MAX_BYTES:
            yield pb.WatchResponse(changes=message).SerializeToString()
            message, size = pb.WatchChanges(), 0
        message.changes.append(change)
        size += length
    if size or checkpoint:
        message.checkpoint = checkpoint
        yield pb.WatchResponse(changes=message).SerializeToString()


def _parts(told: Sequence[_Told]) -> Iterator[list[_Told]]:
    part: list[_Told] = []
    size = 0
    for row in told:
        size += row.ByteSize()
        if part and (len(part) == _MAX_RELATIONSHIPS or size > _MAX_BYTES):
            yield part
            part, size = [], row.ByteSize()
        part.append(row)
    yield part


def _change(event: Logged, told: Sequence[_Told], number: int) -> pb.Change:
    details = pb.ChangeDetails(
        event_id=event.event_id,
        type=event.type,
        event_time=messages.timestamp(event.event_time),
        actor=event.actor,
        objects=event.objects,
        organization_id=(event.organization or "").partition(":")[2],
        written=[row for row in told if isinstance(row, relationships_pb2.Relationship)],
        deleted=[row for row in told if isinstance(row, relationships_pb2.RelationshipKey)],
    )
    facts = {name: value for name, value in event.payload.items() if name not in _RELATIONSHIPS}
    if facts:
        details.facts.update(facts)
    return pb.Change(
        transaction_id=event.xid,
        # All of them with the first part.
        nodes=event.nodes if number == 0 else (),
        concerns_tokens=event.type not in NOT_OF_TOKENS,
        details=details,
    )


def _written(told: str | Mapping[str, Any]) -> relationships_pb2.Relationship:
    """Read a relationship as changes.py tells it."""
    if isinstance(told, str):
        return messages.relationship(Relationship(*_names(told)))
    end = told.get("expire_time")
    return messages.relationship(
        Relationship(
            *_names(told["relationship"]),
            told.get("condition"),
            told.get("context"),
            datetime.fromisoformat(end) if end else None,
        )
    )


def _deleted(told: str) -> relationships_pb2.RelationshipKey:
    object_, relation, subject = _names(told)
    return relationships_pb2.RelationshipKey(object=object_, relation=relation, subject=subject)


def _names(told: str) -> tuple[str, str, str]:
    # An id may hold an "@", but no "#".
    object_, _, rest = told.partition("#")
    relation, _, subject = rest.partition("@")
    return object_, relation, subject
