"""Several worker processes on one port: they die and are replaced, and callers who try again notice nothing."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PASSWORD
from deployment import Deployment, deployment

from watchword.client import Client, WatchwordError

SECONDS = 30.0


@pytest.fixture(scope="module")
def workers() -> Iterator[Deployment]:
    """A deployment with two workers."""
    with deployment(WATCHWORD_WORKERS="2") as made:
        yield made


def pids(parent: "subprocess.Popen[str]") -> set[int]:
    """The worker processes."""
    text = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text()
    return {pid for pid in map(int, text.split()) if b"server.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def connected(made: Deployment) -> list[int]:
    """How many connections each worker has, by the inodes of its sockets."""
    port = f":{int(made.address.rpartition(':')[2]):04X}"
    tables = [Path("/proc/net", name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table]
    established = {fields[9] for fields in lines if fields[1].endswith(port) and fields[3] == "01"}
    counts = []
    for pid in sorted(pids(made.server)):
        links = []
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                links.append(str(link.readlink()))
        counts.append(sum(f"socket:[{inode}]" in links for inode in established))
    return counts


@contextlib.contextmanager
def spread(made: Deployment) -> Iterator[list[Client]]:
    """Clients, of which each worker has some."""
    with contextlib.ExitStack() as stack:
        clients: list[Client] = []
        while not clients or 0 in connected(made):
            assert len(clients) < 200, "all connections go to one worker"
            client = stack.enter_context(made.client())
            client.users.list_page(page_size=1)
            clients.append(client)
        yield clients


def test_what_one_worker_takes_back_is_taken_back_on_all(workers: Deployment) -> None:
    with spread(workers) as clients:
        clients[0].users.create(username="ana", password=PASSWORD)
        tokens = clients[0].sign_in("ana", password=PASSWORD)
        assert all(client.tokens.introspect(tokens.access_token).active for client in clients)
        clients[0].sessions.revoke(tokens.session.session_id)
        wait_until(
            lambda: not any(client.tokens.introspect(tokens.access_token).active for client in clients),
            "a worker goes on to say yes",
        )


def test_a_worker_that_dies_is_replaced(workers: Deployment) -> None:
    before = pids(workers.server)
    assert len(before) == 2
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(pids(workers.server) - {victim}) == 2, "no other one takes its place")
    assert before - {victim} < pids(workers.server)
    with workers.client() as client:
        client.users.list_page(page_size=1)


def test_all_are_replaced_under_load_and_no_call_fails(workers: Deployment) -> None:
    before = pids(workers.server)
    with workers.client() as client:
        user = client.users.create(username="busy")
    failures: list[WatchwordError] = []
    calls = 0
    over = threading.Event()

    def ask() -> None:
        nonlocal calls
        with workers.client() as client:
            while not over.is_set():
                try:
                    client.users.get(user_id=user.user_id)
                except WatchwordError as error:
                    failures.append(error)
                calls += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: calls > 50, "nothing is answered")
        workers.server.send_signal(signal.SIGHUP)
        wait_until(lambda: len(pids(workers.server)) == 2 and not pids(workers.server) & before, "they stay")
        answered = calls
        wait_until(lambda: calls > answered + 50, "nothing is answered any more")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_no_worker_outlives_its_parent() -> None:
    with deployment(WATCHWORD_WORKERS="2") as made:
        children = pids(made.server)
        made.kill_server()
        wait_until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children), "orphans are left")


def test_a_port_that_is_taken_is_refused(workers: Deployment) -> None:
    with workers.spawn() as second:
        try:
            assert second.wait(SECONDS) != 0
        finally:
            second.kill()
    assert "Cannot serve on" in workers.log


def test_they_stop_when_they_are_told_to() -> None:
    with deployment(WATCHWORD_WORKERS="2") as made:
        children = pids(made.server)
        assert made.stop_server() == 0
        assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children)
