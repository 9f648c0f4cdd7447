"""All of it, one after the other."""

import asyncio

import uvloop

from benchmarks.deployment import Postgres, Watchword
from benchmarks.results import Results, Settings
from benchmarks.spine import accounts, processes, sign_ins, tokens
from benchmarks.spine.alternatives import measure as alternatives
from benchmarks.spine.stand import stand


def measure(postgres: Postgres, settings: Settings, results: Results) -> None:
    """Measure what a server does, what it takes, and what others do in its place."""
    processes.measure(settings, results)
    uvloop.run(_calls(postgres, settings, results))


async def _calls(postgres: Postgres, settings: Settings, results: Results) -> None:
    watchword = await asyncio.to_thread(Watchword, postgres, "spine")
    async with stand(postgres, watchword, settings, results) as running:
        await processes.measure_at_rest(running)
        await running.prepare()
        await tokens.measure(running)
        await sign_ins.measure(running)
        await alternatives.measure(running)
        await sign_ins.measure_what_time_tells(running)
        await accounts.measure(running)
