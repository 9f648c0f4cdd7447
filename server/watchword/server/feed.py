"""The feed of a worker: it follows the event log, and tells the worker's caches what has changed (DESIGN.md section 2).

A notification is a hint to look at the log, never the data; and there is a look every quarter of a second without one.
It goes out after commits and not in them, where it would make all commits wait for each other: the look that follows
a worker's own commit takes it along, for all the other workers.
A look reads all events that have become visible since the last one, whatever their ids: neither sequences nor
transaction ids are in the order of commits, so "id > last" would miss some. It reads them in one statement with its own
snapshot, so after a look the caches are exactly at that snapshot.

The feed knows how old its knowledge is. Caches are not used once that is older than a second: the database is asked, or
nobody is.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import structlog
from sqlalchemy import text

from watchword.server.errors import DatabaseUnavailable, DomainError
from watchword.server.incidents import describe
from watchword.server.storage.database import Database
from watchword.server.storage.events import NOT_OF_TOKENS, Change
from watchword.server.storage.snapshot import Visible
from watchword.server.storage.statement import Statement

_CHANNEL: Final = "watchword"
_LOOK_SECONDS: Final = 0.25
_STALE_SECONDS: Final = 1.0
_BREATH_SECONDS: Final = 0.008
"""Between two looks: what happens meanwhile is read by one, and told by one notification."""
_RECONNECT_SECONDS: Final = 0.5
_MAX_EVENTS: Final = 10_000
_MAX_RECENT_NODES: Final = 200_000
"""More of either in one look, and it is cheaper to forget than to find out what."""

_SINCE: Final = f"""
SELECT CAST(pg_current_snapshot() AS text) AS visible, deployment.epoch, CAST(CAST(e.xid AS text) AS bigint),
    CASE WHEN sum(cardinality(e.nodes)) OVER () <= {_MAX_RECENT_NODES} THEN e.nodes END, e.type
FROM deployment LEFT JOIN LATERAL (
    SELECT xid, nodes, type FROM events
    WHERE xid >= CAST(CAST(:xmin AS text) AS xid8)
        AND NOT pg_visible_in_snapshot(xid, CAST(CAST(:visible AS text) AS pg_snapshot)) AND nodes <> '{{}}'
    LIMIT :limit
) e ON true
WHERE (SELECT "only" FROM crash_mark)
"""  # noqa: S608 - constants of this module
_LOOK: Final = Statement(text(_SINCE))
_LOOK_AND_TELL: Final = Statement(text(f"{_SINCE} AND (SELECT pg_notify(:channel, :worker)) IS NOT NULL"))
_FIRST_LOOK: Final = Statement(
    text(
        "SELECT CAST(pg_current_snapshot() AS text) AS visible, epoch, NULL, NULL, NULL FROM deployment "
        'WHERE (SELECT "only" FROM crash_mark)'
    )
)
_log = structlog.get_logger("watchword.feed")


class Follower(Protocol):
    """A cache that follows the feed."""

    def apply(self, changes: Sequence[Change], visible: Visible) -> None:
        """Drop what the changes name: all that has become visible since the call before."""

    def forget(self, visible: Visible | None, epoch: str) -> None:
        """Drop everything: what has changed is not known. From here on the history is that of `epoch`."""


class Recent:
    """The changes delivered lately: what decides whether an answer may still enter a cache.

    It may if no change at or after its horizon names one of its nodes. What is older than what is remembered here may
    not.
    """

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._last: dict[int, int] = {}
        self._floor = 0
        self._size = 0
        self.count = 0
        """How many changes there have been: as long as it is the same, so is what `permits` says."""

    def add(self, change: Change) -> None:
        """Note a change."""
        self.count += 1
        self._changes.append(change)
        self._size += len(change.nodes) + 1
        for node in change.nodes:
            if self._last.get(node, 0) < change.xid:
                self._last[node] = change.xid
        while self._size > _MAX_RECENT_NODES:
            oldest = self._changes.popleft()
            self._size -= len(oldest.nodes) + 1
            self._floor = max(self._floor, oldest.xid)
            for node in oldest.nodes:
                if self._last.get(node) == oldest.xid:
                    del self._last[node]

    def permits(self, nodes: Iterable[int], horizon: int) -> bool:
        """Whether an answer with these nodes, computed at this horizon, may be kept."""
        if horizon <= self._floor:
            return False
        last = self._last
        for node in nodes:  # noqa: SIM110 - no generator: asked of every node of every answer
            if last.get(node, 0) >= horizon:
                return False
        return True

    def forget(self, visible: Visible | None) -> None:
        """Forget all changes up to a snapshot. What may have missed one of them is not permitted any more."""
        self.count += 1
        self._changes.clear()
        self._last.clear()
        self._size = 0
        self._floor = visible.xmax - 1 if visible is not None else 0


class Feed:
    """Follows the log for a worker's caches."""

    def __init__(self, database: Database, *, worker: str) -> None:
        """Make one for a worker whose name no other one has."""
        self._database = database
        self._worker = worker
        self._followers: list[Follower] = []
        self._visible: Visible | None = None
        self._epoch = ""
        self._looked = float("-inf")
        self._begun = 0
        self._look = asyncio.Event()
        self._has_changed = False
        self.recent = Recent()
        self.completed = 0
        """The number of the last look of which the followers have been told."""

    def follow(self, follower: Follower) -> None:
        """Tell a cache from now on."""
        self._followers.append(follower)
        follower.forget(self._visible, self._epoch)

    @property
    def is_fresh(self) -> bool:
        """Whether the caches are at most a second behind the database."""
        return time.monotonic() - self._looked < _STALE_SECONDS

    @property
    def lag_seconds(self) -> float:
        """How old what the caches know is; infinite if they know nothing."""
        return time.monotonic() - self._looked

    @property
    def visible(self) -> Visible | None:
        """The snapshot that the caches are at."""
        return self._visible

    @property
    def epoch(self) -> str:
        """The history that the snapshot is of."""
        return self._epoch

    @property
    def next_look(self) -> int:
        """The number of the first look that has not begun yet: it will see all that is committed by now."""
        return self._begun + 1

    def nudge(self) -> None:
        """Look soon: something waits for the caches to be newer."""
        self._look.set()

    def changed(self, change: Change) -> None:
        """Take what this worker has committed itself for delivered, and tell all workers to look.

        So whoever hears from a worker that a key is revoked is not let in by it with that key, not even by the next
        call. The look that sees the change delivers it again, which does no harm; unless it was faster.

        One that names no node, as a session that begins or goes on, makes no answer another one, and nobody is told.
        Who wants to be past it all the same asks for a look.
        """
        if not change.nodes:
            return
        if self._visible is not None and not self._visible.sees(change.xid):
            self.recent.add(change)
            for follower in self._followers:
                follower.apply((change,), self._visible)
        self._has_changed = True
        self._look.set()

    def forget(self) -> None:
        """Drop all that is cached: the database was changed past the log, as tests do."""
        self._visible = None
        self._looked = float("-inf")
        self._tell_to_forget()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_looking())
            tasks.create_task(self._keep_listening())

    async def look(self) -> None:
        """Bring the caches to a new snapshot."""
        started = time.monotonic()
        self._begun = number = self._begun + 1
        before = self._visible
        if before is None:
            rows = await self._database.gather(_FIRST_LOOK, {})
        else:
            values = {"xmin": before.xmin, "visible": str(before), "limit": _MAX_EVENTS + 1}
            if self._has_changed:
                # If it fails, the others find out by their own looks.
                self._has_changed = False
                rows = await self._database.gather(
                    _LOOK_AND_TELL, values | {"channel": _CHANNEL, "worker": self._worker}
                )
            else:
                rows = await self._database.gather(_LOOK, values)
        if self._visible is not before:
            return  # told to forget meanwhile
        if not rows:
            raise DatabaseUnavailable  # it has crashed, and no new epoch has begun yet (storage/history.py)
        visible, epoch = Visible.parse(rows[0][0]), rows[0][1]
        changes = [
            Change(xid, nodes, type_ not in NOT_OF_TOKENS) for _, _, xid, nodes, type_ in rows if nodes is not None
        ]
        is_too_much = len(changes) > _MAX_EVENTS or (not changes and rows[0][2] is not None)
        self.completed = number
        if before is None or epoch != self._epoch or is_too_much:
            self._visible, self._epoch = visible, epoch
            self._tell_to_forget()
        else:
            self._visible = visible
            for change in changes:
                self.recent.add(change)
            for follower in self._followers:
                follower.apply(changes, visible)
        self._looked = started

    def _tell_to_forget(self) -> None:
        self.recent.forget(self._visible)
        for follower in self._followers:
            follower.forget(self._visible, self._epoch)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except DomainError:
                pass  # the database is away: the caches go stale by themselves
            except Exception as error:  # noqa: BLE001  # it must go on, whatever went wrong this time
                _log.error("look failed", **describe(error))
            await asyncio.sleep(_BREATH_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._look.wait()
            self._look.clear()

    async def _keep_listening(self) -> None:
        while True:
            try:
                connection = await self._database.listen(_CHANNEL)
                try:
                    self._look.set()
                    async for notification in connection.notifies():
                        if notification.payload != self._worker:
                            self._look.set()
                finally:
                    await connection.close()
            except DomainError:
                pass
            except Exception as error:  # noqa: BLE001  # it must go on, whatever went wrong this time
                _log.warning("listening ended", **describe(error))
            await asyncio.sleep(_RECONNECT_SECONDS)
