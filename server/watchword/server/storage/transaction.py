"""What is read and written on one connection: the repositories, and the transaction of a write.

A write is one transaction that holds the change, its events and the answer for retries, so none of them can exist
without the others. Nobody outside this folder commits.
"""

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from google.protobuf.message import Message
from psycopg import AsyncConnection
from psycopg.rows import class_row, scalar_row, tuple_row
from psycopg.types.json import Jsonb
from sqlalchemy import bindparam, insert, select

from watchword.server.call import Call
from watchword.server.identifiers import Clock, Randomness, uuid7
from watchword.server.sealing import Keyring, new_person_key
from watchword.server.storage import tables as t
from watchword.server.storage.answers import Answers
from watchword.server.storage.credentials import Credentials
from watchword.server.storage.event_rows import event_row, sealed, sealer_of
from watchword.server.storage.events import NOT_OF_TOKENS, Change, Event
from watchword.server.storage.failures import AnswerExists
from watchword.server.storage.invitations import Invitations
from watchword.server.storage.list_pages import ListPages
from watchword.server.storage.members import Members
from watchword.server.storage.models import Models
from watchword.server.storage.organizations import Groups, Organizations
from watchword.server.storage.relationships import Relationships
from watchword.server.storage.service_accounts import ServiceAccounts
from watchword.server.storage.sessions import Sessions
from watchword.server.storage.sign_in_counters import SignInCounters
from watchword.server.storage.signing_keys import SigningKeys
from watchword.server.storage.snapshot import EPOCH, HORIZON, XID, Snapshot
from watchword.server.storage.statement import Statement
from watchword.server.storage.user_imports import UserImports
from watchword.server.storage.user_lists import UserLists
from watchword.server.storage.users import Users

Row = TypeVar("Row")
AnyMessage = TypeVar("AnyMessage", bound=Message)

_OPEN_WRITE = Statement(select(EPOCH, XID, HORIZON))
_SNAPSHOT = Statement(select(EPOCH, HORIZON))
_NOBODY = UUID(int=0)
_PERSON_KEY = Statement(select(t.person_keys.c.key_sealed).where(t.person_keys.c.user_id == bindparam("id")))
_ADD_PERSON_KEY = Statement(
    insert(t.person_keys).values(user_id=bindparam("user_id"), key_sealed=bindparam("key_sealed"))
)
_ADD_EVENT = Statement(
    insert(t.events).values(
        {c: bindparam(c) for c in t.events.c.keys() if c not in {"event_id", "xid"}}  # noqa: SIM118
    )
)


class Reader:
    """One connection, and the repositories on it."""

    def __init__(self, connection: AsyncConnection[Any], clock: Clock, randomness: Randomness) -> None:
        self._connection = connection
        self._randomness = randomness
        self.now: datetime = clock()
        self.users = Users(self)
        self.user_lists = UserLists(self)
        self.user_imports = UserImports(self)
        self.service_accounts = ServiceAccounts(self)
        self.credentials = Credentials(self)
        self.sessions = Sessions(self)
        self.signing_keys = SigningKeys(self)
        self.relationships = Relationships(self)
        self.models = Models(self)
        self.list_pages = ListPages(self)
        self.organizations = Organizations(self)
        self.groups = Groups(self)
        self.members = Members(self)
        self.invitations = Invitations(self)
        self.sign_in_counters = SignInCounters(self)

    def new_id(self, at: datetime | None = None) -> UUID:
        """Make an id, of now or of the time at which that which it names came to be."""
        return uuid7(at or self.now, self._randomness)

    async def one(self, row: type[Row], statement: Statement, **values: Any) -> Row | None:
        """Run a statement that gives one row or none."""
        async with self._connection.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(statement.sql, statement.parameters(values))
            return await cursor.fetchone()

    async def all(self, row: type[Row], statement: Statement, **values: Any) -> list[Row]:
        """Run a statement that gives rows."""
        async with self._connection.cursor(row_factory=class_row(row)) as cursor:
            await cursor.execute(statement.sql, statement.parameters(values))
            return await cursor.fetchall()

    async def value(self, statement: Statement, **values: Any) -> Any:
        """Run a statement that gives one value; None if it gives no row."""
        async with self._connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute(statement.sql, statement.parameters(values))
            return await cursor.fetchone()

    async def run(self, statement: Statement, **values: Any) -> int:
        """Run a statement; return how many rows it touched."""
        cursor = await self._connection.execute(statement.sql, statement.parameters(values))
        return cursor.rowcount

    async def snapshot(self) -> Snapshot:
        """Tell the epoch and the horizon.

        To be called before the reads that an answer rests on, never after: an earlier horizon is safe, a later
        one could hide a change that those reads missed.
        """
        return await self.one(Snapshot, _SNAPSHOT) or Snapshot("", 0)


class Tx(Reader):
    """A transaction that writes."""

    def __init__(
        self, connection: AsyncConnection[Any], clock: Clock, randomness: Randomness, keyring: Keyring, call: Call
    ) -> None:
        super().__init__(connection, clock, randomness)
        self.call = call
        self._keyring = keyring
        self._person_keys = keyring.sealer("person_keys")
        self._answers = Answers(self, keyring)
        self._events: list[Event] = []
        self._answer: Message | None = None
        self.epoch = ""
        self._xid = 0
        self.horizon = 0
        self.change = Change(0, ())
        """What it changed; known when it is closed."""

    async def open(self) -> None:
        """Learn where in the database's history the transaction stands."""
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_OPEN_WRITE.sql)
            self.epoch, self._xid, self.horizon = await cursor.fetchone() or ("", 0, 0)

    @property
    def revision(self) -> str:
        """The moment of this write, as callers get it: "<epoch>.<transaction id>"."""
        return f"{self.epoch}.{self._xid}"

    @property
    def read_at(self) -> Snapshot:
        """The horizon from before the transaction's first read: what a token minted here carries as `rev`."""
        return Snapshot(self.epoch, self.horizon)

    def record(self, event: Event) -> None:
        """Add an event; it is written at the end of the transaction."""
        self._events.append(event)

    def answered(self, answer: AnyMessage) -> AnyMessage:
        """Keep the answer of the call for retries with the same request id, and return it."""
        self._answer = answer
        return answer

    async def add_person_key(self, user_id: UUID) -> None:
        """Make the key under which the events of a new user's are sealed."""
        sealed = self._person_keys.seal(new_person_key(self._randomness), context=str(user_id))
        await self.run(_ADD_PERSON_KEY, user_id=user_id, key_sealed=sealed)

    async def close(self) -> None:
        """Write what must stand or fall with the change."""
        rows = [await self._row(event) for event in self._events]
        nodes = [hash_ for row in rows for hash_ in row["nodes"]]
        self.change = Change(self._xid, nodes, any(row["nodes"] and row["type"] not in NOT_OF_TOKENS for row in rows))
        if len(rows) == 1:
            await self._connection.execute(_ADD_EVENT.sql, rows[0])
        elif rows:
            async with self._connection.cursor() as cursor:
                await cursor.executemany(_ADD_EVENT.sql, rows)
        if self.call.idempotency_key:
            if self._answer is not None:
                await self._answers.add(self.call, self._answer)
            elif await self._answers.exists(self.call):
                # A refusal is about to be committed, of a wrong password or a used refresh token say, and it is one
                # only because the first call with this request id has come through meanwhile.
                raise AnswerExists

    async def _row(self, event: Event) -> dict[str, Any]:
        row = event_row(event, self.call, self.now)
        personal = await self._seal(event) if any(event.personal.values()) else None
        return row | {"payload": Jsonb(row["payload"]), "personal_sealed": personal}

    async def _seal(self, event: Event) -> bytes:
        # Asked also if there is no person: a failed sign-in must not tell by its time whether there is one.
        key_sealed = await self.value(_PERSON_KEY, id=event.person or _NOBODY)
        if event.person is None:
            return sealed(self._keyring.sealer("events"), event.personal, self.call, event.type, None)
        if key_sealed is None:
            return b""  # The person's key is destroyed: nothing about them is written any more.
        sealer = sealer_of(event.person, key_sealed, self._person_keys, self._randomness)
        return sealed(sealer, event.personal, self.call, event.type, event.person)
