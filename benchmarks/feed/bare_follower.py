"""A process that follows the bare server, and notes when each of its streams is told something.

What `follower` does with the SDK: the same processes, messages of bytes, and nothing that is done with them.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

# Before gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import uvloop

from benchmarks.bare_server import SERVICE


async def _follow(address: str, told: list[int], joined: asyncio.Semaphore) -> None:
    # A connection for each stream, as the SDK has.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        follow: Any = channel.unary_stream(f"/{SERVICE}/Follow")
        call = follow(b"")
        await call.read()
        joined.release()
        while await call.read() is not grpc.aio.EOF:
            told.append(time.monotonic_ns())


async def follow(address: str, number: int) -> None:
    """Follow until the input ends."""
    joined = asyncio.Semaphore(0)
    moments: list[list[int]] = [[] for _ in range(number)]
    tasks = [asyncio.create_task(_follow(address, told, joined)) for told in moments]
    for _ in tasks:
        await joined.acquire()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        answer = "learned" if "learn" in json.loads(line) else moments
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    uvloop.run(follow(sys.argv[1], int(sys.argv[2])))
