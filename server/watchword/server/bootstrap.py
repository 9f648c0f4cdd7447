"""The first key: how a new deployment lets its first administrator in, once.

There is no default account and no default password (ASVS 6.3.2). The key is shown once and kept nowhere in clear.
"""

import asyncio
import secrets
from collections.abc import Callable

from sqlalchemy import bindparam, update

from watchword.server.app import utc_now
from watchword.server.call import server_call
from watchword.server.identifiers import key_object, service_object
from watchword.server.permissions.built_in import ADMINISTRATOR
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.statement import Statement
from watchword.server.storage.tables import deployment
from watchword.server.storage.transaction import Tx
from watchword.server.tokens import hash_of, new_api_key

_CLAIM = Statement(
    update(deployment).where(deployment.c.bootstrap_time.is_(None)).values(bootstrap_time=bindparam("now"))
)


def bootstrap(database_url: str, keyring: Keyring, *, keep: Callable[[str], None], again: bool = False) -> bool:
    """Make the administrator's service account and its API key; False if that was done before.

    Args:
        database_url: a database with this version's schema.
        keyring: the deployment's master keys.
        keep: is given the key, to write or show it, before the key counts. If the process dies in between, a key
            that opens nothing was kept and the next start makes another; the other way round it would be lost.
        again: make another administrator although it was done before: for operators whose key is lost. Who has the
            master key and the database has everything anyway.

    Raises:
        DatabaseUnavailable: nothing answers at the URL.

    """
    return asyncio.run(_bootstrap(database_url, keyring, keep, again=again))


async def _bootstrap(database_url: str, keyring: Keyring, keep: Callable[[str], None], *, again: bool) -> bool:
    database = Database(database_url, pool_size=2, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes)
    await database.open()
    try:
        async with database.write(server_call("server/bootstrap")) as tx:
            # One row, claimed by whoever commits first: two that start at the same time make one key.
            is_first = bool(await tx.run(_CLAIM, now=tx.now))
            if is_first or again:
                # A name of its own: the first account may be deleted, and names are never used again.
                name = ADMINISTRATOR if is_first else f"{ADMINISTRATOR}-{secrets.token_hex(4)}"
                keep(await make_administrator(tx, name))
            return is_first or again
    finally:
        await database.close()


async def make_administrator(tx: Tx, service_account_id: str = ADMINISTRATOR) -> str:
    """Make an administrator's account and return its key."""
    account = await tx.service_accounts.create(
        service_account_id, display_name="Administrator", description="Made by whoever runs this deployment."
    )
    key_id = tx.new_id()
    text = new_api_key(key_id, secrets.token_bytes)
    key = await tx.service_accounts.create_key(
        account.service_account_id,
        key_id=key_id,
        key_hash=hash_of(text),
        display_name="Made at bootstrap",
        permissions=[ADMINISTRATOR],
        expire_time=None,
    )
    name = service_object(account.service_account_id)
    tx.record(Event(EventType.SERVICE_ACCOUNT_CREATED, (name,)))
    tx.record(Event(EventType.KEY_CREATED, (key_object(key.key_id), name), payload={"permissions": key.permissions}))
    return text
