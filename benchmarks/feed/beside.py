"""What a writer of a hundred changes a second does to those who ask: what the SDK keeps, and the server's speed."""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from benchmarks.caller import OPTIONS, Caller
from benchmarks.deployment import ROOT, Server
from benchmarks.load import Loop, Pace
from benchmarks.processes import Meter
from benchmarks.results import CALLS, Results
from benchmarks.world import Question, batches
from watchword.client import AsyncClient

RATE = 100
_IN_FLIGHT = 16
_AT_A_TIME = 200
_BREATH_SECONDS = 0.01


async def measure(
    server: Server,
    api_key: str,
    client: AsyncClient,
    meter: Meter,
    *,
    questions: list[Question],
    pace: Pace,
    results: Results,
) -> None:
    """Measure alone and beside the writer, in turn: a machine changes its mind."""
    await client.ready()
    for question in questions:
        await client.check(question.subject, question.relation, question.object)
    async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
        loop = Loop([Caller(channel, api_key).check], itertools.cycle(questions), meter)
        await loop.run(in_flight=_IN_FLIGHT, pace=Pace(pace.seconds, 1))
        found: dict[str, list[tuple[float, float]]] = {"alone": [], "beside": []}
        for _ in range(max(2, pace.repeats)):
            for way, rates in found.items():
                with _writing(server.address, api_key, rate=RATE if way == "beside" else 0):
                    calls = (await loop.run(in_flight=_IN_FLIGHT, pace=Pace(pace.seconds, 1))).throughput
                    rates.append((calls, await _hit_rate(client, questions, pace.seconds)))
    for number, (name, unit, scale) in enumerate((("server", CALLS, 1), ("hits", "% kept", 100))):
        alone, beside = (statistics.mean(rates[number] for rates in found[way]) for way in ("alone", "beside"))
        results.add(f"feed.{name}.alone", alone * scale, unit)
        results.add(f"feed.{name}.beside", beside * scale, unit)
        results.add(f"feed.{name}.loss", max(0.0, (1 - beside / alone) * 100), "% less")


async def _hit_rate(client: AsyncClient, questions: list[Question], seconds: float) -> float:
    before, end = client.status(), time.monotonic() + seconds
    while time.monotonic() < end:
        for some in batches(questions, _AT_A_TIME):
            for question in some:
                await client.check(question.subject, question.relation, question.object)
            await asyncio.sleep(_BREATH_SECONDS)  # the feed is heard in the same event loop
    after = client.status()
    hits, misses = after.hits - before.hits, after.misses - before.misses
    return hits / (hits + misses)


@contextmanager
def _writing(address: str, api_key: str, *, rate: float) -> Iterator[None]:
    if not rate:
        yield
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.feed.writer", address, str(rate)],
        cwd=ROOT,
        env={**os.environ, "WATCHWORD_API_KEY": api_key},
    )
    try:
        time.sleep(1)
        yield
    finally:
        process.terminate()
        process.wait()
