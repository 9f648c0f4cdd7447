"""The pytest plugin, as somebody else's project uses it."""

import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from watchword.client import Client, NotFoundError, testing

EXAMPLE = """
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
"""


def test_the_example_in_an_empty_folder(tmp_path: Path):
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout + done.stderr


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
