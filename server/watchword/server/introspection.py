"""Whether a token is good at this moment, and whose it is: the question behind IntrospectToken and on-behalf-of.

An answer says what it depends on (its nodes) and which snapshot it was computed on (its horizon), so that whoever
caches it knows when it falls (DESIGN.md section 2). Both come from one statement, and so from one snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from watchword.server.identifiers import (
    SIGNING_KEYS,
    key_object,
    service_object,
    session_object,
    user_object,
)
from watchword.server.signing import Signing
from watchword.server.storage import users
from watchword.server.storage.database import Database
from watchword.server.storage.service_accounts import ACTIVE, PresentedKey
from watchword.server.storage.sessions import PRESENTED, Presented
from watchword.server.storage.snapshot import Snapshot
from watchword.server.tokens import AccessToken, AccessTokens, TokenRejected, api_key_id, is_that_key

_MAX_VERIFIED: Final = 4_096
"""A token and what it says take about 3 KiB."""


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
        self._verified: dict[str, AccessToken] = {}

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
        now = self._database.now()
        try:
            token = self._verified.get(text) or await self._verify(text)
            token.require_in_time(now)
        except TokenRejected as rejected:
            return Inactive.EXPIRED if rejected.expired else Inactive.NOT_RECOGNIZED
        asked = {"id": token.session_id, "user_id": token.user_id, "kid": token.kid}
        for row in await self._database.gather(PRESENTED, asked):
            presented = Presented(*row)
            snapshot = Snapshot(presented.epoch, presented.horizon)
            return _ended(presented, token, now) or UserToken(token, now, snapshot)
        return Inactive.NOT_RECOGNIZED

    async def _verify(self, text: str) -> AccessToken:
        """Verify what a token says, once: a signature that is right stays so, and so does the public key of a kid.

        Whether the key was revoked, and all else that can change, is asked every time. Only what this deployment has
        signed is remembered, so strangers cannot fill the memory.
        """
        kid = self._tokens.kid_of(text)
        token = self._tokens.verify(text, kid, await self._public_key(kid))
        if len(self._verified) >= _MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[text] = token
        return token

    async def _public_key(self, kid: str) -> Ed25519PublicKey:
        known = self._signing.unsealed(kid)
        if known is not None:
            return known.key.public_key()
        async with self._database.read() as reader:
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
