"""A process that changes a relationship so many times a second, until it is ended; for what goes on beside it."""

import asyncio
import os
import sys
import time

import grpc
import uvloop

from benchmarks.caller import Caller, new_relationships


async def write(address: str, rate: float) -> None:
    """Write until the process is ended."""
    async with grpc.aio.insecure_channel(address) as channel:
        caller = Caller(channel, os.environ["WATCHWORD_API_KEY"])
        began = time.monotonic()
        pending: set[asyncio.Task[None]] = set()
        for number, relationship in enumerate(new_relationships("beside", 1000)):
            task = asyncio.create_task(caller.write(relationship))
            pending.add(task)
            task.add_done_callback(pending.discard)
            await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))


if __name__ == "__main__":
    uvloop.run(write(sys.argv[1], float(sys.argv[2])))
