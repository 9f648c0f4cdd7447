"""A restore that PostgreSQL does not show (storage/history.py): the operator tells, and a new epoch begins."""

import asyncio
import secrets

from watchword.server.app import utc_now
from watchword.server.call import server_call
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.server.storage.history import EpochKeeper, Restore


def database_restored(database_url: str, keyring: Keyring) -> str:
    """Begin a new epoch and return it.

    Raises:
        DatabaseUnavailable: nothing answers at the URL.

    """
    return asyncio.run(_begin_epoch(database_url, keyring))


async def _begin_epoch(database_url: str, keyring: Keyring) -> str:
    database = Database(database_url, pool_size=2, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes)
    await database.open()
    try:
        while True:
            async with database.write(server_call("server/restored")) as tx:
                epoch = await EpochKeeper(secrets.token_bytes).renew(tx, Restore.TOLD)
            # None: in this moment a server has begun one by itself, for a reason of its own.
            if epoch is not None:
                return epoch
    finally:
        await database.close()
