"""The server rotates its signing key by itself, once, however many processes try."""

import asyncio
import secrets
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from watchword.client import Client
from watchword.server.app import utc_now
from watchword.server.call import server_call
from watchword.server.sealing import Keyring
from watchword.server.signing import PUBLISH_LEAD, Signing
from watchword.server.storage.database import Database

LIFETIME = timedelta(days=30)
TOKEN_LIFETIME = timedelta(minutes=5)


class Clock:
    def __init__(self):
        self.now = utc_now()

    def __call__(self):
        return self.now


@pytest.fixture
async def deployment(watchword: Client, watchword_server, sql):
    """A database of the server's without signing keys, and a clock of our own."""
    sql("delete from signing_keys")
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    clock = Clock()
    database = Database(
        watchword_server.database_url, pool_size=8, keyring=keyring, clock=clock, randomness=secrets.token_bytes
    )
    await database.open()
    signing = Signing(keyring, secrets.token_bytes, key_lifetime=LIFETIME, token_lifetime=TOKEN_LIFETIME)
    yield database, signing, clock
    await database.close()


async def rotate_if_due(database: Database, signing: Signing) -> str | None:
    async with database.write(server_call("server/rotate")) as tx:
        key = await signing.rotate_if_due(tx)
        return key.kid if key else None


async def state(database: Database, signing: Signing) -> tuple[str, list[str]]:
    async with database.read() as reader:
        published = [key.kid for key in await signing.published(reader)]
        return (await signing.current(reader)).kid, published


async def test_rotation_by_the_server(deployment):
    database, signing, clock = deployment
    made = [kid for kid in await asyncio.gather(*(rotate_if_due(database, signing) for _ in range(8))) if kid]
    assert len(made) == 1
    first = made[0]
    assert await state(database, signing) == (first, [first])

    clock.now += LIFETIME - PUBLISH_LEAD - timedelta(minutes=2)
    assert await rotate_if_due(database, signing) is None
    clock.now += timedelta(minutes=2)
    made = [kid for kid in await asyncio.gather(*(rotate_if_due(database, signing) for _ in range(8))) if kid]
    assert len(made) == 1
    second = made[0]
    # Published before it signs, for longer than any verifier keeps what it knows.
    assert await state(database, signing) == (first, [first, second])
    clock.now += PUBLISH_LEAD - timedelta(seconds=1)
    assert (await state(database, signing))[0] == first
    clock.now += timedelta(seconds=1)
    assert await state(database, signing) == (second, [first, second])
    # Kept until the last token of the first one has expired.
    clock.now += TOKEN_LIFETIME
    assert first in (await state(database, signing))[1]
    clock.now += timedelta(minutes=2)
    assert await state(database, signing) == (second, [second])
    assert await rotate_if_due(database, signing) is None


async def test_a_server_whose_clock_is_behind_has_a_key(deployment):
    database, signing, clock = deployment
    first = await rotate_if_due(database, signing)
    for behind in (timedelta(seconds=30), timedelta(minutes=2), timedelta(days=1)):
        clock.now -= behind
        assert (await state(database, signing))[0] == first


async def test_a_key_put_into_the_database_counts_for_nothing(deployment, sql):
    """Threat: who can write to the database signs tokens for anybody, with a key of their own."""
    database, signing, clock = deployment
    first = await rotate_if_due(database, signing)
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    (row,) = sql("select * from signing_keys")
    for kid, sealed in (("stranger", b"x"), ("copy", row["private_key_sealed"])):
        sql(
            "insert into signing_keys (kid, public_key, private_key_sealed, create_time, activate_time)"
            " values (%s, %s, %s, %s, %s)",
            *(kid, stranger, sealed, clock.now, clock.now - timedelta(days=1)),
        )
    sql("update signing_keys set public_key = %s where kid = %s", stranger, first)
    async with database.read() as reader:
        assert await signing.published(reader) == []
        for kid in ("stranger", "copy"):
            assert await signing.public_key(reader, kid) is None
