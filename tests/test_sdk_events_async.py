"""Events, followed by the SDK: each comes, typed, from any checkpoint, whatever happens to the network."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
import pytest
from conftest import PASSWORD
from deployment import free_port
from tcp_proxy import TcpProxy

from watchword.client import (
    AsyncClient,
    Event,
    EventBatch,
    InvalidArgumentError,
    PermissionDeniedError,
    Relationship,
    RelationshipKey,
    UnavailableError,
)
from watchword.client import _streams as streams
from watchword.client._streams import AsyncPause
from watchword.client.testing import LocalServer
from watchword.v1 import watch_pb2

MODEL = """model
  schema 1.1
type user
type document
  relations
    define viewer: [user, user with before]
type folder
  relations
    define viewer: [user]
condition before(now: timestamp, end: timestamp) {
  now < end
}
"""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_pause", lambda _failures: 0.01)


async def write(client: AsyncClient, *names: str) -> str:
    """Let each be a document that ana views, in an event of its own; give the last revision."""
    revision = ""
    for name in names:
        revision = await client.relationships.write([Relationship("user:ana", "viewer", name)])
    return revision


async def here(client: AsyncClient) -> str:
    """The checkpoint of this moment."""
    async for batch in client.watch(until_now=True):
        assert batch.events == ()
        assert not batch.is_gap
        checkpoint = batch.checkpoint
    return checkpoint


async def told(client: AsyncClient, since: str, **options) -> list[EventBatch]:
    return [batch async for batch in client.watch(since=since, until_now=True, **options)]


def events(batches: list[EventBatch]) -> list[Event]:
    return [event for batch in batches for event in batch.events]


def written(batches: list[EventBatch]) -> list[str]:
    return [row.object for event in events(batches) for row in event.written]


async def test_an_event_says_what_happened(watchword_async: AsyncClient):
    async with watchword_async as client:
        await client.permissions.write_model(dsl=MODEL)
        user = await client.users.create(username="ana", password=PASSWORD)
        since = await here(client)
        end = datetime(2040, 1, 2, tzinfo=UTC)
        rows = [
            Relationship("user:ana", "viewer", "document:1", expire_time=end),
            Relationship(
                "user:ana", "viewer", "document:2", condition="before", context={"end": "2030-01-01T00:00:00Z"}
            ),
        ]
        revision = await client.relationships.write(rows)
        await client.relationships.write(deletes=[RelationshipKey("user:ana", "viewer", "document:1")])
        await client.users.suspend(user.user_id)
        first, second, third = events(await told(client, since))
    assert (first.type, first.revision, set(first.written)) == ("relationships-changed", revision, set(rows))
    assert set(first.objects) == {"document:1", "document:2"}
    assert first.actor.startswith("service:")
    assert first.event_time.tzinfo is UTC
    assert first.organization_id is None
    assert second.deleted == (RelationshipKey("user:ana", "viewer", "document:1"),)
    assert (third.type, third.objects[0], third.written) == ("account-disabled", f"user:{user.user_id}", ())
    assert first.event_id < second.event_id < third.event_id


async def test_from_any_checkpoint_nothing_is_missing(watchword_async: AsyncClient):
    async with watchword_async as client:
        await client.permissions.write_model(dsl=MODEL)
        since = await here(client)
        names = [f"document:{number}" for number in range(20)]
        await write(client, *names)
        batches = await told(client, since)
        assert written(batches) == names
        seen: list[str] = []
        for batch in batches:
            seen += written([batch])
            assert seen + written(await told(client, batch.checkpoint)) == names


async def test_some_types_of_objects(watchword_async: AsyncClient):
    async with watchword_async as client:
        await client.permissions.write_model(dsl=MODEL)
        since = await here(client)
        await write(client, "document:1", "folder:1", "document:2")
        assert written(await told(client, since, object_types=["folder"])) == ["folder:1"]


async def test_what_happens_comes_while_it_waits(watchword_async: AsyncClient):
    async with watchword_async as client:
        await client.permissions.write_model(dsl=MODEL)
        names = iter([f"document:{number}" for number in range(5)])
        seen: list[str] = []
        async for batch in client.watch():
            seen += written([batch])
            name = next(names, None)
            if name is None:
                break
            await write(client, name)
    assert seen == [f"document:{number}" for number in range(5)]


async def test_it_outlasts_an_outage_and_a_network_that_swallows(
    watchword_async: AsyncClient, watchword_server: LocalServer
):
    proxy = TcpProxy(watchword_server.address)
    try:
        async with (
            watchword_async as direct,
            AsyncClient(proxy.address, api_key=watchword_server.api_key, timeout=1.0) as client,
        ):
            await direct.permissions.write_model(dsl=MODEL)
            seen: list[str] = []
            async for batch in client.watch():
                seen += written([batch])
                assert not batch.is_gap
                if not seen:
                    await write(direct, "document:0")
                elif len(seen) == 1:
                    proxy.cut(refuse=True)
                    await write(direct, "document:1")
                    threading.Timer(0.3, proxy.resume).start()
                elif len(seen) == 2:
                    proxy.swallow()
                    await write(direct, "document:2")
                    threading.Timer(1.5, proxy.resume).start()
                else:
                    break
        assert seen == ["document:0", "document:1", "document:2"]
    finally:
        proxy.close()


async def test_another_history_is_a_gap(watchword_async: AsyncClient):
    async with watchword_async as client:
        _, _, snapshot = (await here(client)).partition(".")
        (batch,) = await told(client, f"ffffffffffffffff.{snapshot}")
        assert batch.is_gap
        assert batch.events == ()
        assert await told(client, batch.checkpoint) == [
            EventBatch(events=(), checkpoint=batch.checkpoint, is_gap=False)
        ]


async def test_what_is_refused(watchword_async: AsyncClient, watchword_server: LocalServer):
    async with watchword_async as client:
        with pytest.raises(InvalidArgumentError):
            await told(client, "yesterday")
        await client.service_accounts.create("tail")
        key = await client.service_accounts.create_key("tail", permissions=["watch"])
        other = AsyncClient(watchword_server.address, api_key=key.api_key)
        with pytest.raises(PermissionDeniedError):
            await here(other)
        await other.close()
    async with AsyncClient(f"127.0.0.1:{free_port()}", api_key="x") as nobody:
        with pytest.raises(UnavailableError):
            await here(nobody)


@contextmanager
def listener() -> Iterator[tuple[str, list[watch_pb2.WatchRequest]]]:
    """A server that begins streams and says nothing more; its address, and what it hears."""
    heard: list[watch_pb2.WatchRequest] = []

    def watch(requests, _context):
        heard.append(next(requests))
        yield watch_pb2.WatchResponse(started=watch_pb2.WatchStarted(checkpoint="e.1:1:"))
        heard.extend(requests)

    method = grpc.stream_stream_rpc_method_handler(
        watch,
        request_deserializer=watch_pb2.WatchRequest.FromString,
        response_serializer=watch_pb2.WatchResponse.SerializeToString,
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("watchword.v1.WatchService", {"Watch": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", heard
    finally:
        server.stop(0)


async def test_it_pings_while_events_are_dealt_with():
    with listener() as (address, heard):
        async with AsyncClient(address, api_key="x", timeout=0.2) as client:
            async for _ in client.watch(since="e.1:1:", object_types=["document"]):
                for _ in range(1000):
                    if len(heard) > 4:
                        break
                    await AsyncPause.of(0.01)
                break
    start, *pings = heard
    assert start.start == watch_pb2.WatchStart(checkpoint="e.1:1:", include_details=True, object_types=["document"])
    assert [request.ping.number for request in pings[:4]] == [1, 2, 3, 4]
