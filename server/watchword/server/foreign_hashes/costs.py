"""What a hash may cost, and below what it is weak: decided from its parameters, before anything is computed.

Threat: whoever brings hashes, or can write them to the database, chooses what each attempt to sign in costs this
server in memory and time. At these limits one verification takes about a second of one core, and 256 MiB.

Weak is what the OWASP Password Storage Cheat Sheet has as too little. It is imported all the same and reported: the
user's first sign-in ends it.
"""

from typing import Final

from watchword.server.config import is_strong_argon2

_MAX_MEMORY: Final = 256 * 1024 * 1024
_MAX_ARGON2_KIB_PASSES: Final = 1024 * 1024
_MAX_ARGON2_LANES: Final = 16  # each is a thread
_BCRYPT_COSTS: Final = range(4, 15)
_MAX_PBKDF2_ROUNDS: Final = {"sha1": 4_000_000, "sha256": 4_000_000, "sha512": 2_000_000}
_MAX_SCRYPT_WORK: Final = 2**22
_MAX_SCRYPT_P: Final = 64

_BCRYPT_FLOOR: Final = 10
_PBKDF2_FLOOR: Final = {"sha1": 1_300_000, "sha256": 600_000, "sha512": 210_000}
# Pairs of N·r and p that are equally strong.
_SCRYPT_FLOOR: Final = ((2**20, 1), (2**19, 2), (2**18, 3), (2**17, 5), (2**16, 10))


def argon2_is_bearable(memory_kib: int, time: int, lanes: int) -> bool:
    """Whether an argon2 hash may be verified here."""
    return (
        memory_kib * 1024 <= _MAX_MEMORY and memory_kib * time <= _MAX_ARGON2_KIB_PASSES and lanes <= _MAX_ARGON2_LANES
    )


def argon2_is_weak(memory_kib: int, time: int) -> bool:
    """Whether it should be stronger."""
    return not is_strong_argon2(memory_kib, time)


def bcrypt_is_bearable(cost: int) -> bool:
    """Whether a bcrypt hash may be verified here."""
    return cost in _BCRYPT_COSTS


def bcrypt_is_weak(cost: int) -> bool:
    """Whether it should be stronger."""
    return cost < _BCRYPT_FLOOR


def pbkdf2_is_bearable(digest: str, rounds: int) -> bool:
    """Whether a PBKDF2 hash may be verified here."""
    return rounds <= _MAX_PBKDF2_ROUNDS[digest]


def pbkdf2_is_weak(digest: str, rounds: int) -> bool:
    """Whether it should be stronger."""
    return rounds < _PBKDF2_FLOOR[digest]


def scrypt_is_bearable(n: int, r: int, p: int) -> bool:
    """Whether an scrypt hash may be verified here."""
    return p <= _MAX_SCRYPT_P and 128 * n * r <= _MAX_MEMORY and n * r * p <= _MAX_SCRYPT_WORK


def scrypt_is_weak(n: int, r: int, p: int) -> bool:
    """Whether it should be stronger."""
    return not any(n * r >= memory and p >= times for memory, times in _SCRYPT_FLOOR)
