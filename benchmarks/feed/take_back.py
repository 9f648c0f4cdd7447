"""How soon an answer is taken back: from the call that changes something to the last process that says yes no more.

The clock starts before the call is sent, so it counts the call's way to the server and the commit as well; and once
more from the moment at which the caller has its answer, which is after the commit. Which of both is nearer to the
commit depends on the disk.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from benchmarks.bare_server import SERVICE
from benchmarks.deployment import ROOT
from benchmarks.load import WrongAnswer, quantile
from benchmarks.results import MILLISECONDS, Results
from watchword.client import AsyncClient, Relationship, RelationshipKey

_PAUSE_SECONDS = 0.25
"""Between two changes: each shall be alone."""
_LATEST_SECONDS = 10.0
_PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Change:
    """Something to take back: what is kept of it, and the moments around the call."""

    kept: dict[str, Any]
    session_id: str = ""
    key: RelationshipKey | None = None


class Followers:
    """Processes that follow the feed."""

    def __init__(self, processes: "list[subprocess.Popen[str]]") -> None:
        self._processes = processes

    def ask(self, command: dict[str, Any]) -> list[Any]:
        """Ask all of them, one after the other: what they do for it is no part of what is measured."""
        answers = []
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(command) + "\n")
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        return answers


@contextmanager
def followers(
    address: str, api_key: str, *, processes: int, streams: int, module: str = "follower"
) -> Iterator[Followers]:
    """Start processes, each with so many streams."""
    command = [sys.executable, "-m", f"benchmarks.feed.{module}", address, str(streams)]
    environment = {**os.environ, "WATCHWORD_API_KEY": api_key}
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    try:
        yield Followers(running)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.communicate()


async def prepare(client: AsyncClient, *, number: int, series: str) -> list[Change]:
    """Make sessions and relationships that can be taken back, in turn."""
    name = f"{series}-ana"
    user = await client.users.create(username=name, password=_PASSWORD)
    changes: list[Change] = []
    for count in range(number):
        tokens = await client.sign_in(name, password=_PASSWORD)
        changes.append(Change({"token": tokens.access_token}, session_id=tokens.session.session_id))
        row = Relationship(object=f"document:{series}-{count}", relation="viewer", subject=f"user:{user.user_id}")
        await client.relationships.write([row])
        changes.append(
            Change(
                {"check": [row.subject, row.relation, row.object]},
                key=RelationshipKey(object=row.object, relation=row.relation, subject=row.subject),
            )
        )
    return changes


async def measure(
    client: AsyncClient, group: Followers, changes: Sequence[Change], *, name: str, results: Results
) -> None:
    """Take everything back, one after the other, and tell how long it took everywhere."""
    await asyncio.to_thread(group.ask, {"learn": [change.kept for change in changes]})
    sent, answered = [], []
    for change in changes:
        await asyncio.sleep(_PAUSE_SECONDS)
        sent.append(time.monotonic_ns())
        await _take_back(client, change)
        answered.append(time.monotonic_ns())
    ended = await _ended(group, len(changes))
    for kind, picked in (("session", range(0, len(changes), 2)), ("relationship", range(1, len(changes), 2))):
        delays = [[(moments[i] - sent[i]) / 1e6 for moments in ended] for i in picked]
        _add(results, f"{name}.{kind}", delays)
        calls = statistics.median((answered[i] - sent[i]) / 1e6 for i in picked)
        results.add(f"{name}.{kind}.call", calls, MILLISECONDS, note="the call alone, p50")
        results.spreads[f"{name}.{kind}"] = [delay for row in delays for delay in row]


async def measure_bare(
    channel: grpc.aio.Channel, group: Followers, *, number: int, name: str, results: Results
) -> None:
    """Measure what gRPC takes to tell as many something: the limit of all this."""
    await asyncio.to_thread(group.ask, {"learn": []})
    tell: Any = channel.unary_unary(f"/{SERVICE}/Tell")
    sent = []
    for count in range(number):
        await asyncio.sleep(_PAUSE_SECONDS)
        sent.append(time.monotonic_ns())
        # Rows that nobody else inserts.
        await tell((1 << 40 | sent[0] & 0xFFFFFF << 16 | count).to_bytes(8))
    ended = await _ended(group, number)
    _add(results, name, [[(moments[i] - sent[i]) / 1e6 for moments in ended] for i in range(number)])


async def _take_back(client: AsyncClient, change: Change) -> None:
    if change.key is None:
        await client.sessions.revoke(change.session_id)
    else:
        await client.relationships.write((), [change.key])


async def _ended(group: Followers, number: int) -> list[list[int]]:
    deadline = time.monotonic() + _LATEST_SECONDS
    while time.monotonic() < deadline:
        ended = [moments for process in await asyncio.to_thread(group.ask, {"tell": True}) for moments in process]
        if all(len(moments) == number for moments in ended):
            return ended
        await asyncio.sleep(_PAUSE_SECONDS)
    raise WrongAnswer("an answer was not taken back everywhere")


def _add(results: Results, name: str, delays: list[list[float]]) -> None:
    """Take figures of each stream, and of the last one of each change."""
    for who, values in (("each", [delay for row in delays for delay in row]), ("last", [max(row) for row in delays])):
        ordered = sorted(values)
        for share in (0.5, 0.99):
            results.add(f"{name}.{who}.p{round(share * 100)}", quantile(ordered, share), MILLISECONDS)
