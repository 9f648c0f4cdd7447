"""Where an answer stands in the database's history: what makes caching it safe (DESIGN.md section 2).

The columns are selected in the same statement as the rows that the answer rests on, so that both come from one
snapshot.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Text, cast, func, select

from watchword.server.storage.tables import deployment

EPOCH = select(deployment.c.epoch).scalar_subquery().label("epoch")
"""The identity of the database's history."""

HORIZON = cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger).label("horizon")
"""The oldest transaction that was still running: every one before it is seen by the snapshot."""

XID = cast(cast(func.pg_current_xact_id(), Text), BigInteger).label("xid")
"""The id of this transaction, which writes."""

FROZEN: Final = 2
"""PostgreSQL's own id of transactions that are before all others: here of those before the epoch."""


@dataclass(frozen=True, slots=True)
class Visible:
    """Which transactions a snapshot sees, as pg_snapshot has it.

    On one primary the snapshots of a history are ordered: a later one sees all that an earlier one sees.
    """

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Visible":
        """Read PostgreSQL's text form."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int) -> bool:
        """Whether what a transaction committed is visible."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    def covers(self, other: "Visible") -> bool:
        """Whether all is visible that is in another snapshot."""
        return self.xmax >= other.xmax and not any(other.sees(xid) for xid in self.running)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot's epoch and horizon; as text "<epoch>.<horizon>"."""

    epoch: str
    horizon: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.horizon}"
