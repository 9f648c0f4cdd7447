"""The four functions behind all formats, each as a hash that can be asked whether a password made it."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import bcrypt
from argon2 import Type
from argon2.exceptions import HashingError
from argon2.low_level import hash_secret_raw

from watchword.server.config import is_strong_argon2
from watchword.server.foreign_hashes import costs

Prepare = Callable[[bytes], bytes]
"""Turns a password into what the function got; such as its SHA-256, so that bcrypt sees all of it."""

_ARGON2_TYPES: Final = {"i": Type.I, "d": Type.D, "id": Type.ID}
_ARGON2_SALT_BYTES: Final = 8
_HASH_BYTES: Final = range(16, 129)
_DIGEST_BYTES: Final = {"sha1": 20, "sha256": 32, "sha512": 64}
BCRYPT_BYTES: Final = 72
_MIN_BCRYPT_COST: Final = 4
_MAX_BCRYPT_COST: Final = 31
_BCRYPT_ALPHABET: Final = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Refusal(StrEnum):
    """Why a text is not taken as a password hash."""

    UNKNOWN = "unknown"
    MALFORMED = "malformed"
    TOO_COSTLY = "too_costly"
    DISABLED = "disabled"


class HashRefused(Exception):
    """A text is no password hash that is verified here. Says why in words for whoever imports it, and never quotes."""

    TEXTS: Final = {
        Refusal.UNKNOWN: "is of no kind that can be verified: argon2, bcrypt, PBKDF2 or scrypt as Django, Werkzeug, "
        "passlib or pwdlib write them",
        Refusal.MALFORMED: "is malformed or cut off",
        Refusal.TOO_COSTLY: "has a cost beyond what a sign-in may take",
        Refusal.DISABLED: "marks an account without a password: leave it empty",
    }

    def __init__(self, why: Refusal) -> None:
        super().__init__(self.TEXTS[why])
        self.why = why


@dataclass(frozen=True, slots=True)
class ForeignHash:
    """A password hash that can be verified at a bounded cost."""

    scheme: str
    """The function and what goes with it, such as "pbkdf2_sha256": for reports."""
    is_weak: bool
    """Whether its cost is below what is recommended today."""
    milliseconds: float
    """About how long it takes: an estimate by which hashes are compared."""
    matches: Callable[[bytes], bool] = field(repr=False)
    """Whether a password, as bytes, made it. Computes: for the processes that hash only."""


def of_argon2(
    kind: str, version: int, memory_kib: int, time: int, lanes: int, *, salt: bytes, expected: bytes
) -> ForeignHash:
    """An argon2 hash (RFC 9106)."""
    if memory_kib < 8 * lanes or len(salt) < _ARGON2_SALT_BYTES or len(expected) not in _HASH_BYTES:
        raise HashRefused(Refusal.MALFORMED)
    milliseconds = costs.of_argon2(memory_kib, time)
    if not costs.is_bearable(milliseconds, memory=memory_kib * 1024, lanes=lanes):
        raise HashRefused(Refusal.TOO_COSTLY)

    def matches(password: bytes) -> bool:
        try:
            found = hash_secret_raw(
                password, salt, time, memory_kib, lanes, len(expected), _ARGON2_TYPES[kind], version
            )
        except HashingError as error:  # no memory, say: not a wrong password
            raise MemoryError("argon2 could not compute a hash") from error
        return hmac.compare_digest(found, expected)

    return ForeignHash(f"argon2{kind}", not is_strong_argon2(memory_kib, time), milliseconds, matches)


def of_bcrypt(
    cost: int, salt: str, expected: str, *, scheme: str = "bcrypt", prepare: Prepare | None = None
) -> ForeignHash:
    """A bcrypt hash: 22 and 31 signs of bcrypt's own base64. Without `prepare` it is plain bcrypt, with its limits."""
    if not _MIN_BCRYPT_COST <= cost <= _MAX_BCRYPT_COST:
        raise HashRefused(Refusal.MALFORMED)
    milliseconds = costs.of_bcrypt(cost)
    if not costs.is_bearable(milliseconds):
        raise HashRefused(Refusal.TOO_COSTLY)
    # The last sign of each has spare bits, which some implementations filled.
    settings = f"$2b${cost:02}${_without_spare(salt, 0x30)}".encode()
    wanted = _without_spare(expected, 0x3C).encode()

    def matches(password: bytes) -> bool:
        secret = prepare(password) if prepare else password
        fits = len(secret) <= BCRYPT_BYTES and b"\0" not in secret
        # The same work whether it fits or not: not even this is told by the time.
        found = bcrypt.hashpw(secret if fits else b"", settings)[-31:]
        return hmac.compare_digest(found, wanted) and fits

    return ForeignHash(scheme, costs.is_weak_bcrypt(cost), milliseconds, matches)


def of_pbkdf2(digest: str, rounds: int, *, salt: bytes, expected: bytes) -> ForeignHash:
    """A hash by PBKDF2 (RFC 8018) with HMAC, as long as its digest: a longer one costs more and adds nothing."""
    if len(expected) != _DIGEST_BYTES[digest]:
        raise HashRefused(Refusal.MALFORMED)
    milliseconds = costs.of_pbkdf2(digest, rounds)
    if not costs.is_bearable(milliseconds):
        raise HashRefused(Refusal.TOO_COSTLY)

    def matches(password: bytes) -> bool:
        return hmac.compare_digest(hashlib.pbkdf2_hmac(digest, password, salt, rounds), expected)

    return ForeignHash(f"pbkdf2_{digest}", costs.is_weak_pbkdf2(digest, rounds), milliseconds, matches)


def of_scrypt(n: int, r: int, p: int, *, salt: bytes, expected: bytes, length: int) -> ForeignHash:
    """A hash by scrypt (RFC 7914), as long as its format has it: a shorter one is the same cut off, and would match."""
    if n < 2 or n & (n - 1) or n.bit_length() > 16 * r or len(expected) != length:  # noqa: PLR2004
        raise HashRefused(Refusal.MALFORMED)
    milliseconds = costs.of_scrypt(n, r, p)
    if not costs.is_bearable(milliseconds, memory=128 * n * r, lanes=p):
        raise HashRefused(Refusal.TOO_COSTLY)

    def matches(password: bytes) -> bool:
        memory = 128 * r * (n + p + 2) + 64 * 1024
        found = hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, dklen=length, maxmem=memory)
        return hmac.compare_digest(found, expected)

    return ForeignHash("scrypt", costs.is_weak_scrypt(n, r, p), milliseconds, matches)


def _without_spare(text: str, mask: int) -> str:
    return text[:-1] + _BCRYPT_ALPHABET[_BCRYPT_ALPHABET.index(text[-1]) & mask]
