"""Sign-ins that meet a change of the account after the password was found right, and before the session is there."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import PASSWORD
from deployment import seconds_until, waiting_for_locks

from watchword.client import Client, Device, SignInRefusedError, User
from watchword.client.testing import LocalServer

Rows = Callable[..., list[dict[str, Any]]]
LOCK = "SELECT FROM users WHERE user_id = %s FOR UPDATE"


@pytest.fixture
def ana(watchword: Client) -> User:
    return watchword.users.create(username="ana", password=PASSWORD)


def while_changing(server: LocalServer, sql: Rows, user: User, changes: list[str], call: Callable[[], Any]) -> Any:
    """Make a call while a transaction changes the user, which commits when the call waits for it."""
    with psycopg.connect(server.database_url) as holder, ThreadPoolExecutor(1) as thread:
        for change in (LOCK, *changes):
            holder.execute(change, (user.user_id,))
        calling = thread.submit(call)
        seconds_until(lambda: waiting_for_locks(sql) > 0, within=20)
        holder.commit()
        return calling.result()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET status = 'suspended' WHERE user_id = %s",
        "UPDATE credentials SET password_hash = password_hash || '=' WHERE user_id = %s",
        "DELETE FROM credentials WHERE user_id = %s",
    ],
    ids=["suspended", "new-password", "no-password"],
)
def test_what_was_changed_meanwhile_counts(watchword: Client, watchword_server: LocalServer, ana: User, sql, change):
    """Threat: a session begun by a password that had just been taken away."""

    def sign_in() -> None:
        with pytest.raises(SignInRefusedError):
            watchword.sign_in("ana", password=PASSWORD)

    while_changing(watchword_server, sql, ana, [change], sign_in)
    assert sql("SELECT session_id FROM sessions") == []
    assert sql("SELECT type, outcome FROM events ORDER BY event_id DESC LIMIT 1") == [
        {"type": "sign-in-failed", "outcome": "failure"}
    ]


@pytest.mark.parametrize(
    "changes",
    [[], ["UPDATE users SET display_name = 'Ana' WHERE user_id = %s"]],
    ids=["nothing", "name"],
)
def test_what_has_nothing_to_do_with_it_does_not(watchword: Client, watchword_server: LocalServer, ana, sql, changes):
    tokens = while_changing(watchword_server, sql, ana, changes, lambda: watchword.sign_in("ana", password=PASSWORD))
    assert watchword.tokens.introspect(tokens.access_token).active


def children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


@contextmanager
def no_hashes() -> Iterator[None]:
    """Stop the processes in which the servers of this test have passwords hashed."""
    pids = [
        pid
        for server in children(os.getpid())
        for pid in children(server)
        if b"hash_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_key_that_is_revoked_while_a_password_is_hashed_signs_nothing(watchword: Client, ana: User, sql):
    watchword.sign_in("ana", password=PASSWORD)
    with ThreadPoolExecutor(1) as thread, no_hashes():
        signing_in = thread.submit(watchword.sign_in, "ana", password=PASSWORD)
        seconds_until(lambda: bool(sql("SELECT key FROM sign_in_counters WHERE pending > 0")), within=20)
        watchword.tokens.rotate_signing_key(revoke_current=True)
        assert not signing_in.done()
    assert watchword.tokens.introspect(signing_in.result().access_token).active


def test_a_success_is_counted_with_its_session(watchword: Client, ana: User, sql):
    for _ in range(3):
        with pytest.raises(SignInRefusedError):
            watchword.sign_in("ana", password="wrong " + PASSWORD)
    assert [row["pending"] for row in sql("SELECT pending FROM sign_in_counters")] == [0, 0]
    before = sql("SELECT key, debt_time FROM sign_in_counters ORDER BY key")
    watchword.sign_in("ana", password=PASSWORD)
    account, total = sql("SELECT debt_time, pending, free_time <= now() AS is_free FROM sign_in_counters ORDER BY key")
    assert account["debt_time"] < before[0]["debt_time"], "an account's failures end with a success"
    assert total["debt_time"] == before[1]["debt_time"], "those of all together leak away"
    assert (account["pending"], total["pending"]) == (0, 0)


def test_a_session_and_its_event_hold_all_that_was_said(watchword: Client, ana: User, sql):
    device = Device(display_name='Ana\'s "phone" \\ ü 📱', user_agent="Firefox", ip_address="192.0.2.7")
    signed_in = watchword.sign_in("ana", password=PASSWORD, device=device, audiences=["shop", "wiki"])
    session = watchword.sessions.get(signed_in.session.session_id)
    assert session == signed_in.session
    assert (session.device, session.audiences) == (device, ("shop", "wiki"))
    (event,) = sql("SELECT person_id::text, payload, personal_sealed FROM events WHERE type = 'session-established'")
    assert (event["person_id"], event["payload"]["methods"]) == (ana.user_id, ["pwd"])
    assert event["personal_sealed"]


def test_last_use_is_noted_once_a_minute(watchword: Client, watchword_server: LocalServer, ana: User, sql):
    def last_used() -> Any:
        watchword.sign_in("ana", password=PASSWORD)
        return sql("SELECT last_used_time FROM credentials")[0]["last_used_time"]

    first = last_used()
    watchword_server.advance(59)
    assert last_used() == first
    watchword_server.advance(2)
    assert last_used() > first
