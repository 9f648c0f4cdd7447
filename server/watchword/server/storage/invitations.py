"""Invitations to organizations: rows, and the statements on them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update

from watchword.server.errors import NotFound
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.invitations.c
_GIVEN = ("invitation_id", "organization_id", "role", "email", "token_hash", "create_time", "expire_time")
_CREATE = Statement(insert(t.invitations).values({name: bindparam(name) for name in _GIVEN}).returning(t.invitations))
_FIND = Statement(select(t.invitations).where(_c.token_hash == bindparam("token_hash")))
_LOCK = Statement(
    select(t.invitations)
    .where(_c.invitation_id == bindparam("id"), _c.organization_id == bindparam("organization_id"))
    .with_for_update()
)
_END = Statement(
    update(t.invitations).where(_c.invitation_id == bindparam("id")).values(email="", end_time=bindparam("now"))
)
_END_ALL = Statement(
    update(t.invitations)
    .where(_c.organization_id == bindparam("id"), _c.end_time.is_(None))
    .values(email="", end_time=bindparam("now"))
    .returning(_c.invitation_id)
)
_END_EXPIRED = Statement(
    update(t.invitations)
    .where(_c.end_time.is_(None), _c.expire_time <= bindparam("now"))
    .values(email="", end_time=_c.expire_time)
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation's row. Whom it was meant for stays out of its repr."""

    invitation_id: UUID
    organization_id: str
    role: str
    email: str = field(repr=False)
    token_hash: bytes = field(repr=False)
    create_time: datetime
    expire_time: datetime
    end_time: datetime | None

    def ended(self, now: datetime) -> bool:
        """Whether it was accepted or revoked, or has expired."""
        return self.end_time is not None or self.expire_time <= now


class Invitations:
    """The invitations of a database. One that has ended keeps its row, without the address."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def create(
        self,
        invitation_id: UUID,
        organization_id: str,
        *,
        role: str,
        email: str,
        token_hash: bytes,
        expire_time: datetime,
    ) -> Invitation:
        """Create an invitation."""
        invitation = await self._reader.one(
            Invitation,
            _CREATE,
            invitation_id=invitation_id,
            organization_id=organization_id,
            role=role,
            email=email,
            token_hash=token_hash,
            create_time=self._reader.now,
            expire_time=expire_time,
        )
        if invitation is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return invitation

    async def find(self, token_hash: bytes) -> Invitation | None:
        """Find the invitation of a token, ended or not."""
        return await self._reader.one(Invitation, _FIND, token_hash=token_hash)

    async def lock(self, organization_id: str, invitation_id: UUID) -> Invitation:
        """Get an invitation to an organization and keep everybody else from ending it until the transaction ends.

        Raises:
            NotFound: the organization never had one of this id.

        """
        invitation = await self._reader.one(Invitation, _LOCK, id=invitation_id, organization_id=organization_id)
        if invitation is None:
            raise NotFound("invitation", str(invitation_id))
        return invitation

    async def page(self, organization_id: str, *, after: UUID | None, size: int) -> list[Invitation]:
        """List the invitations to an organization that have not ended, oldest first, beginning behind one."""
        statement = select(t.invitations).where(
            _c.organization_id == organization_id, _c.end_time.is_(None), _c.expire_time > self._reader.now
        )
        if after is not None:
            statement = statement.where(_c.invitation_id > after)
        return await self._reader.all(Invitation, Statement(statement.order_by(_c.invitation_id).limit(size)))

    async def end(self, invitation: Invitation) -> None:
        """End an invitation whose row this transaction has locked, and forget whom it was meant for."""
        await self._reader.run(_END, id=invitation.invitation_id, now=self._reader.now)

    async def end_all(self, organization_id: str) -> list[UUID]:
        """End all invitations to an organization; return the ids of those that had not ended."""
        rows = await self._reader.all(_Id, _END_ALL, id=organization_id, now=self._reader.now)
        return [row.invitation_id for row in rows]

    async def end_expired(self) -> int:
        """Note the end of those that have expired, and forget whom they were meant for; return how many."""
        return await self._reader.run(_END_EXPIRED, now=self._reader.now)


@dataclass(frozen=True, slots=True)
class _Id:
    invitation_id: UUID
