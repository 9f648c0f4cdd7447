"""The keys that sign access tokens: rows, and the statements on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, case, func, insert, or_, select, text, update

from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.signing_keys.c
_FIND = Statement(select(t.signing_keys).where(_c.kid == bindparam("kid")))
# The newest that is active. For a server whose clock is behind that may be none; then the oldest of all, which every
# verifier knows best.
_is_active = _c.activate_time <= bindparam("now")
_order = (_is_active.desc(), case((_is_active, _c.activate_time)).desc(), _c.activate_time)
_CURRENT = Statement(select(t.signing_keys).where(_c.revoke_time.is_(None)).order_by(*_order).limit(1))
CURRENT_KID = select(_c.kid).where(_c.revoke_time.is_(None)).order_by(*_order).limit(1).scalar_subquery().label("kid")
"""The kid of the key that signs at the time :now."""
_PUBLISHED = Statement(
    select(t.signing_keys)
    .where(_c.revoke_time.is_(None), or_(_c.retire_time.is_(None), _c.retire_time > bindparam("retired_after")))
    .order_by(_c.activate_time)
)
_CREATE = Statement(
    insert(t.signing_keys)
    .values(
        {name: bindparam(name) for name in ("kid", "public_key", "private_key_sealed", "create_time", "activate_time")}
    )
    .returning(t.signing_keys)
)
_RETIRE = Statement(
    update(t.signing_keys)
    .where(_c.kid != bindparam("successor"), _c.retire_time.is_(None), _c.revoke_time.is_(None))
    .values(retire_time=bindparam("at"))
)
_REVOKE = Statement(
    update(t.signing_keys).where(_c.revoke_time.is_(None)).values(revoke_time=bindparam("now")).returning(_c.kid)
)
# The number is arbitrary; it only has to be the same in every process.
_LOCK = Statement(select(func.pg_advisory_xact_lock(text("7420001"))))


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key's row."""

    kid: str
    public_key: bytes
    create_time: datetime
    activate_time: datetime
    retire_time: datetime | None
    revoke_time: datetime | None
    private_key_sealed: bytes = field(repr=False)


class SigningKeys:
    """The signing keys of a database."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def find(self, kid: str) -> SigningKey | None:
        """Find a key, whatever its state."""
        # Threat: the kid of a token that nobody has verified yet. PostgreSQL's text takes no NUL and no lone surrogate.
        if not (kid.isascii() and kid.isprintable()):
            return None
        return await self._reader.one(SigningKey, _FIND, kid=kid)

    async def current(self) -> SigningKey | None:
        """Find the key that signs now."""
        return await self._reader.one(SigningKey, _CURRENT, now=self._reader.now)

    async def published(self, *, retired_after: datetime) -> list[SigningKey]:
        """List the keys that verifiers must know: all but revoked ones and those retired for long enough."""
        return await self._reader.all(SigningKey, _PUBLISHED, retired_after=retired_after)

    async def lock(self) -> None:
        """Keep every other process from rotating until the transaction ends."""
        await self._reader.value(_LOCK)

    async def create(self, values: Mapping[str, Any]) -> SigningKey:
        """Create a key and retire all others from its activation on."""
        key = await self._reader.one(SigningKey, _CREATE, **values)
        if key is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        await self._reader.run(_RETIRE, successor=key.kid, at=key.activate_time)
        return key

    async def revoke_all(self) -> list[str]:
        """Revoke every key that is not revoked; return their kids."""
        return [row.kid for row in await self._reader.all(_Kid, _REVOKE, now=self._reader.now)]


@dataclass(frozen=True, slots=True)
class _Kid:
    kid: str
