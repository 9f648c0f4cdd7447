"""`watchword events tail`: what happens is shown as it happens, for people and for programs, and it ends well."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from deployment import PROGRAM

from watchword.client import Client, Relationship
from watchword.client.testing import LocalServer

SECONDS = 20.0


class Tail:
    """A running `events tail`."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdout: IO[bytes] = process.stdout
        self.stderr: IO[bytes] = process.stderr

    def line(self) -> str:
        return read_line(self.stdout)


def read_line(stream: IO[bytes]) -> str:
    """The next line, or as much of it as comes in time."""
    line, deadline = b"", time.monotonic() + SECONDS
    while not line.endswith(b"\n") and select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
        byte = os.read(stream.fileno(), 1)
        if not byte:
            break
        line += byte
    return line.decode()


@pytest.fixture
def environment(watchword_server: LocalServer) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    clean.pop("PYTHONUNBUFFERED", None)  # that each line is sent at once must be the command's own doing
    return {**clean, "WATCHWORD_ADDRESS": watchword_server.address, "WATCHWORD_API_KEY": watchword_server.api_key}


@pytest.fixture
def tailing(watchword: Client, environment: dict[str, str], tmp_path: Path):
    @contextmanager
    def tailing(*arguments: str) -> Iterator[tuple[Tail, str]]:
        """One that follows; and the checkpoint at which it says that it begins."""
        with subprocess.Popen(
            [*PROGRAM, "events", "tail", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                tail = Tail(process)
                text, _, checkpoint = read_line(tail.stderr).rpartition(" ")
                assert text == "It begins at"
                yield tail, checkpoint.strip()
            finally:
                process.kill()

    return tailing


@pytest.fixture
def shown(watchword: Client, environment: dict[str, str], tmp_path: Path) -> Callable[..., list[str]]:
    def shown(*arguments: str) -> list[str]:
        """The lines of one that ends by itself."""
        done = subprocess.run(
            [*PROGRAM, "events", "tail", *arguments],
            check=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.splitlines()

    return shown


def share(client: Client, *objects: str) -> None:
    for name in objects:
        client.relationships.write([Relationship("user:ana", "member", name)])


def test_people_see_a_line_for_each(watchword: Client, tailing):
    with tailing() as (tail, _):
        share(watchword, "group:one")
        line = tail.line()
        assert "relationships-changed" in line
        assert line.endswith("  +group:one#member@user:ana\n")
        user = watchword.users.create(username="ben")
        watchword.users.suspend(user.user_id)
        line = tail.line()
        assert f"user:{user.user_id}" in line
        assert "ben" not in line
        tail.process.send_signal(signal.SIGINT)
        assert tail.process.wait(SECONDS) == 0
        assert tail.stderr.read() == b""
        assert tail.stdout.read() == b""


def test_programs_get_json_and_go_on_where_they_were(watchword: Client, tailing, shown):
    with tailing("--json", "--follow") as (tail, since):
        share(watchword, "group:one")
        event = json.loads(tail.line())
    assert (event["type"], event["objects"]) == ("relationships-changed", ["group:one"])
    assert event["written"][0]["subject"] == "user:ana"
    share(watchword, "group:two", "group:three")
    again = [json.loads(line)["objects"] for line in shown("--json", "--since", since)]
    assert again == [["group:one"], ["group:two"], ["group:three"]]
    rest = [json.loads(line)["objects"] for line in shown("--json", "--since", event["checkpoint"])]
    assert rest == again[1:]


def test_some_types_only(watchword: Client, tailing, shown):
    with tailing() as (_, since):
        user = watchword.users.create(username="ana")
        share(watchword, "group:one", "organization:acme")
        watchword.users.suspend(user.user_id)
    (line,) = shown("--since", since, "--type", "account-disabled")
    assert user.user_id in line
    (line,) = shown("--since", since, "--object-type", "group")
    assert "group:one" in line
    assert shown("--since", since, "--type", "canary") == []


def test_large_events_are_cut_for_people_only(watchword: Client, tailing, shown):
    with tailing() as (_, since):
        watchword.relationships.write([Relationship(f"user:{number}", "member", "group:large") for number in range(50)])
    (line,) = shown("--since", since)
    assert "(and 45 more)" in line
    (line,) = shown("--since", since, "--json")
    assert len(json.loads(line)["written"]) == 50


def test_who_reads_no_more_is_no_error(watchword: Client, tailing):
    with tailing() as (tail, _):
        share(watchword, "group:one")
        assert "group:one" in tail.line()
        tail.stdout.close()
        share(watchword, "group:two")
        assert tail.process.wait(SECONDS) == 0
        assert tail.stderr.read() == b""


def test_no_server_and_no_checkpoint_are_said_so(watchword: Client, environment: dict[str, str], tmp_path: Path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "events", "tail", *arguments]
        return subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )

    done = run("--since", "yesterday")
    assert (done.returncode, "checkpoint" in done.stderr) == (1, True)
    done = run("--address", "127.0.0.1:1")
    assert (done.returncode, "No Watchword answers" in done.stderr) == (4, True)
