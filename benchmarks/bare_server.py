"""The least that a Python gRPC service on PostgreSQL can do: the limit for everything that does more.

Run as a process: `python -m benchmarks.bare_server DATABASE_URL`. Handlers of bare bytes on grpc.aio and uvloop, and
the raw psycopg pool: no validation, no authentication, no log.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import psycopg_pool
import uvloop

from benchmarks.deployment import POOL_SIZE

SERVICE = "benchmarks.Bare"
_SELECT = b"SELECT payload FROM single WHERE id = %b::bigint"
_INSERT = b"INSERT INTO written (id, payload) VALUES (%b, %b)"

_Handler = Callable[[bytes, Any], Awaitable[bytes]]
_Followers = set["asyncio.Queue[bytes]"]


def _handlers(pool: psycopg_pool.AsyncConnectionPool[Any], followers: _Followers) -> dict[str, _Handler]:
    async def echo(request: bytes, _: Any) -> bytes:
        return request

    async def select(request: bytes, _: Any) -> bytes:
        async with pool.connection() as connection:
            cursor = await connection.execute(_SELECT, (int.from_bytes(request),))
            row = await cursor.fetchone()
        return bytes(row[0]) if row else b""

    async def insert(request: bytes, _: Any) -> bytes:
        async with pool.connection() as connection:
            await connection.execute(_INSERT, (int.from_bytes(request), request))
        return request

    async def tell(request: bytes, context: Any) -> bytes:
        await insert(request, context)
        for follower in followers:
            follower.put_nowait(request)
        return request

    return {"Echo": echo, "Select": select, "Insert": insert, "Tell": tell}


def _follow(followers: _Followers) -> Callable[[bytes, Any], Awaitable[None]]:
    async def follow(_: bytes, context: Any) -> None:
        told: asyncio.Queue[bytes] = asyncio.Queue()
        followers.add(told)
        await context.write(b"")
        try:
            while True:
                await context.write(await told.get())
        finally:
            followers.discard(told)

    return follow


async def _serve(url: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pool = psycopg_pool.AsyncConnectionPool(
        url, min_size=POOL_SIZE, max_size=POOL_SIZE, kwargs={"autocommit": True}, open=False
    )
    async with pool:
        await pool.wait()
        server = grpc.aio.server()
        followers: _Followers = set()
        handlers: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(run) for name, run in _handlers(pool, followers).items()
        }
        handlers["Follow"] = grpc.unary_stream_rpc_method_handler(_follow(followers))
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(json.dumps({"address": f"127.0.0.1:{port}"}) + "\n")
        sys.stdout.flush()
        await stop.wait()
        await server.stop(1)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
