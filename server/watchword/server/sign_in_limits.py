"""How many failed sign-ins are too many, and what follows.

A limit is a bucket that leaks. Each attempt fills it by one before its password is looked at, and what leaks out is
forgotten. While there is room, attempts pass freely; so many may be under way at a time, too. Once it is full they
pass one by one, and after each failure nobody passes for a delay that doubles as the bucket fills further. A success
takes its own attempt out again; where the limit says so, it empties the bucket.

Threats, and what meets them:

- Guessing one account's password: `account`. By default 5 guesses, some more with growing delays, then 2 a day: 100
  failures in a row take 40 days (NIST SP 800-63B section 3.2.2).
- One machine that tries many accounts: `address`. A household or office shares an address, so it takes more.
- Many machines that try many accounts: `total`. It only slows: its delay is a second, and a user of a known device
  notices nothing.
- Locking somebody out by failing in their name: a known device is held against `device` alone, which nobody else fills.
  A success there leaves `account` as it is, or the owner's daily sign-in would give an attacker new guesses each day.
- Guessing the current password in ChangePassword, from a session that was left open: `current_password`, by user.
- Finding out who exists: all is counted by what was typed, not by whom it names.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Final

from watchword.server.config import Config

LEASE: Final = timedelta(minutes=1)
"""How long an attempt may be under way; whoever takes longer, or is killed, has failed."""


class Kind(IntEnum):
    """What is counted. The order is that in which servers take the rows: the one that all share comes last."""

    ACCOUNT = 1
    DEVICE = 2
    CURRENT_PASSWORD = 3
    ADDRESS = 4
    TOTAL = 5


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit."""

    kind: Kind
    failures: int
    """How many failures have no delay after them but the last."""
    leak: timedelta
    """After how long one failure is forgotten."""
    max_delay: timedelta
    first_delay: timedelta = timedelta(seconds=1)
    resets: bool = False
    """Whether a success ends all that failed before."""


@dataclass(frozen=True, slots=True)
class SignInLimits:
    """The limits of a deployment; None for one that is turned off."""

    account: Limit | None
    device: Limit | None
    current_password: Limit | None
    address: Limit | None
    total: Limit | None

    @classmethod
    def of(cls, config: Config) -> "SignInLimits":
        """Make them from the settings."""
        own, address, total = (
            config.sign_in_failures_per_account,
            config.sign_in_failures_per_address,
            config.sign_in_failures_in_all,
        )
        quarter, second = timedelta(minutes=15), timedelta(seconds=1)
        return cls(
            account=_of_one(Kind.ACCOUNT, own),
            device=_of_one(Kind.DEVICE, own),
            current_password=_of_one(Kind.CURRENT_PASSWORD, own),
            address=Limit(Kind.ADDRESS, address, timedelta(hours=1) / address, quarter) if address else None,
            total=Limit(Kind.TOTAL, total, timedelta(minutes=1) / total, second) if total else None,
        )


def _of_one(kind: Kind, failures: int) -> Limit | None:
    half_day = timedelta(hours=12)
    return Limit(kind, failures, half_day, half_day, resets=True) if failures else None
