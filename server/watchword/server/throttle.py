"""Holds sign-ins against their limits: before the password is looked at, and again when it is known to be right or not.

An attempt is reserved first, with all its counters in one statement, and counts as failed from then on: of a hundred
at the same time, on any number of servers, only those get to a hash for which there is room. What has no room only
because others are under way waits a little for them; users whose passwords are right do not disturb each other.
"""

import asyncio
import ipaddress
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from watchword.server.devices import KnownDevice
from watchword.server.errors import CurrentPasswordWrong, DomainError, SignInRefused, SignInThrottled
from watchword.server.sealing import Keyring
from watchword.server.sign_in_limits import Kind, Limit, SignInLimits
from watchword.server.storage.database import Database
from watchword.server.storage.failures import AnswerExists
from watchword.server.storage.sign_in_counters import Counter
from watchword.server.storage.transaction import Tx

_KEY_BYTES: Final = 16
# Sooner than the shortest hash there may be nothing to see; a queue of hashes is done within a second.
_FIRST_LOOK_SECONDS: Final = 0.02
_LAST_LOOK_SECONDS: Final = 0.5
# Threat: calls that wait for one account, each asking the database again and again.
_MAX_WAITING: Final = 64
_SECOND: Final = timedelta(seconds=1)


class Attempt:
    """A sign-in that may look at the password."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        self.counters = counters
        """For who counts the success by a statement of their own (storage.sign_ins.BEGIN), and says nothing here."""
        self.has_succeeded = False

    def succeed(self) -> None:
        """Note that the password was right and of use; it is counted so when the block ends well."""
        self.has_succeeded = True

    async def fail(self, tx: Tx) -> list[str]:
        """Count it as failed, with the transaction; return the names of the limits that it is the first to reach."""
        failed = await tx.sign_in_counters.fail(self.counters) if self.counters else []
        return [Kind(row.key[0]).name.lower() for row in failed if row.reached]


class Throttle:
    """Lets sign-ins through, or not."""

    def __init__(self, database: Database, keyring: Keyring, limits: SignInLimits) -> None:
        self._database = database
        self._keyring = keyring
        self._limits = limits
        self._waiting = 0

    def attempt(
        self, identifier: str, *, address: str = "", device: KnownDevice | None = None
    ) -> AbstractAsyncContextManager[Attempt]:
        """Let a sign-in through; what it costs is in the block.

        One that ends without a word has failed, unless its caller gets an error that tells nothing of the password, or
        has counted the success together with what came of it (`Attempt.counters`).

        Raises:
            SignInThrottled: too many have failed before.

        """
        limits = self._limits
        if device is not None and limits.device is not None:
            return self._attempt([(limits.device, f"{device.device_id.hex()} {identifier}")])
        return self._attempt(
            [
                (limits.account, identifier),
                (limits.address, network_of(address)) if address else (None, ""),
                (limits.total, ""),
            ]
        )

    def change_of(self, user_id: UUID) -> AbstractAsyncContextManager[Attempt]:
        """Let somebody show the current password of a user who has signed in, in the same way."""
        return self._attempt([(self._limits.current_password, str(user_id))])

    async def forget(self, tx: Tx, user_id: UUID, identifiers: Sequence[str]) -> None:
        """Begin anew for a user with a new password: what failed was about another one."""
        keys = [self._key(Kind.CURRENT_PASSWORD, str(user_id))]
        keys += [self._key(Kind.ACCOUNT, identifier) for identifier in identifiers]
        await tx.sign_in_counters.forget(keys)

    @asynccontextmanager
    async def _attempt(self, limits: Sequence[tuple[Limit | None, str]]) -> AsyncIterator[Attempt]:
        counters = [Counter(self._key(limit.kind, text), limit) for limit, text in limits if limit is not None]
        attempt = Attempt(counters)
        await self._reserve(counters)
        try:
            yield attempt
        except (SignInRefused, CurrentPasswordWrong):
            raise
        except (DomainError, AnswerExists):
            await self._give_back(counters, succeeded=False)
            raise
        if attempt.has_succeeded:
            await self._give_back(counters, succeeded=True)

    def _key(self, kind: Kind, text: str) -> bytes:
        # Threat: a copy of the database that tells who tried to sign in from where.
        return bytes([kind]) + self._keyring.mac("sign_in_counters", bytes([kind]) + text.encode(), _KEY_BYTES)

    async def _reserve(self, counters: Sequence[Counter]) -> None:
        if not counters:
            return
        pause = _FIRST_LOOK_SECONDS
        while True:
            async with self._database.read() as reader:
                reserved = await reader.sign_in_counters.reserve(counters)
                now = reader.now
            if len(reserved.keys) == len(counters):
                return
            if reserved.keys:
                await self._give_back([each for each in counters if each.key in reserved.keys], succeeded=False)
            if reserved.free_time is not None and reserved.free_time > now:
                # In whole seconds: who waits as long as told is not refused for a fraction of one.
                seconds = math.ceil((reserved.free_time - now).total_seconds())
                raise SignInThrottled(retry_after=timedelta(seconds=seconds))
            if pause > _LAST_LOOK_SECONDS or self._waiting >= _MAX_WAITING:
                raise SignInThrottled(retry_after=_SECOND)
            self._waiting += 1
            try:
                await asyncio.sleep(pause)
            finally:
                self._waiting -= 1
            pause *= 1.5

    async def _give_back(self, counters: Sequence[Counter], *, succeeded: bool) -> None:
        if counters:
            async with self._database.read() as reader:
                await reader.sign_in_counters.give_back(counters, succeeded=succeeded)


def network_of(address: str) -> str:
    """Name whom an address belongs to: of IPv6, a household or a machine has at least a /64."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))
