"""Whether a token is good at this moment, and whose it is: the question behind IntrospectToken and on-behalf-of.

An answer says what it depends on (its nodes) and which snapshot it was computed on (its horizon), so that whoever
caches it knows when it falls (DESIGN.md section 2). Both come from one statement, and so from one snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from watchword.server.identifiers import (
    SIGNING_KEYS,
    key_object,
    service_object,
    session_object,
    user_object,
)
from watchword.server.signing import Signing
from watchword.server.storage import users
from watchword.server.storage.database import Database, Reader
from watchword.server.storage.service_accounts import ACTIVE, PresentedKey
from watchword.server.storage.sessions import Presented
from watchword.server.storage.snapshot import Snapshot
from watchword.server.tokens import AccessToken, AccessTokens, TokenRejected, api_key_id, is_that_key


class Inactive(StrEnum):
    """Why a token is not good."""

    NOT_RECOGNIZED = "not_recognized"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ACCOUNT_DISABLED = "account_disabled"
    WRONG_AUDIENCE = "wrong_audience"


@dataclass(frozen=True, slots=True)
class UserToken:
    """A good access token."""

    token: AccessToken
    now: datetime
    snapshot: Snapshot

    @property
    def nodes(self) -> tuple[str, ...]:
        """What the answer depends on."""
        return (session_object(self.token.session_id), user_object(self.token.user_id), SIGNING_KEYS)


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A good API key."""

    key: PresentedKey
    permissions: frozenset[str]
    now: datetime
    snapshot: Snapshot

    @property
    def nodes(self) -> tuple[str, ...]:
        """What the answer depends on."""
        return (key_object(self.key.key_id), service_object(self.key.service_account_id))


class PermissionsOfKeys(Protocol):
    """Decides which permissions a key has (`access.Permissions`)."""

    def of(self, key: PresentedKey, *, now: datetime) -> frozenset[str]:
        """All permissions of a key."""


class Introspector:
    """Answers for tokens."""

    def __init__(
        self, database: Database, tokens: AccessTokens, signing: Signing, permissions: "PermissionsOfKeys"
    ) -> None:
        self._database = database
        self._permissions = permissions
        self._tokens = tokens
        self._signing = signing

    async def introspect(self, text: str) -> UserToken | ServiceKey | Inactive:
        """Tell whose an access token or API key is, or why it is not good."""
        if api_key_id(text) is not None:
            return await self.api_key(text)
        return await self.access_token(text)

    async def api_key(self, text: str) -> ServiceKey | Inactive:
        """Tell whose an API key is, or why it is not good."""
        key_id = api_key_id(text)
        if key_id is None:
            return Inactive.NOT_RECOGNIZED
        async with self._database.read() as reader:
            key = await reader.service_accounts.presented(key_id)
        if key is None or not is_that_key(text, key.key_hash):
            return Inactive.NOT_RECOGNIZED
        if key.revoke_time is not None:
            return Inactive.REVOKED
        if key.account_status != ACTIVE:
            return Inactive.ACCOUNT_DISABLED
        if key.ended(reader.now):
            return Inactive.EXPIRED
        permissions = self._permissions.of(key, now=reader.now)
        return ServiceKey(key, permissions, reader.now, Snapshot(key.epoch, key.horizon))

    async def access_token(self, text: str) -> UserToken | Inactive:
        """Tell whose an access token is, or why it is not good."""
        try:
            kid = self._tokens.kid_of(text)
            async with self._database.read() as reader:
                token = self._tokens.verify(text, await self._public_key(reader, kid), now=reader.now)
                row = await reader.sessions.presented(token.session_id, token.user_id, token.kid)
        except TokenRejected as rejected:
            return Inactive.EXPIRED if rejected.expired else Inactive.NOT_RECOGNIZED
        if row is None:
            return Inactive.NOT_RECOGNIZED
        return _ended(row, token, reader.now) or UserToken(token, reader.now, Snapshot(row.epoch, row.horizon))

    async def _public_key(self, reader: Reader, kid: str) -> bytes:
        """Find a public key. A kid's key never changes, so it is asked for once; revocation is asked every time."""
        key = await self._signing.public_key(reader, kid)
        if key is None:
            raise TokenRejected
        return key


def _ended(row: Presented, token: AccessToken, now: datetime) -> Inactive | None:
    if row.user_status != users.ACTIVE:
        return Inactive.ACCOUNT_DISABLED
    if row.end_time is not None or row.key_revoke_time is not None:
        return Inactive.REVOKED
    # Threat: a token that was revoked after a backup, whose session is alive again since that was restored.
    if token.epoch != row.epoch:
        return Inactive.REVOKED
    return Inactive.EXPIRED if row.expire_time <= now else None
