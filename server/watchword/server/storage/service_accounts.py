"""Service accounts and their API keys: rows, and the statements on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import bindparam, func, insert, or_, select, text, update

from watchword.server.errors import EtagMismatch, NotFound, WrongStatus
from watchword.server.permissions.built_in import DEPLOYMENT
from watchword.server.storage import tables as t
from watchword.server.storage.snapshot import EPOCH, HORIZON
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

ACTIVE, SUSPENDED, DELETED = "active", "suspended", "deleted"

LAST_USED_RESOLUTION = timedelta(minutes=1)
"""How exact `last_used_time` is, and so how often at most it is written."""

_a = t.service_accounts.c
_k = t.api_keys.c
_GET = Statement(select(t.service_accounts).where(_a.service_account_id == bindparam("id")))
_LOCK = Statement(select(t.service_accounts).where(_a.service_account_id == bindparam("id")).with_for_update())
_CREATE = Statement(
    insert(t.service_accounts)
    .values(
        service_account_id=bindparam("service_account_id"),
        display_name=bindparam("display_name"),
        description=bindparam("description"),
        status=ACTIVE,
        create_time=bindparam("now"),
        update_time=bindparam("now"),
    )
    .returning(t.service_accounts)
)
_GET_KEY = Statement(select(t.api_keys).where(_k.key_id == bindparam("id")))
_LOCK_KEY = Statement(select(t.api_keys).where(_k.key_id == bindparam("id")).with_for_update())
_r = t.relationships.c
_grants = (
    select(func.json_agg(func.json_build_array(_r.relation, _r.expire_time)))
    .where(
        _r.object == DEPLOYMENT,
        _r.subject == text("'service:' || service_accounts.service_account_id"),
        _r.subject_relation == "",
    )
    .scalar_subquery()
    .label("grants")
)
_PRESENTED = Statement(
    select(t.api_keys, _a.status.label("account_status"), _grants, EPOCH, HORIZON)
    .join_from(t.api_keys, t.service_accounts)
    .where(_k.key_id == bindparam("id"))
)
_CREATE_KEY = Statement(
    insert(t.api_keys)
    .values(
        {
            name: bindparam(name)
            for name in (
                "key_id",
                "service_account_id",
                "key_hash",
                "display_name",
                "permissions",
                "create_time",
                "expire_time",
            )
        }
    )
    .returning(t.api_keys)
)
_LIVING = Statement(
    select(t.api_keys).where(
        _k.service_account_id == bindparam("id"),
        _k.revoke_time.is_(None),
        or_(_k.expire_time.is_(None), _k.expire_time > bindparam("now")),
    )
)
_REVOKE_ALL = Statement(
    update(t.api_keys)
    .where(_k.service_account_id == bindparam("id"), _k.revoke_time.is_(None))
    .values(revoke_time=bindparam("now"))
    .returning(_k.key_id)
)
_TOUCH = Statement(
    update(t.api_keys)
    .where(_k.key_id == bindparam("id"), or_(_k.last_used_time.is_(None), _k.last_used_time <= bindparam("before")))
    .values(last_used_time=bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account's row."""

    service_account_id: str
    display_name: str
    description: str
    status: str
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None

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
            WrongStatus: the account is deleted.

        """
        if self.status == DELETED:
            raise WrongStatus("service_account", self.service_account_id, self.status)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key's row."""

    key_id: UUID
    service_account_id: str
    key_hash: bytes
    display_name: str
    permissions: list[str]
    create_time: datetime
    expire_time: datetime | None
    last_used_time: datetime | None
    revoke_time: datetime | None
    successor_key_id: UUID | None

    def ended(self, now: datetime) -> bool:
        """Whether the key is revoked or expired."""
        return self.revoke_time is not None or (self.expire_time is not None and self.expire_time <= now)


@dataclass(frozen=True, slots=True)
class PresentedKey(Key):
    """A key with what else decides whether it is good."""

    account_status: str
    grants: "list[Grant]"
    epoch: str
    horizon: int

    def __post_init__(self) -> None:
        """Read the grants as they come from the database."""
        object.__setattr__(self, "grants", [_grant(item) for item in self.grants or ()])


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission for Watchword's own RPCs that an account was granted by a relationship."""

    relation: str
    expire_time: datetime | None


def _grant(item: Any) -> Grant:
    relation, expire_time = item
    return Grant(relation, datetime.fromisoformat(expire_time) if expire_time else None)


class ServiceAccounts:
    """The service accounts of a database, and their keys."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, service_account_id: str) -> ServiceAccount:
        """Get an account by id, deleted or not.

        Raises:
            NotFound: there never was one.

        """
        return await self._account(_GET, service_account_id)

    async def lock(self, service_account_id: str) -> ServiceAccount:
        """Get an account and keep everybody else from changing it until the transaction ends.

        Raises:
            NotFound: there never was one.

        """
        return await self._account(_LOCK, service_account_id)

    async def _account(self, statement: Statement, service_account_id: str) -> ServiceAccount:
        account = await self._reader.one(ServiceAccount, statement, id=service_account_id)
        if account is None:
            raise NotFound("service_account", service_account_id)
        return account

    async def page(self, *, include_deleted: bool, after: str, size: int) -> list[ServiceAccount]:
        """List accounts by id, beginning behind one."""
        statement = select(t.service_accounts).where(_a.service_account_id > after)
        if not include_deleted:
            statement = statement.where(_a.status != DELETED)
        return await self._reader.all(ServiceAccount, Statement(statement.order_by(_a.service_account_id).limit(size)))

    async def create(self, service_account_id: str, *, display_name: str, description: str) -> ServiceAccount:
        """Create an account, active from now."""
        account = await self._reader.one(
            ServiceAccount,
            _CREATE,
            service_account_id=service_account_id,
            display_name=display_name,
            description=description,
            now=self._reader.now,
        )
        if account is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return account

    async def update(self, account: ServiceAccount, values: Mapping[str, Any]) -> ServiceAccount:
        """Change columns of an account whose row this transaction has locked."""
        statement = (
            update(t.service_accounts)
            .where(_a.service_account_id == account.service_account_id)
            .values({**values, "version": _a.version + 1, "update_time": self._reader.now})
            .returning(t.service_accounts)
        )
        changed = await self._reader.one(ServiceAccount, Statement(statement))
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed

    async def get_key(self, key_id: UUID) -> Key:
        """Get a key by id.

        Raises:
            NotFound: there is none.

        """
        return await self._key(_GET_KEY, key_id)

    async def lock_key(self, key_id: UUID) -> Key:
        """Get a key and keep everybody else from changing it until the transaction ends.

        Raises:
            NotFound: there is none.

        """
        return await self._key(_LOCK_KEY, key_id)

    async def _key(self, statement: Statement, key_id: UUID) -> Key:
        key = await self._reader.one(Key, statement, id=key_id)
        if key is None:
            raise NotFound("key", str(key_id))
        return key

    async def presented(self, key_id: UUID) -> PresentedKey | None:
        """Find a key that somebody shows, with the status of its account."""
        return await self._reader.one(PresentedKey, _PRESENTED, id=key_id)

    async def keys(self, account: str, *, include_ended: bool, after: UUID | None, size: int) -> list[Key]:
        """List an account's keys in the order of their creation, beginning behind one."""
        statement = select(t.api_keys).where(_k.service_account_id == account)
        if after is not None:
            statement = statement.where(_k.key_id > after)
        if not include_ended:
            now = self._reader.now
            statement = statement.where(_k.revoke_time.is_(None), or_(_k.expire_time.is_(None), _k.expire_time > now))
        return await self._reader.all(Key, Statement(statement.order_by(_k.key_id).limit(size)))

    async def living_keys(self, account: str) -> list[Key]:
        """List all keys of an account that are neither revoked nor expired."""
        return await self._reader.all(Key, _LIVING, id=account, now=self._reader.now)

    async def create_key(
        self,
        account: str,
        *,
        key_id: UUID,
        key_hash: bytes,
        display_name: str,
        permissions: Sequence[str],
        expire_time: datetime | None,
    ) -> Key:
        """Create a key."""
        key = await self._reader.one(
            Key,
            _CREATE_KEY,
            key_id=key_id,
            service_account_id=account,
            key_hash=key_hash,
            display_name=display_name,
            permissions=list(permissions),
            create_time=self._reader.now,
            expire_time=expire_time,
        )
        if key is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return key

    async def update_key(self, key: Key, values: Mapping[str, Any]) -> Key:
        """Change columns of a key whose row this transaction has locked."""
        statement = update(t.api_keys).where(_k.key_id == key.key_id).values(dict(values)).returning(t.api_keys)
        changed = await self._reader.one(Key, Statement(statement))
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed

    async def revoke_all_keys(self, account: str) -> list[UUID]:
        """Revoke all keys of an account; return the ids of those that were not."""
        rows = await self._reader.all(_Id, _REVOKE_ALL, id=account, now=self._reader.now)
        return [row.key_id for row in rows]

    async def touch_key(self, key_id: UUID) -> None:
        """Note that a key was used, unless somebody did within the minute."""
        now = self._reader.now
        await self._reader.run(_TOUCH, id=key_id, now=now, before=now - LAST_USED_RESOLUTION)


@dataclass(frozen=True, slots=True)
class _Id:
    key_id: UUID
