"""Sessions: rows, and the statements on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ARRAY, any_, bindparam, insert, select, text, update

from watchword.server.errors import NotFound
from watchword.server.storage import tables as t
from watchword.server.storage.at_once import ANSWERS, EVENTS, RESULT
from watchword.server.storage.signing_keys import CURRENT_KID
from watchword.server.storage.snapshot import EPOCH, HORIZON
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

REVOKED = "revoked"
EXPIRED = "expired"
REFRESH_TOKEN_REUSED = "refresh_token_reused"  # noqa: S105  # a reason, not a token
CREDENTIAL_CHANGED = "credential_changed"
ACCOUNT_DISABLED = "account_disabled"


@dataclass(frozen=True, slots=True)
class Session:
    """A session's row. What is personal or could be tried stays out of its repr."""

    session_id: UUID
    user_id: UUID
    client_id: str
    audiences: list[str]
    authentication_methods: list[str]
    authentication_level: str
    authentication_time: datetime
    create_time: datetime
    last_active_time: datetime
    idle_expire_time: datetime
    expire_time: datetime
    end_time: datetime | None
    end_reason: str | None
    refresh_generation: int
    device_name: str = field(repr=False)
    user_agent: str = field(repr=False)
    ip_address: str = field(repr=False)
    refresh_hash: bytes = field(repr=False)
    previous_refresh_hash: bytes | None = field(repr=False)
    previous_refresh_time: datetime | None = field(repr=False)
    successor_sealed: bytes | None = field(repr=False)

    def expired(self, now: datetime) -> bool:
        """Whether the idle or the absolute lifetime is over."""
        return min(self.expire_time, self.idle_expire_time) <= now


@dataclass(frozen=True, slots=True)
class Presented:
    """What decides whether an access token is good, beside the token itself."""

    end_time: datetime | None
    expire_time: datetime
    user_status: str
    key_revoke_time: datetime | None
    epoch: str
    horizon: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A session at a snapshot, and which key signs."""

    session: Session
    kid: str | None
    epoch: str
    horizon: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> "Standing":
        """Read a row of STANDING."""
        *columns, kid, epoch, horizon = row
        return cls(Session(*columns), kid, epoch, horizon)


_c = t.sessions.c
_NOT_GIVEN = {"end_time", "end_reason", "previous_refresh_hash", "previous_refresh_time", "successor_sealed"}
_GIVEN = [column.name for column in _c if column.name not in _NOT_GIVEN]
_GET = Statement(select(t.sessions).where(_c.session_id == bindparam("id")))
_LOCK = Statement(select(t.sessions).where(_c.session_id == bindparam("id")).with_for_update())
_CREATE = Statement(insert(t.sessions).values({name: bindparam(name) for name in _GIVEN}).returning(t.sessions))
PRESENTED = Statement(
    select(
        t.sessions.c.end_time,
        t.sessions.c.expire_time,
        t.users.c.status.label("user_status"),
        t.signing_keys.c.revoke_time.label("key_revoke_time"),
        EPOCH,
        HORIZON,
    )
    .join_from(t.sessions, t.users)
    .outerjoin(t.signing_keys, t.signing_keys.c.kid == bindparam("kid"))
    .where(_c.session_id == bindparam("id"), _c.user_id == bindparam("user_id"))
)
"""What an access token of a session, signed by a key, depends on; the columns of `Presented`."""
STANDING = Statement(
    select(*(_c[each.name] for each in fields(Session)), CURRENT_KID, EPOCH, HORIZON).where(
        _c.session_id == any_(bindparam("ids", type_=ARRAY(t.sessions.c.session_id.type)))
    )
)
"""Sessions as they stand, and what tokens for them are made with; the columns of `Standing`."""
# Nothing happens to a session if anybody was faster: who exchanged the token, or ended the session.
ROTATE = Statement(
    text(f"""
WITH rotated AS (
    UPDATE sessions SET refresh_generation = rotation.generation, refresh_hash = rotation.new_hash,
        previous_refresh_hash = refresh_hash, previous_refresh_time = rotation.now,
        successor_sealed = rotation.successor_sealed, last_active_time = rotation.now,
        idle_expire_time = rotation.idle_expire_time
    FROM jsonb_to_recordset(CAST(:rotations AS jsonb)) AS rotation (
        number int, id uuid, now timestamptz, used_hash bytea, new_hash bytea, generation int, successor_sealed bytea,
        idle_expire_time timestamptz
    )
    WHERE session_id = rotation.id AND refresh_hash = rotation.used_hash AND end_time IS NULL
    RETURNING rotation.number
),
event AS ({EVENTS.format(change="rotated", payload="event.payload")} WHERE event.number = rotated.number),
answer AS ({ANSWERS.format(change="rotated")} WHERE answer.number = rotated.number)
{RESULT}, ARRAY(SELECT number FROM rotated) FROM deployment
""")  # noqa: S608 - constants
)
"""Exchange the newest refresh tokens of sessions that have not ended, with the events and answers of the calls."""
_END_ALL = Statement(
    update(t.sessions)
    .where(_c.user_id == bindparam("of_user"), _c.end_time.is_(None), _c.session_id.is_distinct_from(bindparam("keep")))
    .values(end_time=bindparam("now"), end_reason=bindparam("reason"))
    .returning(_c.session_id)
)


class Sessions:
    """The sessions of a database's users."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, session_id: UUID) -> Session:
        """Get a session, ended or not.

        Raises:
            NotFound: there never was one.

        """
        session = await self._reader.one(Session, _GET, id=session_id)
        if session is None:
            raise NotFound("session", str(session_id))
        return session

    async def lock(self, session_id: UUID) -> Session | None:
        """Find a session and keep everybody else from changing it until the transaction ends."""
        return await self._reader.one(Session, _LOCK, id=session_id)

    async def presented(self, session_id: UUID, user_id: UUID, kid: str) -> Presented | None:
        """Find what an access token of a session, signed by a key, depends on; in one snapshot."""
        return await self._reader.one(Presented, PRESENTED, id=session_id, user_id=user_id, kid=kid)

    async def page(self, user_id: UUID, *, include_ended: bool, before: UUID | None, size: int) -> list[Session]:
        """List a user's sessions, newest first, beginning behind one."""
        statement = select(t.sessions).where(_c.user_id == user_id)
        if before is not None:
            statement = statement.where(_c.session_id < before)
        if not include_ended:
            now = self._reader.now
            statement = statement.where(_c.end_time.is_(None), _c.expire_time > now, _c.idle_expire_time > now)
        return await self._reader.all(Session, Statement(statement.order_by(_c.session_id.desc()).limit(size)))

    async def create(self, values: Mapping[str, Any]) -> Session:
        """Create a session of the given columns."""
        session = await self._reader.one(Session, _CREATE, **values)
        if session is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return session

    async def update(self, session: Session, values: Mapping[str, Any]) -> Session:
        """Change columns of a session whose row this transaction has locked."""
        changed = await self._reader.one(Session, _update(tuple(values)), id=session.session_id, **values)
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed

    async def end(self, session: Session, reason: str) -> Session:
        """End a session whose row this transaction has locked."""
        return await self.update(session, {"end_time": self._reader.now, "end_reason": reason})

    async def end_all(self, user_id: UUID, reason: str, *, keep: UUID | None = None) -> list[UUID]:
        """End all sessions of a user, or all but one; return the ids of those that had not ended."""
        rows = await self._reader.all(_Id, _END_ALL, of_user=user_id, keep=keep, now=self._reader.now, reason=reason)
        return [row.session_id for row in rows]


@cache  # there are few sets of columns, and to compile a statement takes longer than to run it
def _update(names: tuple[str, ...]) -> Statement:
    changes: dict[str, Any] = {name: bindparam(name) for name in names}
    return Statement(update(t.sessions).where(_c.session_id == bindparam("id")).values(changes).returning(t.sessions))


@dataclass(frozen=True, slots=True)
class _Id:
    session_id: UUID
