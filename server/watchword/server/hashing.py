"""The work of a password hash: made with argon2id, compared with whatever made it. No queue and no server around it.

argon2id is computed by libsodium where it can (one lane, a salt of 16 bytes: all hashes of this server's defaults),
for it picks AVX2 or AVX-512 as it runs, and by argon2-cffi, which is built for any processor, where not. Both give the
same hashes; a test compares them.
"""

import base64
import contextlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import argon2
from argon2.exceptions import VerificationError, VerifyMismatchError
from nacl.bindings import (
    crypto_pwhash_alg,
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_pwhash_BYTES_MIN,
    crypto_pwhash_SALTBYTES,
)
from nacl.exceptions import CryptoError

from watchword.server.config import Argon2Parameters
from watchword.server.foreign_hashes import HashRefused, from_base64, recognise
from watchword.server.password_policy import forms, normalize

SALT_BYTES: Final = crypto_pwhash_SALTBYTES
"""RFC 9106 section 3.1 recommends as many for passwords."""
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a password is right and, if so, whether its hash should be made anew with today's parameters."""

    ok: bool
    rehash: bool


class Hashing:
    """Makes and verifies hashes. One costs about 20 ms and 19 MiB by design."""

    def __init__(self, parameters: Argon2Parameters) -> None:
        self._parameters = parameters
        self._argon2 = argon2.PasswordHasher(
            parameters.time, parameters.memory_kib, parameters.parallelism, _HASH_BYTES, SALT_BYTES
        )

    def hash(self, password: str, salt: bytes) -> str:
        """Hash a password; the answer is a PHC string with its salt and parameters."""
        secret, cost = normalize(password).encode(), self._parameters
        found = _argon2id(secret, salt, cost, _HASH_BYTES)
        return self._argon2.hash(secret, salt=salt) if found is None else phc_string(cost, salt, found)

    def verify(self, password: str, stored: str | None, *, decoy: str) -> Verdict | None:
        """Verify a password, and without a hash do the work of the decoy's; None if the stored hash cannot be read."""
        passwords = forms(password)
        if stored is not None:
            with contextlib.suppress(HashRefused, ValueError, VerificationError):  # raised before any work is done
                return self._compare(passwords, stored)
        self._compare(passwords, decoy)
        return Verdict(ok=False, rehash=False) if stored is None else None

    def _compare(self, passwords: Sequence[bytes], stored: str) -> Verdict:
        """Compare all forms of a password with a hash: this server's own, or one that was brought along."""
        # Of argon2 are its own, under whatever parameters it had. No limit of today may lock their users out.
        is_argon2 = stored.startswith("$argon2")
        matches = partial(self._is_made_of, stored) if is_argon2 else recognise(stored).matches
        for password in passwords:
            if matches(password):
                is_todays = is_argon2 and password == passwords[0] and not self._argon2.check_needs_rehash(stored)
                return Verdict(ok=True, rehash=not is_todays)
        return Verdict(ok=False, rehash=False)

    def _is_made_of(self, stored: str, password: bytes) -> bool:
        made = argon2.extract_parameters(stored)
        if (made.type, made.version) == (argon2.Type.ID, argon2.low_level.ARGON2_VERSION):
            salt, expected = (from_base64(part) for part in stored.split("$")[-2:])
            cost = Argon2Parameters(
                memory_kib=made.memory_cost, time=made.time_cost, parallelism=made.parallelism, allow_weak=True
            )
            found = _argon2id(password, salt, cost, len(expected))
            if found is not None:
                return hmac.compare_digest(found, expected)
        try:
            return self._argon2.verify(stored, password)
        except VerifyMismatchError:
            return False


def phc_string(parameters: Argon2Parameters, salt: bytes, found: bytes) -> str:
    """Write an argon2id hash as the PHC string that every library of argon2 reads."""
    cost = f"m={parameters.memory_kib},t={parameters.time},p={parameters.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${cost}${_to_base64(salt)}${_to_base64(found)}"


def _argon2id(password: bytes, salt: bytes, cost: Argon2Parameters, length: int) -> bytes | None:
    """Compute argon2id (RFC 9106) by libsodium; None where it cannot."""
    if cost.parallelism != 1 or len(salt) != SALT_BYTES or length < crypto_pwhash_BYTES_MIN:
        return None
    try:
        return crypto_pwhash_alg(
            length, password, salt, cost.time, cost.memory_kib * 1024, crypto_pwhash_ALG_ARGON2ID13
        )
    except CryptoError:  # no memory: argon2-cffi says so
        return None


def _to_base64(some: bytes) -> str:
    return base64.b64encode(some).rstrip(b"=").decode()
