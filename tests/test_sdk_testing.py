"""The pytest plugin, as somebody else's project uses it."""

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from watchword.client import AsyncClient, Client, NotFoundError, SignInRefusedError, TokenExpiredError, testing
from watchword.client.testing import Clock, LocalServer, SignedIn

EXAMPLE = '''
PASSWORD = "correct horse battery"

def test_sign_in(watchword):
    watchword.users.create(username="ana", password=PASSWORD)
    assert watchword.sign_in("ana", password=PASSWORD).session

def test_the_database_is_clean(watchword, watchword_server):
    assert list(watchword.users.list()) == []
    assert watchword_server.address.startswith("127.0.0.1:")

def test_asynchronous(watchword_async):
    import asyncio
    async def make():
        async with watchword_async as client:
            await client.users.create(username="ana")
            return [user.username async for user in client.users.list()]
    assert asyncio.run(make()) == ["ana"]

MODEL = """
model
  schema 1.1
type user
type document
  relations
    define owner: [user]
    define viewer: [user, user with in_office] or owner
    define can_view: viewer
condition in_office(floor: int) {
  floor < 3
}
"""

def test_sharing(watchword, as_user, grant, revoke, assert_allowed, assert_denied):
    watchword.permissions.write_model(dsl=MODEL)
    ana, ben = as_user("ana"), as_user("ben")
    grant(ana, "viewer", "document:1")
    assert_allowed(ana, "can_view", "document:1")
    assert_denied(ben, "can_view", "document:1")
    revoke(ana, "viewer", "document:1")
    assert_allowed(ana, "can_view", "document:1")
'''
MODEL = EXAMPLE.partition('MODEL = """')[2].partition('"""')[0]


def run_pytest(folder: Path, text: str) -> str:
    (folder / "test_example.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_example_in_an_empty_folder(tmp_path: Path):
    output = run_pytest(tmp_path, EXAMPLE)
    assert "1 failed, 3 passed" in output
    # It fails in the test's own line, and says what is lacking.
    assert '>       assert_allowed(ana, "can_view", "document:1")' in output
    assert "must be allowed can_view of document:1, and is not:" in output
    assert "Nearest missing: " in output
    assert "_scene.py" not in output
    assert "eyJ" not in output  # as access tokens begin


def test_reset(watchword: Client, watchword_server: testing.LocalServer):
    times = []
    for _ in range(10):
        user = watchword.users.create(username="ana")
        start = time.perf_counter()
        watchword_server.reset()
        times.append(time.perf_counter() - start)
        with pytest.raises(NotFoundError):
            watchword.users.get(user.user_id)
    assert min(times) < 0.020


def test_the_clock(watchword: Client, watchword_server: testing.LocalServer):
    watchword_server.advance(3600)
    ahead = watchword.users.create(username="ana").create_time.timestamp() - time.time()
    assert 3590 < ahead < 3610
    assert abs(watchword_server.time() - time.time() - 3600) < 1
    watchword_server.reset()
    assert abs(watchword.users.create(username="ana").create_time.timestamp() - time.time()) < 10


def test_a_server_leaves_nothing_behind():
    with testing.local_server() as server:
        folder = Path(parse_qs(urlsplit(server.database_url).query)["host"][0])
        assert folder.is_dir()
        assert server.api_key not in repr(server)
        with pytest.raises(RuntimeError, match="fly"):
            server._tell(command="fly")
    assert not folder.exists()


def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"), testing.local_server():
        pass


# --- people and permissions ---------------------------------------------------------------------------

AsUser = Callable[..., SignedIn]


def test_as_user_makes_a_user_or_finds_one(watchword: Client, as_user: AsUser):
    ana, again = as_user("ana", display_name="Ana"), as_user("ANA")
    assert ana.user.display_name == "Ana"
    assert again.subject == ana.subject == f"user:{ana.user.user_id}"
    assert again.tokens.session.session_id != ana.tokens.session.session_id
    assert as_user("ben@example.com").user.email == "ben@example.com"
    assert as_user("BEN@example.com").subject == as_user("ben@example.com").subject
    watchword.users.create(username="eve", password="nine pears in spring")
    assert as_user("eve", password="nine pears in spring").tokens
    with pytest.raises(SignInRefusedError):
        as_user("eve")
    assert ana.tokens.access_token not in repr(ana)


def test_requests_carry_token_and_revision(watchword: Client, as_user: AsUser, grant: Callable[..., str]):
    watchword.permissions.write_model(dsl=MODEL)
    ana = as_user("ana")
    assert watchword.authenticate(ana.headers["Authorization"].removeprefix("Bearer ")).subject == ana.subject
    revision = grant(ana, "viewer", "document:1")
    assert ana.headers["Watchword-Revision"] == revision
    assert set(ana.environ) == {"HTTP_AUTHORIZATION", "HTTP_WATCHWORD_REVISION"}
    assert ana.metadata == (("authorization", ana.headers["Authorization"]), ("watchword-revision", revision))


def test_subjects_and_objects_are_named_or_have_names(
    watchword: Client,
    as_user: AsUser,
    grant: Callable[..., str],
    revoke: Callable[..., str],
    assert_allowed: Callable[..., None],
    assert_denied: Callable[..., None],
):
    watchword.permissions.write_model(dsl=MODEL)
    ana = as_user("ana")
    document = SimpleNamespace(watchword_object="document:1")
    principal = watchword.authenticate(ana.tokens.access_token)
    for subject in (ana, ana.user, principal, ana.subject, SimpleNamespace(watchword_subject=ana.subject)):
        grant(subject, "viewer", document)
        assert_allowed(subject, "can_view", document)
        with pytest.raises(AssertionError, match=r"must be denied can_view of document:1, and is not:\n\+ "):
            assert_denied(subject, "can_view", document)
        revoke(subject, "viewer", document)
        assert_denied(subject, "can_view", document)
        with pytest.raises(AssertionError, match=r"must be allowed can_view of document:1, and is not:\n- "):
            assert_allowed(subject, "can_view", document)


def test_what_is_undecided_is_neither(
    watchword: Client,
    grant: Callable[..., str],
    assert_allowed: Callable[..., None],
    assert_denied: Callable[..., None],
):
    watchword.permissions.write_model(dsl=MODEL)
    grant("user:x", "viewer", "document:1", condition="in_office")
    assert_allowed("user:x", "can_view", "document:1", context={"floor": 1})
    assert_denied("user:x", "can_view", "document:1", context={"floor": 7})
    for check in (assert_allowed, assert_denied):
        with pytest.raises(AssertionError, match="Missing in the context: floor"):
            check("user:x", "can_view", "document:1")


async def test_both_clients_see_the_same_data(as_user: AsUser, request: pytest.FixtureRequest):
    ana = as_user("ana")
    client: AsyncClient = request.getfixturevalue("watchword_async")
    async with client:
        assert (await client.users.get(ana.user.user_id)).username == "ana"


# --- the clock ----------------------------------------------------------------------------------------


def test_what_is_kept_ages_with_the_clock(
    watchword: Client, watchword_clock: Clock, as_user: AsUser, grant: Callable[..., str]
):
    watchword.permissions.write_model(dsl=MODEL)
    ana = as_user("ana")
    grant(ana, "viewer", "document:1", expire_time=watchword_clock.now() + timedelta(minutes=2))
    assert watchword.check(ana.subject, "can_view", "document:1")
    watchword.ready()
    assert watchword.check(ana.subject, "can_view", "document:1")
    hits = watchword.status().hits
    assert watchword.check(ana.subject, "can_view", "document:1")
    assert watchword.status().hits == hits + 1
    watchword_clock.advance(timedelta(seconds=119))
    watchword.ready()
    assert watchword.check(ana.subject, "can_view", "document:1")
    watchword_clock.advance(2)
    assert not watchword.check(ana.subject, "can_view", "document:1")
    watchword_clock.advance(300)
    with pytest.raises(TokenExpiredError):
        watchword.authenticate(ana.tokens.access_token)


async def test_what_an_asynchronous_client_keeps_ages_too(
    watchword: Client,
    watchword_async: AsyncClient,
    watchword_clock: Clock,
    as_user: AsUser,
    grant: Callable[..., str],
):
    watchword.permissions.write_model(dsl=MODEL)
    ana = as_user("ana")
    grant(ana, "viewer", "document:1", expire_time=watchword_clock.now() + timedelta(minutes=2))
    async with watchword_async as client:
        await client.ready()
        assert await client.check(ana.subject, "can_view", "document:1")
        assert await client.authenticate(ana.tokens.access_token)
        watchword_clock.advance(121)
        assert not await client.check(ana.subject, "can_view", "document:1")
        watchword_clock.advance(300)
        with pytest.raises(TokenExpiredError):
            await client.authenticate(ana.tokens.access_token)


def test_writes_are_read_also_after_the_clock_was_moved(
    watchword: Client, watchword_clock: Clock, grant: Callable[..., str], revoke: Callable[..., str]
):
    watchword.permissions.write_model(dsl=MODEL)
    watchword_clock.advance(3600)
    watchword.ready()
    # Written in another thread, whose context is not this one's: by the time of the write alone is it known here.
    with ThreadPoolExecutor(1) as pool:
        for _ in range(50):
            pool.submit(grant, "user:x", "viewer", "document:1").result()
            assert watchword.check("user:x", "can_view", "document:1")
            pool.submit(revoke, "user:x", "viewer", "document:1").result()
            assert not watchword.check("user:x", "can_view", "document:1")


def test_a_client_that_outlives_a_test_does_not_take_old_proofs_for_new(
    watchword: Client, watchword_clock: Clock, watchword_server: LocalServer
):
    watchword_clock.advance(3600)
    watchword.ready()
    watchword_server.reset()
    assert watchword.status().staleness_seconds >= 0
    assert abs(watchword_clock() - time.time()) < 10
