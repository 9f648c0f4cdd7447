"""The log as Watch streams read it: what lies between two snapshots.

Neither event ids nor transaction ids are in the order of commits. So what was missed is what one snapshot sees and the
other did not, and not what has higher numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from watchword.server.storage.events import NOT_OF_TOKENS, Change
from watchword.server.storage.snapshot import Visible
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_MAX_CHANGES: Final = 10_000
_MAX_NODES: Final = 50_000
"""Who has missed more than this, or more changes, begins anew: each of thousands of streams holds its own."""
_MAX_TOKEN_NODES: Final = 100_000
_PAGE_EVENTS: Final = 200
_PAGE_BYTES: Final = 1024 * 1024

# As in the index events_of_tokens.
_OF_TOKENS: Final = "nodes <> '{{}}' AND type NOT IN ('{}', '{}')".format(*NOT_OF_TOKENS)
_SEEN: Final = "pg_visible_in_snapshot(xid, CAST(CAST(:visible AS text) AS pg_snapshot))"
_MISSED: Final = f"""
    nodes <> '{{}}' AND {_SEEN} AND NOT pg_visible_in_snapshot(xid, CAST(CAST(:since AS text) AS pg_snapshot))
"""
_XID: Final = "CAST(CAST(xid AS text) AS bigint) AS xid"

# No nodes at all if there are too many.
_CHANGES = Statement(
    text(f"""
SELECT xid, CASE WHEN sum(cardinality(nodes)) OVER () <= {_MAX_NODES} THEN nodes END AS nodes, type
FROM (SELECT {_XID}, nodes, type FROM events WHERE xid >= CAST(CAST(:xmin AS text) AS xid8) AND {_MISSED} LIMIT :limit)
    AS missed
""")  # noqa: S608 - constants of this module
)
# From where on there is something is found by the transaction ids, once; the pages are read in the order of the log.
_EVENTS = Statement(
    text(f"""
WITH missed AS MATERIALIZED (
    SELECT event_id FROM events
    WHERE CAST(:after AS bigint) = 0 AND xid >= CAST(CAST(:xmin AS text) AS xid8) AND {_MISSED}
),
page AS MATERIALIZED (
    SELECT event_id, {_XID}, nodes, type, event_time, actor, objects, organization, payload
    FROM events
    WHERE event_id > CASE CAST(:after AS bigint) WHEN 0 THEN (SELECT min(event_id) - 1 FROM missed) ELSE :after END
        AND {_MISSED}
    ORDER BY event_id LIMIT :limit
),
measured AS (
    SELECT *, count(*) OVER () AS found,
        sum(octet_length(CAST(payload AS text)) + 8 * cardinality(nodes))
            OVER (ORDER BY event_id ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW) AS size_before
    FROM page
)
SELECT event_id, xid, nodes, type, event_time, actor, objects, organization, payload, found
FROM measured WHERE COALESCE(size_before, 0) < :bytes ORDER BY event_id
""")  # noqa: S608 - constants of this module
)
_TOKEN_CHANGES = Statement(
    text(f"""
WITH old AS MATERIALIZED (
    SELECT xid FROM events WHERE {_OF_TOKENS} AND {_SEEN} AND event_time < :cutoff ORDER BY xid DESC LIMIT 1
)
SELECT COALESCE((SELECT CAST(CAST(xid AS text) AS bigint) FROM old), 0) AS floor, e.xid, e.nodes
FROM deployment LEFT JOIN LATERAL (
    SELECT {_XID}, nodes FROM events
    WHERE {_OF_TOKENS} AND {_SEEN} AND events.xid > COALESCE((SELECT old.xid FROM old), '0')
    ORDER BY events.xid DESC LIMIT :limit
) e ON true
""")  # noqa: S608 - constants of this module
)


@dataclass(frozen=True, slots=True)
class Logged:
    """An event, with what it says but for what is personal."""

    event_id: int
    xid: int
    nodes: Sequence[int]
    type: str
    event_time: datetime
    actor: str
    objects: Sequence[str]
    organization: str | None
    payload: Mapping[str, Any]
    found: int
    """How many events there were for the page."""


@dataclass(frozen=True, slots=True)
class TokenChanges:
    """Every change that tokens depend on from a transaction id on."""

    since: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class _Changed:
    xid: int
    nodes: Sequence[int] | None
    type: str


@dataclass(frozen=True, slots=True)
class _TokenChange:
    floor: int
    xid: int | None
    nodes: Sequence[int] | None


class Watched:
    """What lies between snapshots."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def changes(self, since: Visible, visible: Visible) -> list[Change] | None:
        """Read what one snapshot sees and an earlier one did not; None if that is too much."""
        values = {"xmin": since.xmin, "since": str(since), "visible": str(visible), "limit": _MAX_CHANGES + 1}
        rows = await self._reader.all(_Changed, _CHANGES, **values)
        changes = [Change(row.xid, row.nodes, row.type not in NOT_OF_TOKENS) for row in rows if row.nodes is not None]
        return changes if len(changes) == len(rows) <= _MAX_CHANGES else None

    async def events(self, since: Visible, visible: Visible, *, after: int) -> tuple[list[Logged], bool]:
        """Read a page of the same in full, in the order of the log; tell whether it was the last one.

        That is the order of the changes of one relationship or account: an event is written when its rows are locked.
        """
        rows = await self._reader.all(
            Logged,
            _EVENTS,
            xmin=since.xmin,
            since=str(since),
            visible=str(visible),
            after=after,
            limit=_PAGE_EVENTS,
            bytes=_PAGE_BYTES,
        )
        return rows, not rows or (rows[-1].found < _PAGE_EVENTS and len(rows) == rows[-1].found)

    async def token_changes(self, visible: Visible, *, cutoff: datetime) -> TokenChanges:
        """Read what a snapshot sees of changes that tokens depend on: all since one that is older than the cutoff.

        They are cut by transaction ids, which are not in the order of time: what is cut off is below a number, and
        nothing above it is missing. If there are too many, the number is higher.
        """
        rows = await self._reader.all(
            _TokenChange, _TOKEN_CHANGES, visible=str(visible), cutoff=cutoff, limit=_MAX_CHANGES + 1
        )
        floor = rows[0].floor if rows else 0
        changes: list[Change] = []
        size = 0
        for row in rows:
            if row.xid is None or row.nodes is None:
                break
            size += len(row.nodes)
            if len(changes) == _MAX_CHANGES or (changes and size > _MAX_TOKEN_NODES):
                floor = row.xid
                break
            changes.append(Change(row.xid, row.nodes, concerns_tokens=True))
        return TokenChanges(floor + 1, [change for change in changes if change.xid > floor])
