"""The two doors to PostgreSQL, `read()` and `write(call)`; what is behind them is in transaction.py.

What callers do not see: the pools, the translation of PostgreSQL's errors into ours, the sealing of personal values,
and the numbers that make caching safe (DESIGN.md section 2): a write's `revision` and the `horizon` of what it read.

Reads are single statements in autocommit, each its own snapshot; `read(one_snapshot=True)` holds a
REPEATABLE READ snapshot over several.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import psycopg_pool
from google.protobuf.message import Message
from psycopg import AsyncConnection, IsolationLevel
from psycopg.rows import tuple_row

from watchword.server.call import Call, server_call
from watchword.server.errors import DatabaseUnavailable
from watchword.server.identifiers import Clock, Randomness, uuid7
from watchword.server.sealing import Keyring, Sealer, new_person_key
from watchword.server.storage.answers import Answers, answer_row
from watchword.server.storage.at_once import as_json
from watchword.server.storage.event_rows import event_row, sealed, sealer_of
from watchword.server.storage.events import NOT_OF_TOKENS, Change, Event, EventType
from watchword.server.storage.failures import DEATHS, OUR_LIMITS, translated
from watchword.server.storage.history import EpochKeeper
from watchword.server.storage.statement import Statement
from watchword.server.storage.transaction import Reader, Tx
from watchword.server.storage.user_imports import Sealed

# Per connection. A statement or a forgotten transaction must not hold back the horizon of the whole database
# (DESIGN.md section 2: own transactions have short timeouts). A lock is waited for three times (pipeline.py), so
# that the caller hears CONFLICT before its own deadline, which is 10 seconds in the SDK. Every statement that is asked
# often has an index; a plan that was made while a table was small, and reads all of it, would live on in a prepared
# statement while the table grows to millions, until PostgreSQL happens to analyse it. A scan that is made all the same,
# as of a table with one row, then counts as costly enough to be compiled: without jit=off that takes 150 ms a statement
# where PostgreSQL has LLVM, as Debian's has.
_SESSION_OPTIONS = (
    "-c timezone=UTC -c statement_timeout=10s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s "
    "-c enable_seqscan=off -c jit=off"
)
# A host that is gone without a word is given up after these seconds, not after the quarter of an hour that TCP takes.
_CONNECTION: Mapping[str, Any] = {
    "autocommit": True,
    "options": _SESSION_OPTIONS,
    "connect_timeout": 3,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
# For the statements of `gather`: their plans do not hang on the values, and to make one costs more than to run it.
_QUESTION_OPTIONS = f"{_SESSION_OPTIONS} -c statement_timeout=3s -c plan_cache_mode=force_generic_plan"
# How long a call waits for a connection while there is hope, and while the database is known to be away: short, so
# that all attempts of a caller end before its deadline and it learns the reason.
_PATIENCE_SECONDS = 3.0
_PATIENCE_WHEN_AWAY_SECONDS = 0.5
_PING_SECONDS = 2.0


@asynccontextmanager
async def _one_snapshot(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    await connection.set_read_only(True)
    try:
        async with connection.transaction():
            yield
    finally:
        if not connection.closed:
            await connection.set_isolation_level(None)
            await connection.set_read_only(None)


async def _rows(
    connection: AsyncConnection[Any], statement: Statement, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(statement.sql, values)
        return await cursor.fetchall()


class Gatherer:
    """One snapshot, for several statements of `gather`."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def gather(self, statement: Statement, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement on the snapshot."""
        return await _rows(self._connection, statement, values)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a call that writes: an event to the log; to its caller an answer, which gets its revision."""

    call: Call
    event: Event
    answer: Message
    personal_sealed: bytes | None = None
    """What the event says of a person (`Database.seal_personal`); nothing personal is told without it."""


class Database:
    """PostgreSQL, as the server uses it."""

    def __init__(self, url: str, *, pool_size: int, keyring: Keyring, clock: Clock, randomness: Randomness) -> None:
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness
        self._url = url
        self._person_keys = keyring.sealer("person_keys")
        self._epochs = EpochKeeper(randomness)
        self._pool = self._make_pool(pool_size - pool_size // 2, _CONNECTION)
        self._questions = self._make_pool(
            max(2, pool_size // 2), {**_CONNECTION, "options": _QUESTION_OPTIONS, "prepare_threshold": 0}
        )
        self._is_away = False
        self._sweep: asyncio.Task[None] | None = None
        self.on_commit: Callable[[Change], None] = lambda _: None
        """Called after each commit of a write, with what it changed."""

    def _make_pool(
        self, size: int, options: Mapping[str, Any]
    ) -> "psycopg_pool.AsyncConnectionPool[AsyncConnection[Any]]":
        return psycopg_pool.AsyncConnectionPool(
            self._url,
            kwargs=dict(options),
            min_size=min(2, size),
            max_size=size,
            # The pool's own attempts grow rare. Instead they are given up at once, and whoever needs a connection,
            # at the latest the next ping, starts a new one: the database is found as soon as it is back.
            reconnect_timeout=_PATIENCE_WHEN_AWAY_SECONDS,
            reconnect_failed=self._note_absence,
            configure=self._recognise,
            open=False,
        )

    def seal_for_new(self, created: datetime, personal: Mapping[str, str], call: Call) -> Sealed:
        """Make id and key of a user who is about to be created by a call, and seal what the event will say of them.

        Before the transaction, and not in it as for one user: for a thousand that is a third of the time it would take.
        """
        user_id = uuid7(created, self._randomness)
        name = str(user_id)
        key = new_person_key(self._randomness)
        sealer = Sealer.from_key(key, randomness=self._randomness)
        told = sealed(sealer, personal, call, EventType.USER_CREATED, name)
        return Sealed(user_id, name, self._person_keys.seal(key, context=name), told)

    def seal_personal(self, event: Event, call: Call, key_sealed: bytes) -> bytes | None:
        """Seal what an event says of its person under their key, for `write_at_once`."""
        if event.person is None or not any(event.personal.values()):
            return None
        sealer = sealer_of(event.person, key_sealed, self._person_keys, self._randomness)
        return sealed(sealer, event.personal, call, event.type, event.person)

    def new_id(self) -> UUID:
        """Make an id, of now."""
        return uuid7(self._clock(), self._randomness)

    async def open(self) -> None:
        """Connect.

        Raises:
            DatabaseUnavailable: nothing answers at the URL.

        """
        # By a connection of its own at first: after a large dump was loaded it takes longer than the pool waits.
        with suppress(psycopg.OperationalError):
            async with await AsyncConnection.connect(self._url, **_CONNECTION) as connection:
                await self._recognise(connection)
        with translated():
            await self._pool.open(wait=True, timeout=10.0)
            await self._questions.open(wait=True, timeout=10.0)

    async def _recognise(self, connection: AsyncConnection[Any]) -> None:
        """See to it, before a connection is used, that the epoch is that of the history it leads to."""
        tx = Tx(connection, self._clock, self._randomness, self._keyring, server_call("server/recognise"))
        origin = await self._epochs.origin(tx)
        if (origin is None or origin.is_known) and await self._epochs.is_intact(tx):
            return
        async with connection.transaction():
            await tx.open()
            await self._epochs.settle(tx, origin)
            await tx.close()

    async def close(self) -> None:
        """Give all connections back."""
        if self._sweep is not None:
            await asyncio.gather(self._sweep, return_exceptions=True)
        await self._questions.close()
        await self._pool.close()

    def pool_stats(self) -> dict[str, dict[str, int]]:
        """Tell how the pools do, in the words of psycopg_pool."""
        return {"calls": self._pool.get_stats(), "questions": self._questions.get_stats()}

    async def ping(self) -> None:
        """Make sure that the database answers.

        Raises:
            DatabaseUnavailable: it does not.

        """
        try:
            async with (
                asyncio.timeout(_PING_SECONDS),
                self._connected(patience=_PATIENCE_WHEN_AWAY_SECONDS) as connection,
            ):
                await connection.execute("SELECT 1")
        except TimeoutError as error:
            self._is_away = True
            raise DatabaseUnavailable from error
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, psycopg_pool.PoolTimeout) and not self._is_away:
                return  # All connections are busy, and none was lost.
            self._is_away = True
            raise
        self._is_away = False

    def now(self) -> datetime:
        """Tell the time, by the clock of all that is written."""
        return self._clock()

    def read(self, *, one_snapshot: bool = False) -> AbstractAsyncContextManager[Reader]:
        """Open the door for reading.

        Raises (here and at every statement inside):
            DatabaseUnavailable, TimedOut

        """
        return self._snapshot_reader() if one_snapshot else self._reader()

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[Reader]:
        async with self._connected() as connection:
            yield Reader(connection, self._clock, self._randomness)

    @asynccontextmanager
    async def _snapshot_reader(self) -> AsyncIterator[Reader]:
        async with self._connected() as connection, _one_snapshot(connection):
            yield Reader(connection, self._clock, self._randomness)

    @asynccontextmanager
    async def write(self, call: Call) -> AsyncIterator[Tx]:
        """Open the door for writing: one READ COMMITTED transaction, committed when the block ends well.

        The block does no network calls and no hashing. Rows that decide are locked by the repositories.

        Raises (here and at every statement inside):
            AlreadyExists: a value that must be unique is taken.
            AnswerExists: a call with the same request id has committed meanwhile.
            Conflict: a deadlock or a lock that did not come; worth another try as a whole.
            DatabaseUnavailable, TimedOut

        """
        async with self._connected() as connection:
            tx = Tx(connection, self._clock, self._randomness, self._keyring, call)
            async with connection.transaction():
                await tx.open()
                yield tx
                await tx.close()
        self.on_commit(tx.change)

    async def write_at_once(
        self, statement: Statement, values: Mapping[str, Any], told: Sequence[Told], *, may_wait: bool = False
    ) -> Collection[int]:
        """Write by one statement that holds all: the change, its events and the answers.

        One round trip and one transaction, where `write` takes seven trips; of one call or of several. The statement
        takes what `told` says of each under its number, the answers of those calls that have a request id, and gives
        the epoch, the transaction's id, and what it did. `may_wait` says that it waits for rows that many calls change,
        and transactions of several trips: then it does not take a connection from those who only ask.

        Returns:
            The numbers of those whose part was done; their answers have their revision.

        Raises:
            As `write`. Nobody's part is written then.

        """
        now = self._clock()
        events = [
            {"number": number, **event_row(each.event, each.call, now), "personal_sealed": each.personal_sealed}
            for number, each in enumerate(told)
        ]
        answers = [
            {"number": number, **answer_row(self._keyring, each.call, each.answer, now)}
            for number, each in enumerate(told)
            if each.call.idempotency_key
        ]
        parameters = {**values, "events": as_json(events), "answers": as_json(answers)}
        # By the pool for questions if nobody waits there: to plan such a statement costs as much as to run it.
        async with self._connected(self._pool if may_wait else self._questions) as connection:
            ((epoch, xid, found),) = await _rows(connection, statement, parameters)
        done: Collection[int] = range(len(told)) if found is True else found or ()
        if done:
            nodes = [hash_ for number in done for hash_ in events[number]["nodes"]]
            concerns_tokens = any(told[number].event.type not in NOT_OF_TOKENS for number in done)
            self.on_commit(Change(xid, nodes, concerns_tokens))
        for number in done:
            told[number].answer.revision = f"{epoch}.{xid}"  # type: ignore[attr-defined]  # mutations answer with one
        return done

    async def gather(self, statement: Statement, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Run a statement of `gather`, on a snapshot of its own."""
        async with self._connected(self._questions) as connection:
            return await _rows(connection, statement, values)

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator["Gatherer"]:
        """Run several statements of `gather` on one snapshot."""
        async with self._connected(self._questions) as connection, _one_snapshot(connection):
            yield Gatherer(connection)

    async def listen(self, channel: str) -> AsyncConnection[Any]:
        """Connect once more, to hear of notifications: not through the pool, and not through PgBouncer."""
        with translated():
            connection = await AsyncConnection.connect(self._url, **_CONNECTION)
            try:
                await self._recognise(connection)
                await connection.execute(b'LISTEN "' + channel.encode() + b'"')
            except BaseException:
                await connection.close()
                raise
            return connection

    @asynccontextmanager
    async def _connected(
        self,
        pool: "psycopg_pool.AsyncConnectionPool[AsyncConnection[Any]] | None" = None,
        *,
        patience: float = _PATIENCE_SECONDS,
    ) -> AsyncIterator[AsyncConnection[Any]]:
        if self._is_away:
            patience = _PATIENCE_WHEN_AWAY_SECONDS
        with translated():
            try:
                async with (pool or self._pool).connection(timeout=patience) as connection:
                    yield connection
            except DEATHS as error:
                if not isinstance(error, (*OUR_LIMITS, psycopg_pool.PoolTimeout)):
                    self._replace_idle()
                raise

    def _replace_idle(self) -> None:
        """After a connection died: replace those that wait in the pool, which probably died with it.

        Or each would cost a call. Beside this call and not in it: a caller who hangs up in the middle would take
        them along.
        """
        if self._sweep is None or self._sweep.done():
            self._sweep = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await self._pool.drain()
        await self._questions.drain()

    def _note_absence(self, _pool: object) -> None:
        self._is_away = True

    async def answer_of(self, call: Call, answer: type[Message]) -> Message | None:
        """Find the first answer to a call that is repeated with the same request id.

        Raises:
            RequestIdReused: the id came with another request.

        """
        async with self.read() as reader:
            return await Answers(reader, self._keyring).find(call, answer)

    async def drop_old_answers(self, age: timedelta) -> int:
        """Forget answers older than that; return how many."""
        async with self.read() as reader:
            return await Answers(reader, self._keyring).drop(reader.now - age)
