"""How hashes are written: each format as a pattern, and what it says to the function behind it."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from watchword.server.foreign_hashes.functions import (
    BCRYPT_BYTES,
    ForeignHash,
    HashRefused,
    Refusal,
    of_argon2,
    of_bcrypt,
    of_pbkdf2,
    of_scrypt,
)

_MAX_CHARACTERS: Final = 1024

_N = "([1-9][0-9]{0,11})"
_B64 = "([A-Za-z0-9+/]+={0,2})"
_AB64 = "([A-Za-z0-9./]+)"
_SALT = "([!-#%-~]*)"  # text, of which the bytes are the salt; the "$" ends it
_BCRYPT_SALT, _BCRYPT_HASH = "([./A-Za-z0-9]{22})", "([./A-Za-z0-9]{31})"


def recognise(text: str) -> ForeignHash:
    """Read a hash. Takes microseconds, whatever the text.

    Raises:
        HashRefused: It is none that is verified here, or costs too much.

    """
    if text.startswith("!"):
        raise HashRefused(Refusal.DISABLED)
    if len(text) > _MAX_CHARACTERS:
        raise HashRefused(Refusal.MALFORMED)
    for prefix, pattern, make in _FORMATS:
        if text.startswith(prefix):
            match = pattern.fullmatch(text)
            if match is None:
                raise HashRefused(Refusal.MALFORMED)
            return make(*match.groups())
    raise HashRefused(Refusal.UNKNOWN)


# ----- what the formats say -------------------------------------------------------------------------------------------


def _argon2(  # noqa: PLR0917  # the groups of the pattern
    kind: str, version: str | None, memory: str, time: str, lanes: str, salt: str, expected: str
) -> ForeignHash:
    # Hashes of version 16, the first one, do not say it.
    return of_argon2(
        kind,
        int(version or 16),
        int(memory),
        int(time),
        int(lanes),
        salt=from_base64(salt),
        expected=from_base64(expected),
    )


def _bcrypt(cost: str, salt: str, expected: str) -> ForeignHash:
    return of_bcrypt(int(cost), salt, expected)


def _django_bcrypt_sha256(cost: str, salt: str, expected: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return hashlib.sha256(password).hexdigest().encode()

    return of_bcrypt(int(cost), salt, expected, scheme="bcrypt_sha256", prepare=prepare)


def _passlib_bcrypt_sha256(cost: str, salt: str, expected: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return base64.b64encode(hmac.digest(salt.encode(), password, "sha256"))

    return of_bcrypt(int(cost), salt, expected, scheme="bcrypt_sha256", prepare=prepare)


def _passlib_bcrypt_sha256_of_old(cost: str, salt: str, expected: str) -> ForeignHash:
    def prepare(password: bytes) -> bytes:
        return base64.b64encode(hashlib.sha256(password).digest())

    return of_bcrypt(int(cost), salt, expected, scheme="bcrypt_sha256", prepare=prepare)


def _django_pbkdf2(digest: str, rounds: str, salt: str, expected: str) -> ForeignHash:
    return of_pbkdf2(digest, int(rounds), salt=salt.encode(), expected=from_base64(expected))


def _werkzeug_pbkdf2(digest: str, rounds: str, salt: str, expected: str) -> ForeignHash:
    return of_pbkdf2(digest, int(rounds), salt=salt.encode(), expected=bytes.fromhex(expected))


def _passlib_pbkdf2(digest: str | None, rounds: str, salt: str, expected: str) -> ForeignHash:
    return of_pbkdf2(digest or "sha1", int(rounds), salt=from_base64(salt, "./"), expected=from_base64(expected, "./"))


def _django_scrypt(n: str, salt: str, r: str, p: str, expected: str) -> ForeignHash:
    return of_scrypt(int(n), int(r), int(p), salt=salt.encode(), expected=from_base64(expected), length=64)


def _werkzeug_scrypt(n: str, r: str, p: str, salt: str, expected: str) -> ForeignHash:
    return of_scrypt(int(n), int(r), int(p), salt=salt.encode(), expected=bytes.fromhex(expected), length=64)


def _passlib_scrypt(exponent: str, r: str, p: str, salt: str, expected: str) -> ForeignHash:
    return of_scrypt(
        1 << int(exponent), int(r), int(p), salt=from_base64(salt), expected=from_base64(expected), length=32
    )


def _flask_security(key: str, text: str) -> ForeignHash:
    """Flask-Security hashes base64 of an HMAC of the password, under a secret of the application.

    That is longer than bcrypt's 72 bytes, and cut off there as passlib does it: 432 bits of the HMAC are left, which no
    two passwords share.
    """
    inner = recognise(text)
    secret, limit = from_base64(key), BCRYPT_BYTES if inner.scheme == "bcrypt" else None

    def matches(password: bytes) -> bool:
        return inner.matches(base64.b64encode(hmac.digest(secret, password, "sha512"))[:limit])

    return replace(inner, scheme=f"hmac_sha512+{inner.scheme}", matches=matches)


def from_base64(text: str, altchars: str = "+/") -> bytes:
    """Decode base64 with padding or without, which passlib writes with other signs; strictly."""
    plain = text.rstrip("=").replace(altchars[0], "+").replace(altchars[1], "/")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise HashRefused(Refusal.MALFORMED) from None
    # A text that uses the spare bits of its last sign is damaged.
    if base64.b64encode(decoded).decode().rstrip("=") != plain:
        raise HashRefused(Refusal.MALFORMED)
    return decoded


_Format = tuple[str, re.Pattern[str], Callable[..., ForeignHash]]
_ARGON2 = rf"\$argon2(id|i|d)(?:\$v=(16|19))?\$m={_N},t={_N},p={_N}\${_B64}\${_B64}"
_BCRYPT = rf"\$2[aby]\$([0-9]{{2}})\${_BCRYPT_SALT}{_BCRYPT_HASH}"


def _format(prefix: str, pattern: str, make: Callable[..., ForeignHash]) -> _Format:
    return prefix, re.compile(pattern), make


# A text belongs to the first format whose prefix it has.
_FORMATS: Final[tuple[_Format, ...]] = (
    _format("$argon2", _ARGON2, _argon2),
    _format("$2", _BCRYPT, _bcrypt),
    _format("argon2$", rf"argon2{_ARGON2}", _argon2),
    _format("bcrypt$", rf"bcrypt\${_BCRYPT}", _bcrypt),
    _format("bcrypt_sha256$", rf"bcrypt_sha256\${_BCRYPT}", _django_bcrypt_sha256),
    _format("pbkdf2_sha", rf"pbkdf2_(sha1|sha256)\${_N}\${_SALT}\${_B64}", _django_pbkdf2),
    _format("scrypt$", rf"scrypt\${_N}\${_SALT}\${_N}\${_N}\${_B64}", _django_scrypt),
    _format("scrypt:", rf"scrypt:{_N}:{_N}:{_N}\${_SALT}\$((?:[0-9a-f]{{2}})+)", _werkzeug_scrypt),
    _format("pbkdf2:", rf"pbkdf2:(sha1|sha256|sha512):{_N}\${_SALT}\$((?:[0-9a-f]{{2}})+)", _werkzeug_pbkdf2),
    _format("$pbkdf2", rf"\$pbkdf2(?:-(sha256|sha512))?\${_N}\${_AB64}\${_AB64}", _passlib_pbkdf2),
    _format(
        "$scrypt$", rf"\$scrypt\$ln=([1-9]|[12][0-9]|3[01]),r={_N},p={_N}\$([A-Za-z0-9+/]*)\${_B64}", _passlib_scrypt
    ),
    _format(
        "$bcrypt-sha256$v=",
        rf"\$bcrypt-sha256\$v=2,t=2b,r=([1-9][0-9]?)\${_BCRYPT_SALT}\${_BCRYPT_HASH}",
        _passlib_bcrypt_sha256,
    ),
    _format(
        "$bcrypt-sha256$",
        rf"\$bcrypt-sha256\$2[ab],([1-9][0-9]?)\${_BCRYPT_SALT}\${_BCRYPT_HASH}",
        _passlib_bcrypt_sha256_of_old,
    ),
    _format("$hmac-sha512$", rf"\$hmac-sha512\${_B64}\$((?!\$hmac).+)", _flask_security),
)
