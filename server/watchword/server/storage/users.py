"""Users: rows, and the statements on them. Lists of them are in `user_lists`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import ARRAY, Uuid, any_, bindparam, insert, select, update

from watchword.server.errors import EtagMismatch, NotFound, WrongStatus
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

ACTIVE, SUSPENDED, DELETED = "active", "suspended", "deleted"

_c = t.users.c
_SELECT = select(t.users)
_GET = Statement(_SELECT.where(_c.user_id == bindparam("id")))
_GET_MANY = Statement(_SELECT.where(_c.user_id == any_(bindparam("ids", type_=ARRAY(Uuid)))))
_LOCK = Statement(_SELECT.where(_c.user_id == bindparam("id")).with_for_update())
_LOCK_SHARED = Statement(_SELECT.where(_c.user_id == bindparam("id")).with_for_update(read=True))
_FIND = {
    column.name: Statement(_SELECT.where(column == bindparam("key")))
    for column in (_c.email_key, _c.username_key, _c.external_id)
}
_GIVEN = [name for name in _c.keys() if name not in {"version", "delete_time"}]  # noqa: SIM118
_CREATE = Statement(insert(t.users).values({name: bindparam(name) for name in _GIVEN}).returning(t.users))


@dataclass(frozen=True, slots=True)
class User:
    """A user's row. Personal values stay out of its repr."""

    user_id: UUID
    status: str
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    email: str | None = field(repr=False)
    email_key: str | None = field(repr=False)
    username: str | None = field(repr=False)
    username_key: str | None = field(repr=False)
    display_name: str = field(repr=False)
    locale: str = field(repr=False)
    external_id: str | None = field(repr=False)
    attributes: Mapping[str, Any] = field(repr=False)

    @property
    def etag(self) -> str:
        """What changes with every change of the row."""
        return f"{self.version}"

    def require_etag(self, etag: str) -> None:
        """Refuse a change that was made on an older reading.

        Raises:
            EtagMismatch: an etag was given and is not the current one.

        """
        if etag and etag != self.etag:
            raise EtagMismatch

    def require_not_deleted(self) -> None:
        """Refuse to change what is gone.

        Raises:
            WrongStatus: the user is deleted.

        """
        if self.status == DELETED:
            raise WrongStatus("user", str(self.user_id), self.status)


class Users:
    """The users of a database."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, user_id: UUID) -> User:
        """Get a user by id, deleted or not.

        Raises:
            NotFound: there never was one.

        """
        user = await self._reader.one(User, _GET, id=user_id)
        if user is None:
            raise NotFound("user", str(user_id))
        return user

    async def find(self, column: str, key: str) -> User | None:
        """Find a user who is not deleted by `email_key`, `username_key` or `external_id`."""
        return await self._reader.one(User, _FIND[column], key=key)

    async def get_many(self, user_ids: Sequence[UUID]) -> dict[UUID, User]:
        """Get those users of the ids that exist."""
        return {user.user_id: user for user in await self._reader.all(User, _GET_MANY, ids=list(user_ids))}

    async def lock(self, user_id: UUID) -> User:
        """Get a user and keep everybody else from changing or signing in until the transaction ends.

        Raises:
            NotFound: there never was one.

        """
        return await self._locked(_LOCK, user_id)

    async def lock_shared(self, user_id: UUID) -> User:
        """Get a user and keep the row as it is until the transaction ends. A suspension waits for it.

        Raises:
            NotFound: there never was one.

        """
        return await self._locked(_LOCK_SHARED, user_id)

    async def _locked(self, statement: Statement, user_id: UUID) -> User:
        user = await self._reader.one(User, statement, id=user_id)
        if user is None:
            raise NotFound("user", str(user_id))
        return user

    async def create(self, values: Mapping[str, Any]) -> User:
        """Create a user of the given columns, active from now."""
        now = self._reader.now
        row = dict.fromkeys(_GIVEN) | {"display_name": "", "locale": "", "attributes": {}} | dict(values)
        row |= {"user_id": self._reader.new_id(), "status": ACTIVE, "create_time": now, "update_time": now}
        row["attributes"] = Jsonb(row["attributes"])
        user = await self._reader.one(User, _CREATE, **row)
        if user is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return user

    async def update(self, user: User, values: Mapping[str, Any]) -> User:
        """Change columns of a user whose row this transaction has locked."""
        changes = {name: Jsonb(value) if name == "attributes" else value for name, value in values.items()}
        statement = (
            update(t.users)
            .where(_c.user_id == user.user_id)
            .values({name: bindparam(name) for name in changes} | {"version": _c.version + 1})
            .values(update_time=self._reader.now)
            .returning(t.users)
        )
        changed = await self._reader.one(User, Statement(statement), **changes)
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed


def deleted(now: datetime) -> Mapping[str, Any]:
    """Give the columns of a user of whom only the id and the times remain."""
    return {
        "email": None,
        "email_key": None,
        "username": None,
        "username_key": None,
        "external_id": None,
        "display_name": "",
        "locale": "",
        "attributes": {},
        "status": DELETED,
        "delete_time": now,
    }
