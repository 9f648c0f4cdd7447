"""What streams cost the server that are open and silent, as those of processes are that ask nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import grpc

from benchmarks.deployment import Server
from benchmarks.processes import cpu_seconds, resident_mib
from benchmarks.results import Results
from watchword.v1 import watch_pb2
from watchword.v1.watch_pb2_grpc import WatchServiceStub

_PING_SECONDS: Final = 10.0
"""As the SDK does that is not used."""
_AT_ONCE: Final = 50


async def measure(server: Server, api_key: str, *, number: int, seconds: float, results: Results) -> None:
    """Open streams, each by a connection of its own; tell what they take, and what they use while nothing happens."""
    before = resident_mib(server.pid)
    async with AsyncExitStack() as stack:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def open_one(count: int) -> asyncio.Task[None]:
            async with gate:
                options = [("grpc.use_local_subchannel_pool", 1)]
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address, options=options))
                begun = asyncio.Event()
                task = asyncio.create_task(_follow(channel, api_key, begun, after=_PING_SECONDS * count / number))
                waiting = asyncio.create_task(begun.wait())
                await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                return task

        tasks = await asyncio.gather(*(open_one(count) for count in range(number)))
        await asyncio.sleep(min(seconds, _PING_SECONDS))
        used, taken = cpu_seconds(server.pid), resident_mib(server.pid)
        await asyncio.sleep(seconds)
        used = cpu_seconds(server.pid) - used
        for task in tasks:
            if task.done():
                task.result()
                raise RuntimeError("a stream has ended")
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    results.add("feed.streams.memory", (taken - before) * 1024 / number, "KiB", note=f"of each of {number:,} streams")
    results.add("feed.streams.cpu", used / seconds * 100, "% of a core", note=f"of all {number:,} streams and the rest")


async def _follow(channel: grpc.aio.Channel, api_key: str, begun: asyncio.Event, *, after: float) -> None:
    async def said() -> AsyncIterator[watch_pb2.WatchRequest]:
        yield watch_pb2.WatchRequest(start=watch_pb2.WatchStart())
        await asyncio.sleep(after)
        number = 0
        while True:
            number += 1
            yield watch_pb2.WatchRequest(ping=watch_pb2.WatchPing(number=number))
            await asyncio.sleep(_PING_SECONDS)

    call = WatchServiceStub(channel).Watch(said(), metadata=(("authorization", f"Bearer {api_key}"),))
    async for _ in call:
        begun.set()
