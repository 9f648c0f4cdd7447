"""A gRPC service that is served in threads or in asyncio behind the interceptors, for the tests of these."""

import asyncio
import queue
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc

from watchword.client import AsyncClient, Client, Relationship
from watchword.client.grpc import (
    AUTHENTICATED,
    PUBLIC,
    AsyncServerInterceptor,
    Requires,
    ServerInterceptor,
    current_principal,
)
from watchword.client.testing import LocalServer

PROTO = """
syntax = "proto3";
package probe.v1;
message Note { string id = 1; }
message Ask { string note_id = 1; Note note = 2; int64 number = 3; repeated string ids = 4; bool flag = 5; }
message Answer { string text = 1; }
service Probe {
  rpc One(Ask) returns (Answer);
  rpc Down(Ask) returns (stream Answer);
  rpc Up(stream Ask) returns (Answer);
  rpc Both(stream Ask) returns (stream Answer);
  rpc Nested(Ask) returns (Answer);
  rpc Number(Ask) returns (Answer);
  rpc Fixed(stream Ask) returns (Answer);
  rpc Who(Ask) returns (Answer);
  rpc Public(Ask) returns (Answer);
  rpc Write(Ask) returns (Answer);
  rpc Fail(Ask) returns (Answer);
  rpc Own(Ask) returns (Answer);
}
"""


def _compiled() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "watchword_probe.proto").write_text(PROTO)
        sys.path.insert(0, folder)
        try:
            return grpc.protos_and_services("watchword_probe.proto")
        finally:
            sys.path.remove(folder)


pb, services = _compiled()
MODEL = """
model
  schema 1.1
type user
type note
  relations
    define viewer: [user, user:*]
    define can_view: viewer
"""
CAN_VIEW = Requires("can_view", "note:{note_id}")
METHODS = {
    "One": CAN_VIEW,
    "Down": CAN_VIEW,
    "Up": CAN_VIEW,
    "Both": CAN_VIEW,
    "Nested": Requires("can_view", "note:{note.id}"),
    "Number": Requires("can_view", "note:{number}"),
    "Fixed": Requires("can_view", "note:fixed"),
    "Who": AUTHENTICATED,
    "Public": PUBLIC,
    "Write": AUTHENTICATED,
    "Fail": AUTHENTICATED,
    "Own": AUTHENTICATED,
}
DECLARED = {f"/probe.v1.Probe/{name}": rule for name, rule in METHODS.items()}
_THREADS = 4
FORGOTTEN = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Probe:
    """What the handlers of both servers share with the test."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.seen: list[str] = []
        self.outgoing: queue.Queue[str | None] = queue.Queue()
        self.swallowing = False
        self.revision = ""

    def who(self) -> Any:
        return pb.Answer(text=current_principal().user_id)

    def saw(self, request: Any) -> Any:
        self.seen.append(request.note_id or request.note.id or str(request.number))
        return pb.Answer(text=self.seen[-1])

    def Public(self, request: Any, context: Any) -> Any:  # noqa: N802 - also in asyncio an ordinary function
        try:
            return self.who()
        except RuntimeError:
            return pb.Answer(text="nobody")


class Threads(Probe):
    def One(self, request, context):  # noqa: N802
        return self.saw(request)

    Nested = Number = One

    def Down(self, request, context):  # noqa: N802
        yield from (pb.Answer(text=text) for text in iter(self.outgoing.get, None))

    def Up(self, requests, context):  # noqa: N802
        with suppress(Exception) if self.swallowing else nullcontext():
            for request in requests:
                self.saw(request)
        return pb.Answer(text="done")

    Fixed = Up

    def Both(self, requests, context):  # noqa: N802
        yield from map(self.saw, requests)

    def Who(self, request, context):  # noqa: N802
        return self.who()

    def Write(self, request, context):  # noqa: N802
        context.set_trailing_metadata((("own", "kept"),))
        self.revision = self.client.relationships.write([Relationship("user:x", "viewer", f"note:{request.note_id}")])
        if request.flag:
            context.abort(grpc.StatusCode.ABORTED, "no")
        return pb.Answer(text=self.client.revision)

    def Fail(self, request, context):  # noqa: N802
        raise ValueError(request.note_id)

    def Own(self, request, context):  # noqa: N802
        self.client.require(current_principal().subject, "can_view", f"note:{request.note_id}")
        return pb.Answer(text=self.client.revision)


class Asyncio(Probe):
    async def One(self, request, context):  # noqa: N802
        return self.saw(request)

    Nested = Number = One

    async def Down(self, request, context):  # noqa: N802
        outgoing = self.outgoing
        while (text := await asyncio.to_thread(outgoing.get)) is not None:
            yield pb.Answer(text=text)

    async def Up(self, requests, context):  # noqa: N802
        with suppress(Exception) if self.swallowing else nullcontext():
            async for request in requests:
                self.saw(request)
        return pb.Answer(text="done")

    Fixed = Up

    async def Both(self, requests, context):  # noqa: N802
        # By the context, which is the other way of grpc.aio.
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(self.saw(request))

    async def Who(self, request, context):  # noqa: N802
        return self.who()

    async def Write(self, request, context):  # noqa: N802
        context.set_trailing_metadata((("own", "kept"),))
        write = self.client.relationships.write([Relationship("user:x", "viewer", f"note:{request.note_id}")])
        self.revision = await asyncio.create_task(write)  # in a task of its own, whose context is a copy
        return pb.Answer(text=self.client.revision)

    async def Fail(self, request, context):  # noqa: N802
        raise ValueError(request.note_id)

    async def Own(self, request, context):  # noqa: N802
        await self.client.require(current_principal().subject, "can_view", f"note:{request.note_id}")
        return pb.Answer(text=self.client.revision)


class Served:
    """A server that runs, and a channel to it."""

    def __init__(self, address: str, probe: Probe, channel: grpc.Channel) -> None:
        self.address, self.probe, self.channel = address, probe, channel
        self.stub = services.ProbeStub(channel)

    def call(self, name: str, *requests: Any, token: str | None = None, metadata: Any = ()) -> Any:
        """Call a method; the texts of what it answers, one or a list."""
        if token is not None:
            metadata = (("authorization", f"Bearer {token}"), *metadata)
        is_streaming = name in {"Up", "Both", "Fixed"}
        argument = iter(requests) if is_streaming else requests[0]
        answer = getattr(self.stub, name)(argument, metadata=metadata, timeout=20)
        return [each.text for each in answer] if name in {"Down", "Both"} else answer.text

    def refused(self, name: str, *requests: Any, **options: Any) -> grpc.StatusCode:
        """Call a method that must fail; how it does."""
        try:
            answer = self.call(name, *requests, **options)
        except grpc.RpcError as error:
            return error.code()
        raise AssertionError(f"{name} was let pass: {answer}")


def ask(note_id: str = "", **fields: Any) -> Any:
    return pb.Ask(note_id=note_id, **fields)


def _add(server: Any, probe: Probe, more: Callable[..., Any]) -> int:
    services.add_ProbeServicer_to_server(probe, server)
    handlers = {kind: getattr(grpc, f"{kind}_rpc_method_handler")(more) for kind in FORGOTTEN}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("probe.v1.Forgotten", handlers),))
    return int(server.add_insecure_port("127.0.0.1:0"))


@contextmanager
def served_in_threads(client: Client) -> Iterator[Served]:
    probe = Threads(client)
    server = grpc.server(ThreadPoolExecutor(_THREADS), interceptors=[ServerInterceptor(client, DECLARED)])
    port = _add(server, probe, lambda _request, _context: probe.seen.append("forgotten"))
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(f"127.0.0.1:{port}", probe, channel)
    finally:
        for _ in range(_THREADS):  # a handler that waits would keep the process from ending
            probe.outgoing.put(None)
        server.stop(None).wait()


@contextmanager
def served_in_asyncio(client: AsyncClient) -> Iterator[Served]:
    """The server runs in a thread of its own, so that one test drives both kinds."""
    started: queue.Queue[Any] = queue.Queue()

    async def serve() -> None:
        stop = asyncio.Event()
        probe = Asyncio(client)

        async def more(_request: Any, _context: Any) -> None:
            probe.seen.append("forgotten")

        server = grpc.aio.server(
            migration_thread_pool=ThreadPoolExecutor(2), interceptors=[AsyncServerInterceptor(client, DECLARED)]
        )
        port = _add(server, probe, more)
        await server.start()
        started.put((port, probe, asyncio.get_running_loop(), stop))
        await stop.wait()
        await server.stop(None)
        await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, probe, loop, stop = started.get(timeout=20)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(f"127.0.0.1:{port}", probe, channel)
    finally:
        probe.outgoing.put(None)
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def served(kind: str, server: LocalServer, **options: Any) -> Iterator[Served]:
    """Serve with a client of its own."""
    arguments = {"address": server.address, "api_key": server.api_key, "clock": server.time, **options}
    if kind == "asyncio":
        with served_in_asyncio(AsyncClient(**arguments)) as running:
            yield running
    else:
        with Client(**arguments) as client, served_in_threads(client) as running:
            yield running
