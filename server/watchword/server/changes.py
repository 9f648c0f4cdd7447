"""Changes of relationships, as events: with all of them, and under the nodes by which answers fall."""

from collections.abc import Sequence

from watchword.server.permissions.built_in import RESERVED
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import Standing
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.relationships import Key
from watchword.server.storage.transaction import Tx

_MAX_ITEMS = 1_000
"""Relationships told in one event."""
_MAX_OBJECTS = 100
_AT_A_TIME = 5_000
"""Relationships deleted by one statement: so many are read, told and forgotten before the next."""


def changed(
    standing: Standing,
    writes: Sequence[Relationship],
    deletes: Sequence[Relationship | Key],
    *,
    deleted: Sequence[Relationship | Key] = (),
    in_bulk: bool = False,
    organization: str | None = None,
) -> Event:
    """Make the event of a change of relationships: with all of it, so that the log can tell any state there was.

    It tells only of those `deleted` that were there; of `deletes`, which were to be, it names the nodes.
    """
    rows: list[Relationship | Key] = [*writes, *deletes]
    # In bulk by one node of each relation: the others would come to the same.
    by_relation = {(row.object.partition(":")[0], row.relation): row for row in rows} if in_bulk else {}
    nodes = {f"{row.object}#{row.relation}" for row in (by_relation.values() if in_bulk else rows)}
    hashes = standing.of_change(nodes, in_bulk=in_bulk)
    # What a service account may do in Watchword is part of what its keys are good for.
    hashes += {standing.plain(row.subject) for row in rows if row.object.startswith(f"{RESERVED}:")}
    payload = {
        "written": list(map(_told, writes)),
        "deleted": [f"{row.object}#{row.relation}@{row.subject}" for row in deleted],
    }
    return Event(
        EventType.RELATIONSHIPS_CHANGED,
        tuple(dict.fromkeys(row.object for row in rows))[:_MAX_OBJECTS],
        hashes=tuple(hashes),
        organization=organization,
        payload={name: told for name, told in payload.items() if told},
    )


def record_deleted(
    tx: Tx, standing: Standing, deleted: Sequence[Relationship | Key], *, organization: str | None = None
) -> None:
    """Record that relationships were deleted, if any were."""
    in_bulk = len(deleted) > _MAX_ITEMS
    for start in range(0, len(deleted), _MAX_ITEMS):
        some = deleted[start : start + _MAX_ITEMS]
        tx.record(changed(standing, (), some, deleted=some, in_bulk=in_bulk, organization=organization))


async def remove_all_about(
    tx: Tx, standing: Standing, names: Sequence[str], *, organization: str | None = None
) -> None:
    """Delete all relationships from and to objects that go for good, however many, and record it."""
    async for deleted in tx.members.remove_about(names, at_a_time=_AT_A_TIME):
        record_deleted(tx, standing, deleted, organization=organization)


def _told(row: Relationship) -> object:
    """A relationship in the usual notation; with all there is to it if it has more."""
    text = f"{row.object}#{row.relation}@{row.subject}"
    if row.condition is None and row.expire_time is None:
        return text
    told: dict[str, object] = {"relationship": text}
    if row.condition is not None:
        told |= {"condition": row.condition, "context": dict(row.context or {})}
    if row.expire_time is not None:
        told["expire_time"] = row.expire_time.isoformat()
    return told
