"""A name that nobody has takes as long as a name that somebody has, whatever hashes were brought along."""

import secrets
from collections import Counter

import bcrypt
import pytest

from watchword.client import Client, ImportedUser, SignInRefusedError
from watchword.server.app import utc_now
from watchword.server.config import Argon2Parameters
from watchword.server.decoys import Decoys, in_order
from watchword.server.foreign_hashes import recognise
from watchword.server.hashing import Hashing, Verdict
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database

SLOW = "pbkdf2_sha256$900000$salt$" + "A" * 43 + "="
QUICK = "$2b$04$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O"
MASTER_KEY = Keyring.generate(secrets.token_bytes)
NAMES = [f"nobody{n}@example.com" for n in range(400)]


@pytest.fixture
async def decoys(watchword_server, watchword):
    """Makes what a worker has, which reads the sample when it is first asked."""
    keyring = Keyring.parse(MASTER_KEY, randomness=secrets.token_bytes)
    database = Database(
        watchword_server.database_url, pool_size=2, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes
    )
    await database.open()
    yield lambda: Decoys(database, keyring)
    await database.close()


def brought(client: Client, *hashes: str) -> None:
    users = [ImportedUser(external_id=str(n), username=f"u{n}", password_hash=text) for n, text in enumerate(hashes)]
    assert client.users.import_(users).created_count == len(hashes)


async def test_as_many_of_the_unknown_are_slow_as_of_the_users(watchword: Client, decoys):
    assert await decoys().of(NAMES[0]) is None, "no passwords at all"
    brought(
        watchword, *(f"{SLOW.replace('salt', f'salt{n}')}" for n in range(30)), *(QUICK[:-1] + c for c in "OUYacegikm")
    )
    worker, other = decoys(), decoys()
    found = [await worker.of(name) for name in NAMES]
    assert [await other.of(name) for name in NAMES] == found, "the same on all workers"
    share = Counter(recognise(text).scheme for text in found)["pbkdf2_sha256"] / len(NAMES)
    assert 0.65 < share < 0.85


async def test_a_large_table_is_sampled(watchword: Client, decoys, sql):
    brought(watchword, QUICK)
    sql(
        "insert into users (user_id, username_key, status, create_time, update_time)"
        " select gen_random_uuid(), 'x' || n, 'active', now(), now() from generate_series(1, 20000) n"
    )
    sql(
        "insert into credentials (credential_id, user_id, kind, password_hash, create_time, update_time)"
        " select gen_random_uuid(), user_id, 'password', replace(%s, 'salt', username_key), now(), now() from users"
        " where username_key like 'x%%'",
        SLOW,
    )
    worker = decoys()
    assert await worker.of("nobody")
    assert 500 < len(worker._hashes) <= 2_000


def test_the_order_is_that_of_costs():
    argon2 = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"
    costly = QUICK.replace("$04$", "$14$")
    assert in_order([costly, SLOW, "md5$no$hash", argon2, QUICK, SLOW]) == [QUICK, argon2, SLOW, costly]


def test_the_work_is_that_of_the_decoy_and_its_outcome_is_thrown_away(monkeypatch):
    weak = Argon2Parameters(memory_kib=8, time=1, allow_weak=True)
    hashes = Hashing(weak)
    theirs = bcrypt.hashpw(b"staple horse", bcrypt.gensalt(4)).decode()
    calls = []
    real = bcrypt.hashpw
    monkeypatch.setattr(bcrypt, "hashpw", lambda *args: calls.append(args) or real(*args))
    for password in ("staple horse", "wrong"):
        assert hashes.verify(password, None, decoy=theirs) == Verdict(ok=False, rehash=False)
    assert len(calls) == 2
    assert hashes.verify("staple horse", theirs, decoy=SLOW) == Verdict(ok=True, rehash=True)


def test_the_server_takes_them(watchword: Client, watchword_server):
    """What it does shows in nothing but its time; here it is only seen to answer as ever."""
    brought(watchword, QUICK)
    for name in ("u0", "nobody", "nobody@example.com"):
        with pytest.raises(SignInRefusedError) as refused:
            watchword.sign_in(name, password="correct horse battery")
        assert set(refused.value.metadata) == {"request_id"}
