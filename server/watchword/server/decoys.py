"""Whose hash is computed for somebody who does not exist.

Threat: telling accounts apart by the time that a refused sign-in takes. Hashes that were brought along (foreign_hashes)
take from milliseconds to a second and a half, each user's its own; if an unknown name always took the 20 ms of this
server's own, every imported user could be told from it. So an unknown name takes the hash of some real user, always of
the same place in the order of costs: of a thousand unknown names as many are slow as of a thousand users. The outcome
is thrown away. As users sign in and get hashes of this server's own, their share of quick ones grows, and with it the
decoys'.

The places are those of a sample of the passwords, read anew every minute. It is the same on all workers, and a name's
place hangs on the master key: asking again, or elsewhere, tells nothing more.
"""

import time
from collections.abc import Iterable
from typing import Final

from watchword.server.foreign_hashes import HashRefused, recognise
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database

_SECONDS: Final = 60.0
_MAC_BYTES: Final = 16


class Decoys:
    """Stored hashes in the order of their costs, of which each unknown name has one."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._hashes: list[str] = []
        self._read = float("-inf")

    async def of(self, name: str) -> str | None:
        """Give the hash for a name, if there is no user of it; None if there are no passwords.

        To be asked for every name, whether there is a user or not.
        """
        if time.monotonic() - self._read >= _SECONDS:
            self._read = time.monotonic()  # before it is read, so that nobody else does
            async with self._database.read() as reader:
                self._hashes = in_order(await reader.credentials.sample())
        if not self._hashes:
            return None
        place = int.from_bytes(self._keyring.mac("decoys", name.encode(), _MAC_BYTES))
        return self._hashes[place * len(self._hashes) >> 8 * _MAC_BYTES]


def in_order(hashes: Iterable[str]) -> list[str]:
    """Sort hashes by what they cost, without those that are none."""
    costs: dict[str, float] = {}
    for text in hashes:
        try:
            costs[text] = recognise(text).milliseconds
        except HashRefused:
            continue
    return sorted(costs, key=lambda text: (costs[text], text))
