"""Users' credentials: rows, and the statements on them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from watchword.server.errors import NotFound
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

LAST_USED_RESOLUTION = timedelta(minutes=1)
"""How exact `last_used_time` is, and so how often at most it is written."""

_c = t.credentials.c
_PASSWORD = Statement(select(t.credentials).where(_c.user_id == bindparam("user_id"), _c.kind == "password"))
# One statement for whoever is named, so that the time does not tell whether they exist or have a password.
_NAMED = {
    column.name: Statement(
        select(t.credentials).join_from(t.users, t.credentials).where(column == bindparam("key"), _c.kind == "password")
    )
    for column in (t.users.c.email_key, t.users.c.username_key)
}
_LIST = Statement(select(t.credentials).where(_c.user_id == bindparam("user_id")).order_by(_c.credential_id))
# Some thirty pages of the table, the same for all who ask.
_FEW = 200
_SOME = Statement(text("SELECT password_hash FROM credentials WHERE kind = 'password' LIMIT 2000"))
_SAMPLE = Statement(
    text("""
SELECT password_hash FROM credentials
TABLESAMPLE SYSTEM (least(100, 3000.0 * 8192 / greatest(1, pg_relation_size('credentials')))) REPEATABLE (1)
WHERE kind = 'password' LIMIT 2000
""")
)
_insert = insert(t.credentials).values(
    credential_id=bindparam("credential_id"),
    user_id=bindparam("user_id"),
    kind="password",
    password_hash=bindparam("password_hash"),
    create_time=bindparam("now"),
    update_time=bindparam("now"),
)
_SET_PASSWORD = Statement(
    _insert.on_conflict_do_update(
        index_elements=[_c.user_id],
        # A literal: as a parameter PostgreSQL would not recognise the index in a prepared statement.
        index_where=text("kind = 'password'"),
        set_={"password_hash": _insert.excluded.password_hash, "update_time": _insert.excluded.update_time},
    ).returning(t.credentials)
)
_REPLACE_HASH = Statement(
    update(t.credentials)
    .where(_c.credential_id == bindparam("id"), _c.password_hash == bindparam("old"))
    .values(password_hash=bindparam("new"))
)
_TOUCH = Statement(
    update(t.credentials)
    .where(
        _c.credential_id == bindparam("id"),
        or_(_c.last_used_time.is_(None), _c.last_used_time <= bindparam("before")),
    )
    .values(last_used_time=bindparam("now"))
)
_REMOVE = Statement(
    delete(t.credentials).where(_c.credential_id == bindparam("id"), _c.user_id == bindparam("user_id"))
)
_REMOVE_ALL = Statement(delete(t.credentials).where(_c.user_id == bindparam("user_id")))


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential's row."""

    credential_id: UUID
    user_id: UUID
    kind: str
    create_time: datetime
    update_time: datetime
    last_used_time: datetime | None
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class _Hash:
    password_hash: str


class Credentials:
    """The credentials of a database's users."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def password(self, user_id: UUID) -> Credential | None:
        """Find a user's password."""
        return await self._reader.one(Credential, _PASSWORD, user_id=user_id)

    async def password_of(self, column: str, key: str) -> Credential | None:
        """Find the password of the user who has an `email_key` or `username_key`."""
        return await self._reader.one(Credential, _NAMED[column], key=key)

    async def sample(self) -> "list[str]":
        """Give the hashes of some passwords, up to 2,000, at the cost of a few pages however many there are."""
        rows = await self._reader.all(_Hash, _SAMPLE)
        if len(rows) < _FEW:
            # Few there are, or they stand in few of the pages: those that many users have left behind.
            rows = await self._reader.all(_Hash, _SOME)
        return [row.password_hash for row in rows]

    async def list(self, user_id: UUID) -> list[Credential]:
        """List a user's credentials, oldest first."""
        return await self._reader.all(Credential, _LIST, user_id=user_id)

    async def set_password(self, user_id: UUID, password_hash: str) -> Credential:
        """Set a user's password, the first or a new one."""
        credential = await self._reader.one(
            Credential,
            _SET_PASSWORD,
            credential_id=self._reader.new_id(),
            user_id=user_id,
            password_hash=password_hash,
            now=self._reader.now,
        )
        if credential is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return credential

    async def replace_hash(self, credential_id: UUID, *, old: str, new: str) -> None:
        """Store the same password under better parameters, unless it has changed meanwhile."""
        await self._reader.run(_REPLACE_HASH, id=credential_id, old=old, new=new)

    async def touch(self, credential_id: UUID) -> None:
        """Note that a credential proved its user, unless that was noted within the minute."""
        now = self._reader.now
        await self._reader.run(_TOUCH, id=credential_id, now=now, before=now - LAST_USED_RESOLUTION)

    async def remove(self, user_id: UUID, credential_id: UUID) -> None:
        """Remove a credential.

        Raises:
            NotFound: the user has no such credential.

        """
        if not await self._reader.run(_REMOVE, id=credential_id, user_id=user_id):
            raise NotFound("credential", str(credential_id))

    async def remove_all(self, user_id: UUID) -> None:
        """Remove all credentials of a user."""
        await self._reader.run(_REMOVE_ALL, user_id=user_id)
