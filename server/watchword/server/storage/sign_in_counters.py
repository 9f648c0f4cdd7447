"""The counters of failed sign-ins: rows, and the statements on them.

What a counter does is said in sign_in_limits.py; here it is done, by single statements, so that any number of servers
agree. Each is its own short transaction, but that a failure is counted in the transaction of its event, and the usual
success with its session (storage.sign_ins). All take the rows in the order of their keys, so that none waits for one
that waits for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, func, select, text

from watchword.server.sign_in_limits import LEASE, Limit
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement, array

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

MAX_ROWS = 1_000_000
"""About 150 MB. Of more, those that would be forgotten first are dropped."""

_c = t.sign_in_counters.c
_ASKED = """
    asked AS MATERIALIZED (
        SELECT key, failures, leak, first_delay, max_delay, resets
        FROM unnest(
            CAST(:keys AS bytea[]), CAST(:failures AS int[]), CAST(:leaks AS interval[]),
            CAST(:first_delays AS interval[]), CAST(:max_delays AS interval[]), CAST(:resets AS bool[])
        ) AS asked (key, failures, leak, first_delay, max_delay, resets)
    )"""
# Not :now, which for another server, or a call that had to wait for its connection, may be a moment to come.
_LONG_AGO = "to_timestamp(0)"
# Of a row `c` at the time :now.
_PENDING = "CASE WHEN c.lease_time > :now THEN c.pending ELSE 0 END"
_DEBT_TIME = "greatest(c.debt_time, :now)"
_ADMITS = f"c.free_time <= :now AND ({_PENDING} = 0 OR {_DEBT_TIME} + {{leak}} <= :now + {{failures}} * {{leak}})"
_COUNT = "ceil(extract(epoch FROM {debt_time} - :now) / extract(epoch FROM a.leak)) - {pending}"
_OF_KEY = "(SELECT {} FROM asked WHERE asked.key = c.key)"

# Looked at first, which writes nothing: refusals are many. The look may be out of date, so the row itself decides.
_RESERVE = Statement(
    text(f"""
    WITH {_ASKED}, seen AS MATERIALIZED (
        SELECT c.free_time, {_ADMITS.format(leak="a.leak", failures="a.failures")} AS admits
        FROM asked a JOIN sign_in_counters c USING (key)
    ), reserved AS (
        INSERT INTO sign_in_counters AS c (key, debt_time, free_time, pending, lease_time)
        SELECT key, :now + leak, {_LONG_AGO}, 1, :lease_time FROM asked
        WHERE NOT EXISTS (SELECT FROM seen WHERE NOT admits)
        ORDER BY key
        ON CONFLICT (key) DO UPDATE SET
            debt_time = {_DEBT_TIME} + {_OF_KEY.format("leak")},
            pending = {_PENDING} + 1,
            lease_time = :lease_time
        WHERE {_ADMITS.format(leak=_OF_KEY.format("leak"), failures=_OF_KEY.format("failures"))}
        RETURNING key
    )
    SELECT ARRAY(SELECT key FROM reserved) AS keys, (SELECT max(free_time) FROM seen) AS free_time
    """)  # noqa: S608  # of constants
)
_LOCKED = """
    locked AS MATERIALIZED (
        SELECT key FROM sign_in_counters WHERE {when} AND key = ANY (CAST(:keys AS bytea[])) ORDER BY key FOR UPDATE
    )"""
_LEFT = f"greatest({_PENDING} - 1, 0)"
_FAIL = Statement(
    text(f"""
    WITH {_ASKED}, {_LOCKED.format(when="true")}
    UPDATE sign_in_counters c
    SET pending = {_LEFT},
        free_time = CASE
            WHEN {_COUNT.format(debt_time=_DEBT_TIME, pending=_LEFT)} < a.failures THEN c.free_time
            ELSE greatest(c.free_time, :now + least(a.max_delay, a.first_delay * power(2, least(
                {_COUNT.format(debt_time=_DEBT_TIME, pending=_LEFT)} - a.failures, 30))))
        END
    FROM asked a JOIN locked USING (key)
    WHERE c.key = a.key
    RETURNING c.key, {_COUNT.format(debt_time=_DEBT_TIME, pending="c.pending")} = a.failures AS reached
    """)  # noqa: S608  # of constants
)
_GIVEN_BACK = f"""
    UPDATE sign_in_counters c
    SET pending = {_LEFT},
        debt_time = CASE WHEN {{succeeded}} AND a.resets THEN :now + {_LEFT} * a.leak ELSE c.debt_time - a.leak END,
        free_time = CASE WHEN {{succeeded}} AND a.resets THEN {_LONG_AGO} ELSE c.free_time END
    FROM asked a JOIN locked USING (key)
    WHERE c.key = a.key
"""  # noqa: S608  # of constants
_GIVE_BACK = Statement(
    text(f"WITH {_ASKED}, {_LOCKED.format(when='true')} {_GIVEN_BACK.format(succeeded=':succeeded')}")
)
SUCCEED: Final = f"{_ASKED}, {_LOCKED}, given_back AS ({_GIVEN_BACK.format(succeeded='true')})"
"""Count a reserved attempt as succeeded, in a statement that does more: `when` something of that came about."""
_FORGET = Statement(text("DELETE FROM sign_in_counters WHERE key = ANY (CAST(:keys AS bytea[]))"))
# Rows that somebody holds are left for the next time: whoever waits here could be waited for.
_DROP_SPENT = Statement(
    delete(t.sign_in_counters).where(
        _c.key.in_(
            select(_c.key)
            .where(_c.debt_time <= bindparam("now"), _c.free_time <= bindparam("now"))
            .with_for_update(skip_locked=True)
        )
    )
)
_HOW_MANY = Statement(select(func.count()).select_from(t.sign_in_counters))
# Chosen once, in a CTE: a subquery would be run anew for each row of a table that was analyzed when it was small, and
# drop all counters.
_first = select(_c.key).order_by(_c.debt_time).limit(bindparam("excess")).with_for_update(skip_locked=True).cte("first")
_DROP_FIRST = Statement(delete(t.sign_in_counters).where(_c.key == _first.c.key))


@dataclass(frozen=True, slots=True)
class Reserved:
    """What came of an attempt to reserve: the counters that were, and when the last of those that refuse is free."""

    keys: list[bytes]
    free_time: datetime | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A counter after a failure."""

    key: bytes
    reached: bool
    """Whether this failure was the first one to be followed by a delay."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A limit, and the key of what it is held against."""

    key: bytes
    limit: Limit


class SignInCounters:
    """The counters."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def reserve(self, counters: Sequence[Counter]) -> Reserved:
        """Reserve one attempt with all counters. With a race some of them may have been reserved, and others not."""
        values = {**values_of(counters), "now": self._reader.now, "lease_time": self._reader.now + LEASE}
        return await self._reader.one(Reserved, _RESERVE, **values) or Reserved([], None)

    async def fail(self, counters: Sequence[Counter]) -> list[Failed]:
        """Count a reserved attempt as failed."""
        return await self._reader.all(Failed, _FAIL, **values_of(counters), now=self._reader.now)

    async def give_back(self, counters: Sequence[Counter], *, succeeded: bool) -> None:
        """Count a reserved attempt no longer; a success also ends the failures before it, where the limit says so."""
        await self._reader.run(_GIVE_BACK, **values_of(counters), now=self._reader.now, succeeded=succeeded)

    async def forget(self, keys: Sequence[bytes]) -> None:
        """Begin anew."""
        await self._reader.run(_FORGET, keys=sorted(keys))

    async def drop(self, *, max_rows: int = MAX_ROWS) -> int:
        """Drop counters that count nothing any longer, and of too many those that come next; return how many."""
        dropped = await self._reader.run(_DROP_SPENT, now=self._reader.now)
        excess = await self._reader.value(_HOW_MANY) - max_rows
        if excess > 0:
            dropped += await self._reader.run(_DROP_FIRST, excess=excess)
        return dropped


def values_of(counters: Sequence[Counter]) -> dict[str, object]:
    """Give the parameters for some counters."""
    limits = [counter.limit for counter in counters]
    return {
        "keys": array(f"\\x{counter.key.hex()}" for counter in counters),
        "failures": array(limit.failures for limit in limits),
        "leaks": array(_interval(limit.leak) for limit in limits),
        "first_delays": array(_interval(limit.first_delay) for limit in limits),
        "max_delays": array(_interval(limit.max_delay) for limit in limits),
        "resets": array(str(limit.resets) for limit in limits),
    }


def _interval(some: timedelta) -> str:
    # No seconds such as 1e-05, and no number beyond 32 bits, which PostgreSQL 14 takes for none.
    return f"{some.days} days {some.seconds} s {some.microseconds} us"
