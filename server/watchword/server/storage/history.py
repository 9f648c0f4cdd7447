"""Which history a database holds, and the epoch that names it (DESIGN.md section 2).

A restored database goes back in time. It gives out transaction ids anew, and what was revoked after the backup is good
again. So nothing that was said before may be taken for said now: revisions, horizons and tokens carry the epoch, and a
restore changes it.

A crash of PostgreSQL does a little of the same. Nothing that was acknowledged is lost, but ids of transactions that had
written nothing, or were rolled back, are given out again: in snapshots and horizons of before they count as seen. It is
noticed by a row of an unlogged table, which is gone after a crash, and a new epoch begins as after a restore.

PostgreSQL tells by itself: a dump that was loaded elsewhere has another system identifier, and a recovery to a point in
time or a failover begins a new timeline. Both are compared whenever a connection is made, before anything is asked on
it, because a connection never leads from one history to another. (Behind PgBouncer it may; there the connection that
listens is made anew, and tells.) What cannot be seen, the files of a backup put back as they were, an operator tells by
`watchword database restored`.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import psycopg
import structlog
from sqlalchemy import BigInteger, Integer, bindparam, exists, func, select, text, true, update
from sqlalchemy.dialects.postgresql import insert

from watchword.server.identifiers import Randomness
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.snapshot import FROZEN
from watchword.server.storage.statement import Statement
from watchword.server.storage.tables import crash_mark, deployment

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader, Tx

_OBJECT: Final = "watchword:deployment"
_IN_RECOVERY: Final = Statement(select(func.pg_is_in_recovery()))
# Not pg_control_checkpoint(): for a while after a failover that still tells the timeline of the last checkpoint.
_ORIGIN: Final = Statement(
    text("""
SELECT deployment.epoch, deployment.system_identifier AS known_system_identifier,
    deployment.timeline_id AS known_timeline_id, control.system_identifier,
    CAST(CAST('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) AS bit(32)) AS integer) AS timeline_id
FROM deployment, pg_control_system() AS control
""")
)
_RENEW: Final = Statement(
    update(deployment)
    .where(deployment.c.epoch == bindparam("seen"))
    .values(
        epoch=bindparam("renewed"),
        system_identifier=func.coalesce(
            bindparam("system_identifier", type_=BigInteger), deployment.c.system_identifier
        ),
        timeline_id=func.coalesce(bindparam("timeline_id", type_=Integer), deployment.c.timeline_id),
    )
)
# A loaded dump may hold many events, and others wait for the one who renews.
_PATIENTLY: Final = Statement(
    select(func.set_config("statement_timeout", "0", True), func.set_config("lock_timeout", "0", True))
)
# The ids in a dump are those of another cluster: here they may still be to come, and the events would be delivered when
# they are. What was before the epoch is before all its snapshots.
_FREEZE: Final = [
    Statement(
        text(
            f"UPDATE {table} SET xid = CAST('{FROZEN}' AS xid8) WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())"  # noqa: S608
        )
    )
    for table in ("events", "answers")
]
_IS_INTACT: Final = Statement(select(exists(select(crash_mark))))
_MARK_INTACT: Final = Statement(insert(crash_mark).values(only=true()).on_conflict_do_nothing())
_NOT_TOLD: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.FeatureNotSupported,
)
_log = structlog.get_logger("watchword.history")


class Restore(StrEnum):
    """How a database came to hold another history."""

    OTHER_CLUSTER = "other_cluster"
    OTHER_TIMELINE = "other_timeline"
    CRASH = "crash"
    TOLD = "told"


class StandbyRefused(psycopg.OperationalError):
    """The database is a standby.

    Threat: it lags behind by nobody knows how much, and what it answers would be called fresh.
    """


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a database's history comes from, and where it came from when the epoch began."""

    epoch: str
    known_system_identifier: int | None
    known_timeline_id: int | None
    system_identifier: int
    timeline_id: int

    @property
    def is_known(self) -> bool:
        """Whether it is still the same."""
        return (self.known_system_identifier, self.known_timeline_id) == (self.system_identifier, self.timeline_id)

    @property
    def restore(self) -> Restore | None:
        """What made it another one; None if it was not known before."""
        if self.known_system_identifier is None or self.is_known:
            return None
        is_other_cluster = self.known_system_identifier != self.system_identifier
        return Restore.OTHER_CLUSTER if is_other_cluster else Restore.OTHER_TIMELINE


class EpochKeeper:
    """Renews the epoch when the database holds another history."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._is_blind = False
        self._saw_standby = False

    async def origin(self, reader: "Reader") -> Origin | None:
        """Ask where the database's history comes from; None if PostgreSQL does not tell.

        Raises:
            StandbyRefused: it is a standby.

        """
        if await reader.value(_IN_RECOVERY):
            if not self._saw_standby:
                self._saw_standby = True
                _log.warning("the database is a standby: waiting for a primary")
            raise StandbyRefused("the database is a standby")
        self._saw_standby = False
        try:
            return await reader.one(Origin, _ORIGIN)
        except _NOT_TOLD as error:
            if not self._is_blind:
                self._is_blind = True
                _log.warning(
                    "restores of this database are not noticed: tell of them by `watchword database restored`",
                    sqlstate=error.sqlstate,
                )
            return None

    @staticmethod
    async def is_intact(reader: "Reader") -> bool:
        """Whether PostgreSQL has not crashed since this was settled."""
        return bool(await reader.value(_IS_INTACT))

    async def settle(self, tx: "Tx", origin: Origin | None) -> None:
        """Remember an origin, under a new epoch if there was another one, or a crash.

        Of several who do this at once, one does.
        """
        restore = origin.restore if origin is not None else None
        # The one who sets the mark: others wait here until it has.
        if await tx.run(_MARK_INTACT) and restore is None:
            restore = Restore.CRASH
        if restore is not None:
            if await self.renew(tx, restore, origin):
                _log.warning("the database holds another history: a new epoch begins", how=restore.value)
        elif origin is not None:
            await tx.run(_RENEW, seen=origin.epoch, renewed=origin.epoch, **_columns(origin))

    async def renew(self, tx: "Tx", restore: Restore, origin: Origin | None = None) -> str | None:
        """Begin a new epoch after the one that was seen; None if that is over already."""
        await tx.run(_PATIENTLY)
        epoch = self._randomness(8).hex()
        seen = origin.epoch if origin is not None else tx.epoch
        if not await tx.run(_RENEW, seen=seen, renewed=epoch, **_columns(origin)):
            return None
        for statement in _FREEZE:
            await tx.run(statement)
        # No node: by the epoch everything falls.
        tx.record(Event(EventType.DATABASE_RESTORED, (_OBJECT,), payload={"how": restore.value, "epoch": epoch}))
        return epoch


def _columns(origin: Origin | None) -> dict[str, int | None]:
    if origin is None:
        return {"system_identifier": None, "timeline_id": None}
    return {"system_identifier": origin.system_identifier, "timeline_id": origin.timeline_id}
