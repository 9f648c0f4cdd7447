"""The texts that prove something: access tokens, refresh tokens and API keys.

Access tokens are JWTs (RFC 9068) signed by the deployment's own Ed25519 keys. Signing and the checking of claims
is PyJWT's; before it come the checks that it leaves out: of a signature's base64url it ignores stray characters
and spare bits, so that one token would have many spellings. The SDK verifies with code of its own, and a test
holds the two against each other.

Refresh tokens and API keys are random; the database keeps SHA-256 hashes of them. A slow hash would add nothing:
nobody tries 2^256 secrets.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from watchword.server.identifiers import Randomness, uuid7
from watchword.server.sealing import Keyring, Sealer

MAX_TOKEN_BYTES: Final = 4096
MAX_ACCESS_TOKEN_BYTES: Final = 1024
SKEW = timedelta(seconds=60)
_TYPE: Final = "at+jwt"
_SEGMENTS: Final = 3
_HEADER_MEMBERS = frozenset({"alg", "typ", "kid"})
_REQUIRED = ["iss", "sub", "aud", "client_id", "exp", "iat", "jti", "sid", "auth_time", "amr", "acr", "rev"]

_KEY_PREFIX: Final = "wwk"
_REFRESH_PREFIX: Final = "wwr_"
_SECRET_BYTES: Final = 32
_MAC_BYTES: Final = 16
_REFRESH_BODY_BYTES: Final = 16 + 4 + _SECRET_BYTES


class TokenRejected(Exception):
    """A text is no good token of this deployment."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("the token has expired" if expired else "not a token of this deployment")
        self.expired = expired


def encode(value: bytes) -> str:
    """Write bytes in base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Read canonical base64url without padding: one spelling for one value.

    Raises:
        ValueError: it is not.

    """
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Threat: Python's decoder skips foreign characters and ignores spare bits, so one token would have many
    # spellings, and whatever remembers tokens by their text could be passed by.
    if encode(value) != text:
        raise ValueError("not canonical base64url")
    return value


def hash_of(text: str) -> bytes:
    """Hash a random token for storage."""
    return hashlib.sha256(text.encode()).digest()


# API keys: wwk_<id, 32 hexadecimal digits>_<32 random bytes>


def new_api_key(key_id: UUID, randomness: Randomness) -> str:
    """Make an API key. The id in it lets a key that was found somewhere be named and revoked."""
    return f"{_KEY_PREFIX}_{key_id.hex}_{encode(randomness(_SECRET_BYTES))}"


def api_key_id(text: str) -> UUID | None:
    """Read the id out of what may be an API key; None if it is none."""
    prefix, _, rest = text.partition("_")
    digits, _, secret = rest.partition("_")
    if prefix != _KEY_PREFIX or len(digits) != 32 or len(secret) != 43 or not text.isascii():  # noqa: PLR2004
        return None
    try:
        key_id = UUID(hex=digits)
    except ValueError:
        return None
    return key_id if key_id.hex == digits else None


def is_that_key(text: str, key_hash: bytes) -> bool:
    """Compare an API key with a stored hash, in constant time."""
    return hmac.compare_digest(hash_of(text), key_hash)


# Refresh tokens: wwr_ and base64url of session id | generation | secret | MAC


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token that this deployment made, which does not mean that it is still good."""

    text: str = field(repr=False)
    session_id: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class RefreshTokens:
    """Makes and recognises refresh tokens.

    The MAC tells an old token of ours from an invented one for ever, though only the hashes of the newest two are
    stored: an invented one must not end anybody's session, and session ids are no secret.
    """

    keyring: Keyring
    randomness: Randomness

    def new(self, session_id: UUID, generation: int) -> RefreshToken:
        """Make a session's next refresh token."""
        body = session_id.bytes + generation.to_bytes(4) + self.randomness(_SECRET_BYTES)
        mac = self.keyring.mac("refresh_tokens", body, _MAC_BYTES)
        return RefreshToken(_REFRESH_PREFIX + encode(body + mac), session_id, generation)

    def read(self, text: str) -> RefreshToken | None:
        """Recognise a refresh token that this deployment made."""
        if not text.startswith(_REFRESH_PREFIX):
            return None
        try:
            value = decode(text.removeprefix(_REFRESH_PREFIX))
        except ValueError:
            return None
        body, mac = value[:_REFRESH_BODY_BYTES], value[_REFRESH_BODY_BYTES:]
        if len(mac) != _MAC_BYTES or not self.keyring.verify_mac("refresh_tokens", body, _MAC_BYTES, mac=mac):
            return None
        return RefreshToken(text, UUID(bytes=body[:16]), int.from_bytes(body[16:20]))

    def seal_successor(self, used: RefreshToken, successor: RefreshToken) -> bytes:
        """Keep a token's successor for an honest retry, so that only who holds the used token can open it."""
        return self._sealer(used).seal(successor.text.encode(), context=str(used.session_id))

    def open_successor(self, used: RefreshToken, sealed: bytes) -> RefreshToken:
        """Read a token's successor again."""
        text = self._sealer(used).open(sealed, context=str(used.session_id)).decode()
        successor = self.read(text)
        if successor is None:
            raise AssertionError("what was sealed was a token of ours")
        return successor

    def _sealer(self, used: RefreshToken) -> Sealer:
        key = hashlib.sha256(b"watchword refresh successor\0" + used.text.encode()).digest()
        return Sealer.from_key(key, randomness=self.randomness)


# Access tokens


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a good access token says."""

    subject: str
    user_id: UUID
    client_id: str
    session_id: UUID
    audiences: tuple[str, ...]
    issue_time: datetime
    expire_time: datetime
    authentication_time: datetime
    authentication_methods: tuple[str, ...]
    authentication_level: str
    organization_id: str
    kid: str
    epoch: str
    """The history of the database that it is from."""

    def require_in_time(self, now: datetime) -> None:
        """Refuse it if its time is over, or has not come.

        Raises:
            TokenRejected: it is.

        """
        if now >= self.expire_time:
            raise TokenRejected(expired=True)
        if self.issue_time > now + SKEW:
            raise TokenRejected


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key to sign with."""

    kid: str
    key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessTokens:
    """Signs and verifies access tokens."""

    issuer: str
    lifetime: timedelta
    randomness: Randomness

    def sign(self, key: PrivateKey, claims: Mapping[str, Any], *, now: datetime, not_after: datetime) -> str:
        """Sign the claims of a session, completed by issuer, times and an id of the token's own."""
        issued = int(now.timestamp())
        complete = {
            "iss": self.issuer,
            **claims,
            "iat": issued,
            "exp": int(min(now + self.lifetime, not_after).timestamp()),
            "jti": uuid7(now, self.randomness).hex,
        }
        return jwt.encode(complete, key.key, algorithm="EdDSA", headers={"typ": _TYPE, "kid": key.kid})

    def kid_of(self, token: str) -> str:
        """Read which key a token says it was signed with, checking the header and every spelling.

        Raises:
            TokenRejected: it is no token that this deployment could have made.

        """
        segments = token.split(".")
        if len(token) > MAX_TOKEN_BYTES or not token.isascii() or len(segments) != _SEGMENTS:
            raise TokenRejected
        try:
            header = json.loads(decode(segments[0]))
            decode(segments[1])
            decode(segments[2])
        except (ValueError, RecursionError):
            raise TokenRejected from None
        # Threats: "none", an HMAC with the public key as its secret, a key that the token brings along
        # (jwk, jku, x5u, x5c), extensions that must be understood (crit). We sign with these members only.
        if not isinstance(header, dict) or header.keys() != _HEADER_MEMBERS:
            raise TokenRejected
        if header["alg"] != "EdDSA" or header["typ"] != _TYPE or not isinstance(header["kid"], str):
            raise TokenRejected
        return header["kid"]

    def verify(self, token: str, kid: str, key: Ed25519PublicKey) -> AccessToken:
        """Verify a token, whose header `kid_of` has checked and read, against a public key.

        The time is not looked at: see `AccessToken.require_in_time`.

        Raises:
            TokenRejected: the signature, the issuer or a claim is wrong.

        """
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                issuer=self.issuer,
                # Times are checked by the server's clock; the audience by who asks.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_aud": False},
            )
            return _read(claims, kid)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
            raise TokenRejected from None


def _read(claims: Mapping[str, Any], kid: str) -> AccessToken:
    kind, _, user = str(claims["sub"]).partition(":")
    if kind != "user":
        raise TokenRejected
    audience = claims["aud"]
    return AccessToken(
        subject=claims["sub"],
        user_id=UUID(user),
        client_id=claims["client_id"],
        session_id=UUID(claims["sid"]),
        audiences=(audience,) if isinstance(audience, str) else tuple(audience),
        issue_time=_time(claims["iat"]),
        expire_time=_time(claims["exp"]),
        authentication_time=_time(claims["auth_time"]),
        authentication_methods=tuple(claims["amr"]),
        authentication_level=claims["acr"],
        organization_id=claims.get("org", ""),
        kid=kid,
        epoch=str(claims["rev"]).partition(".")[0],
    )


def audience_claim(audiences: Sequence[str]) -> str | list[str]:
    """Write audiences as RFC 7519 has them: one as a string, several as a list."""
    return audiences[0] if len(audiences) == 1 else list(audiences)


def _time(seconds: object) -> datetime:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise TypeError("a time is a whole number of seconds")
    return datetime.fromtimestamp(seconds, UTC)
