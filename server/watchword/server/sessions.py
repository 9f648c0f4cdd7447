"""Sessions: how one begins, goes on by refreshing, and ends.

The rules, in one place: a refresh token works once; the newest one used, sent again within the grace, gets the
same successor, because an honest client may have lost the answer; any older one shows that a copy is about, and
ends the session. Whatever ends a session names it and so takes its access tokens back everywhere.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from watchword.server.call import Call
from watchword.server.errors import DomainError, InvalidField, RefreshTokenInvalid, RefreshTokenReused
from watchword.server.identifiers import session_object, user_object
from watchword.server.signing import Signing
from watchword.server.storage.events import Event, EventType, Outcome
from watchword.server.storage.sessions import (
    CREDENTIAL_CHANGED,
    EXPIRED,
    REFRESH_TOKEN_REUSED,
    Session,
    Standing,
)
from watchword.server.storage.sign_ins import Ground
from watchword.server.storage.snapshot import Snapshot
from watchword.server.storage.transaction import Tx
from watchword.server.tokens import (
    MAX_ACCESS_TOKEN_BYTES,
    AccessTokens,
    PrivateKey,
    RefreshToken,
    RefreshTokens,
    audience_claim,
    hash_of,
)

REFRESH_GRACE = timedelta(seconds=30)
"""For how long the newest used refresh token still gets its successor."""
_NOT_YET: Mapping[str, Any] = dict.fromkeys(
    ("end_time", "end_reason", "previous_refresh_hash", "previous_refresh_time", "successor_sealed")
)
"""What a session comes to have."""


@dataclass(frozen=True, slots=True)
class Device:
    """Where a user's request comes from."""

    display_name: str = ""
    user_agent: str = ""
    ip_address: str = ""

    def columns(self) -> dict[str, str]:
        """Give it as a session's columns."""
        return {"device_name": self.display_name, "user_agent": self.user_agent, "ip_address": self.ip_address}

    def __bool__(self) -> bool:
        return bool(self.display_name or self.user_agent or self.ip_address)


@dataclass(frozen=True, slots=True)
class Issued:
    """A session with its new tokens."""

    session: Session
    access_token: str
    access_token_lifetime: timedelta
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session is to be."""

    user_id: UUID
    methods: Sequence[str]
    audiences: Sequence[str]
    device: Device


@dataclass(frozen=True, slots=True)
class Prepared:
    """A new session, or the exchange of a refresh token, ready to be written."""

    issued: Issued
    values: Mapping[str, Any] = field(repr=False)
    """The session's columns, or what ROTATE takes of an exchange."""
    event: Event


@dataclass(frozen=True, slots=True)
class SessionKeeper:
    """Begins and refreshes sessions."""

    signing: Signing
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    idle_lifetime: timedelta
    lifetime: timedelta

    async def begin(self, tx: Tx, terms: Terms) -> Issued:
        """Begin a session of a user whose row this transaction holds, and who has just proved who they are."""
        session_id = tx.new_id()
        refresh = self.refresh_tokens.new(session_id, 1)
        session = await tx.sessions.create(self._columns(session_id, refresh, terms, tx.call, tx.now))
        tx.record(_established(session, terms.device))
        return await self._issue(tx, session, refresh)

    def beginning(
        self, ground: Ground, session_id: UUID, terms: Terms, call: Call, *, now: datetime
    ) -> Prepared | None:
        """Prepare a session of a user who has just proved who they are; None if the key that signs is not known here.

        Whoever writes it must see to it that the user may still begin one.
        """
        key = self.signing.unsealed(ground.kid or "")
        if key is None:
            return None
        refresh = self.refresh_tokens.new(session_id, 1)
        columns = self._columns(session_id, refresh, terms, call, now)
        session = Session(**columns, **_NOT_YET)
        issued = self._sign(key, session, refresh, read_at=Snapshot(ground.epoch, ground.horizon), now=now)
        return Prepared(issued, columns, _established(session, terms.device))

    def _columns(
        self, session_id: UUID, refresh: RefreshToken, terms: Terms, call: Call, now: datetime
    ) -> dict[str, Any]:
        return {
            "session_id": session_id,
            "user_id": terms.user_id,
            "client_id": call.caller.service_account_id,
            "audiences": list(terms.audiences),
            "authentication_methods": list(terms.methods),
            "authentication_level": "aal1",
            "authentication_time": now,
            "create_time": now,
            "last_active_time": now,
            "idle_expire_time": now + self.idle_lifetime,
            "expire_time": now + self.lifetime,
            "refresh_generation": refresh.generation,
            "refresh_hash": hash_of(refresh.text),
            **terms.device.columns(),
        }

    async def refresh(self, tx: Tx, text: str, device: Device) -> Issued | DomainError:
        """Exchange a refresh token. A refusal is returned, not raised: what it changed must be committed."""
        token = self.refresh_tokens.read(text)
        session = await tx.sessions.lock(token.session_id) if token else None
        if token is None or session is None or session.end_time is not None or not _began(session, tx.call):
            return RefreshTokenInvalid()
        if session.expired(tx.now):
            await _end(tx, session, EXPIRED)
            return RefreshTokenInvalid()
        presented = hash_of(token.text)
        if hmac.compare_digest(presented, session.refresh_hash):
            return await self._rotate(tx, session, token, device)
        if self._is_honest_retry(tx, session, presented):
            return await self._repeat(tx, session, token)
        if token.generation < session.refresh_generation:
            tx.record(_reused(session, device))
            await _end(tx, session, REFRESH_TOKEN_REUSED)
            return RefreshTokenReused()
        # A token of ours from a history that was lost in a restore. Whoever has it must sign in again. Threat: the one
        # before it, which was used up in that history, looks unused here, and somebody may have a copy.
        await _end(tx, session, REFRESH_TOKEN_REUSED)
        return RefreshTokenInvalid()

    def rotation(self, standing: Standing, token: RefreshToken, call: Call, now: datetime) -> Prepared | None:
        """Prepare the usual exchange, of the newest token by who began the session; None if this is another case.

        What it rests on was read before, so whoever writes it must see to it that nothing of that has changed.
        """
        session, key = standing.session, self.signing.unsealed(standing.kid or "")
        if key is None or session.end_time is not None or session.expired(now) or not _began(session, call):
            return None
        used_hash = hash_of(token.text)
        if not hmac.compare_digest(used_hash, session.refresh_hash):
            return None
        successor = self.refresh_tokens.new(session.session_id, session.refresh_generation + 1)
        values = {
            "id": session.session_id,
            "now": now,
            "used_hash": used_hash,
            "new_hash": hash_of(successor.text),
            "generation": successor.generation,
            "successor_sealed": self.refresh_tokens.seal_successor(token, successor),
            "idle_expire_time": now + self.idle_lifetime,
        }
        refreshed = replace(
            session,
            refresh_generation=successor.generation,
            last_active_time=now,
            idle_expire_time=now + self.idle_lifetime,
        )
        read_at = Snapshot(standing.epoch, standing.horizon)
        issued = self._sign(key, refreshed, successor, read_at=read_at, now=now)
        return Prepared(issued, values, _presented(refreshed, Device()))

    @staticmethod
    def _is_honest_retry(tx: Tx, session: Session, presented: bytes) -> bool:
        return (
            session.previous_refresh_hash is not None
            and session.previous_refresh_time is not None
            and hmac.compare_digest(presented, session.previous_refresh_hash)
            and tx.now - session.previous_refresh_time <= REFRESH_GRACE
        )

    async def _rotate(self, tx: Tx, session: Session, used: RefreshToken, device: Device) -> Issued:
        successor = self.refresh_tokens.new(session.session_id, session.refresh_generation + 1)
        refreshed = await tx.sessions.update(
            session,
            {
                "refresh_generation": successor.generation,
                "refresh_hash": hash_of(successor.text),
                "previous_refresh_hash": hash_of(used.text),
                "previous_refresh_time": tx.now,
                "successor_sealed": self.refresh_tokens.seal_successor(used, successor),
                "last_active_time": tx.now,
                "idle_expire_time": tx.now + self.idle_lifetime,
                **(device.columns() if device else {}),
            },
        )
        tx.record(_presented(refreshed, device))
        return await self._issue(tx, refreshed, successor)

    async def _repeat(self, tx: Tx, session: Session, used: RefreshToken) -> Issued:
        if session.successor_sealed is None:
            raise AssertionError("a session with a previous token has its successor")
        tx.record(_presented(session, Device()))
        return await self._issue(tx, session, self.refresh_tokens.open_successor(used, session.successor_sealed))

    async def _issue(self, tx: Tx, session: Session, refresh: RefreshToken) -> Issued:
        return self._sign(await self.signing.current(tx), session, refresh, read_at=tx.read_at, now=tx.now)

    def _sign(
        self, key: PrivateKey, session: Session, refresh: RefreshToken, *, read_at: Snapshot, now: datetime
    ) -> Issued:
        token = self.access_tokens.sign(
            key,
            {
                "sub": user_object(session.user_id),
                "aud": audience_claim(session.audiences),
                "client_id": session.client_id,
                "sid": str(session.session_id),
                "auth_time": int(session.authentication_time.timestamp()),
                "amr": session.authentication_methods,
                "acr": session.authentication_level,
                "rev": str(read_at),
            },
            now=now,
            not_after=session.expire_time,
        )
        if len(token) > MAX_ACCESS_TOKEN_BYTES:
            raise InvalidField(
                [("audiences", f"together too long: the access token would exceed {MAX_ACCESS_TOKEN_BYTES} bytes")]
            )
        lifetime = min(self.access_tokens.lifetime, session.expire_time - now)
        return Issued(session, token, lifetime, refresh.text)


async def end_all(tx: Tx, user_id: UUID, reason: str, *, keep: UUID | None = None) -> int:
    """End all sessions of a user, or all but one; return how many had not ended."""
    ended = await tx.sessions.end_all(user_id, reason, keep=keep)
    if ended:
        names = tuple(session_object(session_id) for session_id in ended)
        tx.record(
            Event(
                EventType.SESSION_REVOKED,
                (*names, user_object(user_id)),
                nodes=names,
                payload={"reason": reason, "count": len(ended)},
            )
        )
    return len(ended)


async def credentials_changed(tx: Tx, user_id: UUID, *, kind: str, change: str, keep: UUID | None = None) -> None:
    """Record a change of credentials and end the user's other sessions (ASVS 7.4.3)."""
    tx.record(
        Event(
            EventType.CREDENTIAL_CHANGE,
            (user_object(user_id),),
            payload={"credential_kind": kind, "change": change},
        )
    )
    await end_all(tx, user_id, CREDENTIAL_CHANGED, keep=keep)


def _began(session: Session, call: Call) -> bool:
    """Whether the calling service began the session.

    Threat: a service that got hold of another's refresh token goes on with its session (RFC 6749 section 6).
    """
    return session.client_id == call.caller.service_account_id


async def _end(tx: Tx, session: Session, reason: str) -> None:
    await tx.sessions.end(session, reason)
    tx.record(revoked(session, reason))


def revoked(session: Session, reason: str) -> Event:
    """Make the event of a session's end."""
    name = session_object(session.session_id)
    return Event(
        EventType.SESSION_REVOKED, (name, user_object(session.user_id)), nodes=(name,), payload={"reason": reason}
    )


def _established(session: Session, device: Device) -> Event:
    return Event(
        # No node: no answer can have read a session that did not exist (DESIGN.md section 2).
        EventType.SESSION_ESTABLISHED,
        (session_object(session.session_id), user_object(session.user_id)),
        payload={"methods": session.authentication_methods, "client_id": session.client_id},
        person=session.user_id,
        personal=device.columns(),
    )


def _presented(session: Session, device: Device) -> Event:
    return Event(
        EventType.SESSION_PRESENTED,
        (session_object(session.session_id), user_object(session.user_id)),
        payload={"generation": session.refresh_generation},
        person=session.user_id,
        personal=device.columns(),
    )


def _reused(session: Session, device: Device) -> Event:
    return Event(
        EventType.REFRESH_TOKEN_REUSED,
        (session_object(session.session_id), user_object(session.user_id)),
        outcome=Outcome.FAILURE,
        person=session.user_id,
        personal=device.columns(),
    )
