"""The keys that sign access tokens: their life from creation to the end of the last token.

A key is published before it signs, so that no verifier meets a token whose key it could not know; and it stays
published until its last token has expired. A key that leaked is revoked instead: it leaves the published set at
once. Which key signs is read from the database for every token, so a rotation made by one process is followed by
all; only the unsealing is remembered.
"""

import json
from datetime import datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from watchword.server.identifiers import SIGNING_KEYS, Randomness
from watchword.server.sealing import Keyring, SealBroken, UnknownMasterKey
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.signing_keys import SigningKey
from watchword.server.storage.transaction import Reader, Tx
from watchword.server.tokens import SKEW, PrivateKey, encode

MAX_AGE = timedelta(minutes=5)
"""For how long verifiers may keep the published keys."""

PUBLISH_LEAD = 2 * MAX_AGE
"""How long before it signs a key is published."""

_REMEMBERED = 16
_log = structlog.get_logger("watchword.signing")


class Signing:
    """Makes, unseals and publishes signing keys."""

    def __init__(
        self, keyring: Keyring, randomness: Randomness, *, key_lifetime: timedelta, token_lifetime: timedelta
    ) -> None:
        self._sealer = keyring.sealer("signing_keys")
        self._randomness = randomness
        self._key_lifetime = key_lifetime
        self._token_lifetime = token_lifetime
        self._unsealed: dict[str, PrivateKey] = {}

    async def current(self, reader: Reader) -> PrivateKey:
        """Give the key that signs now.

        Raises:
            UnknownMasterKey, SealBroken: the master key is not the one that it was sealed with.

        """
        row = await reader.signing_keys.current()
        if row is None:
            raise AssertionError("the server makes the first key before it serves")
        return self._unseal(row)

    def unsealed(self, kid: str) -> PrivateKey | None:
        """Give a key that this process has signed with or verified by before."""
        return self._unsealed.get(kid)

    async def public_key(self, reader: Reader, kid: str) -> Ed25519PublicKey | None:
        """Find the public key of a kid, revoked or not."""
        known = self._unsealed.get(kid)
        if known is None:
            row = await reader.signing_keys.find(kid)
            # Not remembered if there is none: an attacker could fill the memory with invented kids.
            if row is None or not self._is_ours(row):
                return None
            known = self._unseal(row)
        return known.key.public_key()

    async def published(self, reader: Reader) -> list[SigningKey]:
        """List the keys that verify tokens now or will."""
        rows = await reader.signing_keys.published(retired_after=reader.now - self._token_lifetime - SKEW)
        return [row for row in rows if self._is_ours(row)]

    def _is_ours(self, row: SigningKey) -> bool:
        """Whether this deployment made a key.

        Threat: somebody who can write to the database puts in a public key of their own and signs tokens for anybody.
        They cannot seal its private half, and a public key counts only as the half of one.
        """
        try:
            ours = self._unseal(row).key.public_key().public_bytes_raw() == row.public_key
        except (SealBroken, UnknownMasterKey):
            ours = False
        if not ours:
            _log.error("a signing key is not of this deployment and is left out", kid=row.kid)
        return ours

    def _unseal(self, row: SigningKey) -> PrivateKey:
        key = self._unsealed.get(row.kid)
        if key is None:
            raw = self._sealer.open(row.private_key_sealed, context=f"{row.kid}/private_key")
            key = PrivateKey(row.kid, Ed25519PrivateKey.from_private_bytes(raw))
            if len(self._unsealed) >= _REMEMBERED:
                self._unsealed.clear()
            self._unsealed[row.kid] = key
        return key

    async def rotate(self, tx: Tx) -> SigningKey:
        """Publish a new key, to sign when every verifier knows it. If one waits already, that is the one."""
        await tx.signing_keys.lock()
        newest = await self._newest(tx)
        if newest is not None and newest.activate_time > tx.now:
            return newest
        return await self._create(tx, tx.now + PUBLISH_LEAD if newest else _at_once(tx))

    async def replace(self, tx: Tx) -> SigningKey:
        """Revoke every key and sign with a new one from now on."""
        await tx.signing_keys.lock()
        for kid in await tx.signing_keys.revoke_all():
            tx.record(Event(EventType.SIGNING_KEY_REVOKED, (f"signing_key:{kid}",), nodes=(SIGNING_KEYS,)))
        return await self._create(tx, _at_once(tx))

    async def rotate_if_due(self, tx: Tx) -> SigningKey | None:
        """Make the first key, or the next one in time; None if nothing is due."""
        await tx.signing_keys.lock()
        newest = await self._newest(tx)
        if newest is not None and tx.now < newest.activate_time + self._key_lifetime - PUBLISH_LEAD:
            return None
        return await self.rotate(tx)

    async def _newest(self, reader: Reader) -> SigningKey | None:
        return next(reversed(await self.published(reader)), None)

    async def _create(self, tx: Tx, activate_time: datetime) -> SigningKey:
        private = Ed25519PrivateKey.from_private_bytes(self._randomness(32))
        kid = encode(self._randomness(12))
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        tx.record(Event(EventType.SIGNING_KEY_CREATED, (f"signing_key:{kid}",), nodes=(SIGNING_KEYS,)))
        return await tx.signing_keys.create(
            {
                "kid": kid,
                "public_key": private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
                "private_key_sealed": self._sealer.seal(raw, context=f"{kid}/private_key"),
                "create_time": tx.now,
                "activate_time": activate_time,
            }
        )


def _at_once(tx: Tx) -> datetime:
    """Give a time that has come on every server, though their clocks differ a little."""
    return tx.now - SKEW


def jwks(keys: list[SigningKey]) -> str:
    """Write keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""
    return json.dumps(
        {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": "EdDSA",
                    "use": "sig",
                    "kid": key.kid,
                    "x": encode(key.public_key),
                }
                for key in keys
            ]
        },
        separators=(",", ":"),
    )
