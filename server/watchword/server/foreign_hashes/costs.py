"""What a hash costs, and below what it is weak: told by its parameters, before anything is computed.

Threat: whoever brings hashes, or can write them to the database, chooses what each attempt to sign in costs this
server in memory and time. At the limits one verification takes about a second and a half of one core, and 256 MiB.

Weak is what the OWASP Password Storage Cheat Sheet has as too little. It is imported all the same and reported: the
user's first sign-in ends it.
"""

from typing import Final

_MAX_MILLISECONDS: Final = 1_600
_MAX_MEMORY: Final = 256 * 1024 * 1024
_MAX_LANES: Final = 64  # threads of an argon2 hash; of an scrypt hash how often its memory is filled

# What a core of a small server takes, measured. They order hashes and bound them; nothing hangs on a tenth.
_ARGON2_PER_KIB_AND_PASS: Final = 1 / 1_900
_BCRYPT_PER_ROUND: Final = 0.0575
_PBKDF2_PER_ROUND: Final = {"sha1": 0.000225, "sha256": 0.000225, "sha512": 0.00053}
_SCRYPT_PER_BLOCK: Final = 0.00038

_BCRYPT_FLOOR: Final = 10
_PBKDF2_FLOOR: Final = {"sha1": 1_300_000, "sha256": 600_000, "sha512": 210_000}
# Pairs of N·r and p that are equally strong.
_SCRYPT_FLOOR: Final = ((2**20, 1), (2**19, 2), (2**18, 3), (2**17, 5), (2**16, 10))


def is_bearable(milliseconds: float, *, memory: int = 0, lanes: int = 1) -> bool:
    """Whether a hash may be verified here."""
    return milliseconds <= _MAX_MILLISECONDS and memory <= _MAX_MEMORY and lanes <= _MAX_LANES


def of_argon2(memory_kib: int, time: int) -> float:
    """Estimate the milliseconds of one argon2 hash."""
    return memory_kib * time * _ARGON2_PER_KIB_AND_PASS


def of_bcrypt(cost: int) -> float:
    """Estimate the milliseconds of one bcrypt hash."""
    return (1 << cost) * _BCRYPT_PER_ROUND


def of_pbkdf2(digest: str, rounds: int) -> float:
    """Estimate the milliseconds of one PBKDF2 hash."""
    return rounds * _PBKDF2_PER_ROUND[digest]


def of_scrypt(n: int, r: int, p: int) -> float:
    """Estimate the milliseconds of one scrypt hash."""
    return n * r * p * _SCRYPT_PER_BLOCK


def is_weak_bcrypt(cost: int) -> bool:
    """Whether it should be stronger."""
    return cost < _BCRYPT_FLOOR


def is_weak_pbkdf2(digest: str, rounds: int) -> bool:
    """Whether it should be stronger."""
    return rounds < _PBKDF2_FLOOR[digest]


def is_weak_scrypt(n: int, r: int, p: int) -> bool:
    """Whether it should be stronger."""
    return not any(n * r >= memory and p >= times for memory, times in _SCRYPT_FLOOR)
