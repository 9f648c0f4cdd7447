"""Servers that fork: each process has a live feed of its own, and what is taken back is so in all of them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD

from watchword.client import Client, SessionTokens
from watchword.client.testing import LocalServer

REVOKED = "TokenRevokedError"
SECONDS = 30.0


@pytest.fixture
def tokens(watchword: Client) -> SessionTokens:
    """Of a user who is signed in."""
    watchword.users.create(username="ana", password=PASSWORD)
    return watchword.sign_in("ana", password=PASSWORD)


def environment(server: LocalServer, **more: str) -> dict[str, str]:
    """What a process needs to find the server, and the modules beside this one."""
    own = {
        "WATCHWORD_ADDRESS": server.address,
        "WATCHWORD_API_KEY": server.api_key,
        "PYTHONPATH": str(Path(__file__).parent),
    }
    # As callers have it, not as this run has it (conftest.py).
    inherited = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    return {**inherited, **own, **more}


def test_a_process_that_follows_the_feed_may_fork(
    watchword_server: LocalServer, watchword: Client, tokens: SessionTokens
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "forking"],
        env=environment(watchword_server, TEST_ACCESS_TOKEN=tokens.access_token),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            roles = ["child0", "child1", "parent"]
            said = sorted(process.stdout.readline() for _ in roles)
            assert said == [f"{role} True {tokens.session.user_id}\n" for role in roles]
            watchword.sessions.revoke(tokens.session.session_id)
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                process.stdin.write(".\n")
                process.stdin.flush()
                said = sorted(process.stdout.readline() for _ in roles)
                if said == [f"{role} True {REVOKED}\n" for role in roles]:
                    break
            assert said == [f"{role} True {REVOKED}\n" for role in roles]
            process.stdin.close()
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


@contextmanager
def celery_worker(env: dict[str, str], folder: Path) -> Iterator[None]:
    """Run a worker that forks two processes."""
    quiet = ("--without-heartbeat", "--without-gossip", "--without-mingle", "--loglevel=error")
    command = [sys.executable, "-m", "celery", "--quiet", "--app=celery_tasks", "worker", "--concurrency=2"]
    with subprocess.Popen([*command, "--pool=prefork", *quiet], env=env, cwd=folder) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(SECONDS)
            finally:
                process.kill()


def test_celery_processes_have_live_feeds(
    watchword_server: LocalServer,
    watchword: Client,
    tokens: SessionTokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("broker", "results"):
        (tmp_path / name).mkdir()
    env = environment(watchword_server, TEST_BROKER=str(tmp_path / "broker"), TEST_RESULTS=str(tmp_path / "results"))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    from celery_tasks import who  # it reads its settings when it is imported

    def answers(until: Any) -> dict[int, tuple[bool, str]]:
        """Ask until each of the two processes has said what is waited for."""
        found: dict[int, tuple[bool, str]] = {}
        for _ in range(100):
            pid, fresh, name = who.delay(tokens.access_token).get(timeout=SECONDS)
            found[pid] = fresh, name
            if len(found) == 2 and set(found.values()) == {until}:
                break
        return found

    with celery_worker(env, tmp_path):
        first = answers((True, tokens.session.user_id))
        assert list(first.values()) == [(True, tokens.session.user_id)] * 2
        watchword.sessions.revoke(tokens.session.session_id)
        assert answers((True, REVOKED)) == dict.fromkeys(first, (True, REVOKED))
