"""Verifies access tokens (RFC 9068 JWTs, EdDSA over Ed25519) by hand, without I/O.

By hand, because the libraries forgive: they decode base64url with stray characters, take algorithms from the
token or need several passes. What is accepted here is exactly what Watchword issues, in its one encoding, so
that a token has one spelling only and no part of it chooses how it is verified.

What `verify` says is "signed by this deployment, for this audience, within its time". It knows nothing of what
happened since the token was issued: a session revoked less than a token lifetime (5 minutes by default) ago
still passes. `tokens.introspect` refuses it at once.
"""

import binascii
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NoReturn, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from watchword.client.errors import (
    InternalError,
    TokenAudienceMismatchError,
    TokenExpiredError,
    TokenIssuerMismatchError,
    TokenKeyUnknownError,
    TokenMalformedError,
    TokenNotYetValidError,
    TokenSignatureInvalidError,
)
from watchword.client.models import Principal

MAX_TOKEN_BYTES: Final = 4096
MAX_SKEW_SECONDS: Final = 60
_SIGNATURE_BYTES: Final = 64
_PUBLIC_KEY_BYTES: Final = 32
_LAST_SECOND: Final = 253_402_300_799  # of the year 9999: the last one that a datetime can hold
_HEADER_MEMBERS: Final = {"alg", "typ", "kid"}
_TO_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_FROM_STANDARD: Final = bytes.maketrans(b"+/", b"-_")
_SEGMENTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """Verifies the access tokens of one deployment.

    Attributes:
        keys: The public keys by `kid`, from `parse_jwks`.
        issuer: What `iss` must be.
        default_audience: What `aud` must hold unless `verify` is told otherwise.
        clock: Tells the time in Unix seconds.
        skew_seconds: How far the issuer's clock may be off, 0 to 60.

    """

    keys: Mapping[str, Ed25519PublicKey]
    issuer: str
    default_audience: str
    clock: Callable[[], float]
    skew_seconds: float

    def __post_init__(self) -> None:
        check_skew(self.skew_seconds)

    def verify(self, token: str, *, audience: str | None = None) -> Principal:
        """Whom an access token speaks for.

        Args:
            token: The access token, as it came; whatever it is, it is safe to pass.
            audience: The audience that the token must be for. Default: the deployment's default audience.

        Raises:
            TokenError: It is refused; the class says why.

        """
        header, payload, signature, signed = _split(token)
        key = self.keys.get(_key_id(header))
        if key is None:
            raise TokenKeyUnknownError("The access token names a key that is not among the signing keys.")
        if not signature_is_valid(key, signature, signed):
            raise TokenSignatureInvalidError("The signature of the access token is wrong.")
        # Nothing of the payload is looked at before the signature has been found good.
        claims = _parse_object(payload)
        principal = _principal(claims)
        self._check_source(claims, principal, self.default_audience if audience is None else audience)
        self._check_time(claims)
        return principal

    def _check_source(self, claims: dict[str, Any], principal: Principal, audience: str) -> None:
        if claims.get("iss") != self.issuer:
            raise TokenIssuerMismatchError("The access token was issued by another deployment.")
        if audience not in principal.audiences:
            raise TokenAudienceMismatchError("The access token is for other audiences.")

    def _check_time(self, claims: dict[str, Any]) -> None:
        now = self.clock()
        if now >= _seconds(claims, "exp") + self.skew_seconds:
            raise TokenExpiredError("The access token has expired.")
        starts = [_seconds(claims, name) for name in ("iat", "nbf") if name in claims]
        if now < max(starts) - self.skew_seconds:
            raise TokenNotYetValidError("The access token is not valid yet; compare the clocks.")


def check_skew(seconds: float) -> None:
    """Refuse a tolerance that would keep expired tokens alive.

    Raises:
        ValueError: It is not within 0 to 60 seconds.

    """
    if not 0 <= seconds <= MAX_SKEW_SECONDS:
        raise ValueError(f"The tolerated clock skew must be 0 to {MAX_SKEW_SECONDS} seconds.")


def parse_jwks(text: str) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 signing keys of a JSON Web Key Set (RFC 7517, RFC 8037), by `kid`.

    Keys of other kinds and for other uses are left out, as RFC 7517 section 5 has it.

    Raises:
        InternalError: It is no key set, or one of its Ed25519 signing keys is broken.

    """
    try:
        entries = _load_object(text)["keys"]
        keys = [
            (entry["kid"], _public_key(entry["x"]))
            for entry in entries
            if (entry.get("kty"), entry.get("crv"), entry.get("use")) == ("OKP", "Ed25519", "sig")
            and entry.get("alg", "EdDSA") == "EdDSA"
        ]
        by_id = dict(keys)
        if len(by_id) != len(keys) or not all(isinstance(key_id, str) for key_id in by_id):
            raise ValueError  # noqa: TRY301 - told like all else that is wrong with the set
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InternalError("The server's signing keys are not a usable JSON Web Key Set.") from error
    return by_id


def signature_is_valid(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    """Whether an Ed25519 signature (RFC 8032) is good."""
    if len(signature) != _SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True


def decode_base64url(text: str) -> bytes:
    """Decode base64url without padding, in its one canonical spelling (RFC 7515 section 2).

    Raises:
        ValueError: It has padding, stray characters or bits that carry nothing.

    """
    encoded = text.encode("ascii")
    data = binascii.a2b_base64(encoded.translate(_TO_STANDARD) + b"=" * (-len(encoded) % 4))
    # The decoder skips what it does not know and drops left-over bits. Were those let through, a token would
    # have many spellings, and a list of refused tokens could be evaded.
    if binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_FROM_STANDARD) != encoded:
        raise ValueError("not canonical base64url")
    return data


def _split(token: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Header, payload, signature and what was signed."""
    # The length is looked at first, so that no work is done on a megabyte of noise.
    segments = token.split(".", _SEGMENTS) if len(token) <= MAX_TOKEN_BYTES else []
    if len(segments) != _SEGMENTS:
        _malformed()
    try:
        header, payload, signature = map(decode_base64url, segments)
    except ValueError:
        _malformed()
    return header, payload, signature, token[: token.rindex(".")].encode("ascii")


@lru_cache(maxsize=64)  # all tokens of a signing key have the same header
def _key_id(header: bytes) -> str:
    """The `kid` of a header that has nothing else to say.

    Refused are thereby `alg: none`, HMAC with the public key as secret, and keys that the token brings along
    (`jwk`, `jku`, `x5c`, `x5u`): the token never chooses how or by what it is verified. `typ` keeps other JWTs
    of the same keys from passing for access tokens (RFC 8725 section 3.11).
    """
    members = _parse_object(header)
    key_id = members.get("kid")
    if (
        members.keys() != _HEADER_MEMBERS
        or members["alg"] != "EdDSA"
        or members["typ"] != "at+jwt"
        or not isinstance(key_id, str)
    ):
        _malformed()
    return key_id


def _parse_object(data: bytes) -> dict[str, Any]:
    try:
        return _load_object(data.decode("utf-8"))
    except (ValueError, RecursionError):
        _malformed()


def _load_object(text: str) -> dict[str, Any]:
    value = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one error for all that is wrong with the text
    return cast("dict[str, Any]", value)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Parsers differ in which of two equal members counts; an attacker would choose.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _public_key(text: str) -> Ed25519PublicKey:
    data = decode_base64url(text)
    if len(data) != _PUBLIC_KEY_BYTES:
        raise ValueError("not an Ed25519 public key")
    return Ed25519PublicKey.from_public_bytes(data)


def _principal(claims: dict[str, Any]) -> Principal:
    subject = _text(claims, "sub")
    revision = _text(claims, "rev")
    epoch, _, transaction = revision.partition(".")
    if (
        not subject.startswith("user:")
        or subject == "user:"
        or not epoch
        or not (transaction.isascii() and transaction.isdecimal())
    ):
        _malformed()
    audience = claims.get("aud")
    return Principal(
        subject=subject,
        session_id=_text(claims, "sid"),
        client_id=_text(claims, "client_id"),
        audiences=(audience,) if isinstance(audience, str) else _texts(claims, "aud"),
        token_id=_text(claims, "jti"),
        issue_time=_time(claims, "iat"),
        expire_time=_time(claims, "exp"),
        authentication_time=_time(claims, "auth_time"),
        authentication_methods=_texts(claims, "amr"),
        authentication_level=_text(claims, "acr"),
        organization_id=_text(claims, "org") if "org" in claims else None,
        revision=revision,
    )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        _malformed()
    return value


def _texts(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    if not isinstance(claims.get(name), list):
        _malformed()
    texts: tuple[Any, ...] = tuple(claims[name])
    if not all(isinstance(text, str) for text in texts):
        _malformed()
    return texts


def _seconds(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    # True is an int to Python, and 1e999 is a number to JSON.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _malformed()
    if not 0 <= value <= _LAST_SECOND:
        _malformed()
    return value


def _time(claims: dict[str, Any], name: str) -> datetime:
    return datetime.fromtimestamp(_seconds(claims, name), UTC)


def _malformed() -> NoReturn:
    """Refuse without quoting: what was sent as a token may well be somebody's secret."""
    raise TokenMalformedError("This is no access token of Watchword.") from None
