"""Health and reflection, which anybody may ask: nobody who does gets in the way of others, nor of a shutdown."""

import asyncio
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from deployment import Deployment, deployment, health
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from wire import outcome_of

from watchword.server.app import services

WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
GRACE = 4
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"
USERS = health_pb2.HealthCheckRequest(service="watchword.v1.UserService").SerializeToString()
UNKNOWN = health_pb2.HealthCheckRequest(service="watchword.v1.Nope").SerializeToString()


@pytest.fixture(scope="module")
def whole() -> Iterator[Deployment]:
    with deployment() as made:
        made.stop_server()
        made.settings["WATCHWORD_SHUTDOWN_GRACE_SECONDS"] = str(GRACE)
        made.start_server()
        yield made


@contextmanager
def connection(address: str) -> Iterator[grpc.Channel]:
    """A connection that is shared with no other channel."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


def aio_connection(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])


def stop(whole: Deployment) -> float:
    """Send SIGTERM; tell how long the server took to leave."""
    start = time.monotonic()
    whole.server.send_signal(signal.SIGTERM)
    whole.server.communicate(timeout=30)
    taken = time.monotonic() - start
    assert whole.server.returncode == 0, whole.log[-2000:]
    whole.start_server()
    return taken


def code_of(call) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name


# ----- what is told ---------------------------------------------------------------------------------------------------


def test_check(channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    for name in ("", *(service.full_name for service in services())):
        assert check(health_pb2.HealthCheckRequest(service=name).SerializeToString(), timeout=5) == SERVING, name
    assert code_of(lambda: check(UNKNOWN, timeout=5)) == "NOT_FOUND"


def test_a_service_that_is_not_served_is_unknown_to_watchers(channel):
    watch = channel.unary_stream(WATCH)(UNKNOWN, timeout=5)
    assert next(watch) == SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_a_long_name_is_refused_and_not_kept(channel, method):
    """Threat: streams of callers without a key, each of which would hold what it was asked in memory."""
    for size in (257, 100_000):
        request = health_pb2.HealthCheckRequest(service="x" * size).SerializeToString()
        with pytest.raises(grpc.RpcError) as caught:
            next(channel.unary_stream(f"/grpc.health.v1.Health/{method}")(request, timeout=5))
        outcome = outcome_of(caught.value)
        assert (outcome.code, outcome.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")
    request = health_pb2.HealthCheckRequest(service="x" * 5_000_000).SerializeToString()
    assert code_of(lambda: next(channel.unary_stream(WATCH)(request, timeout=5))) == "RESOURCE_EXHAUSTED"


def test_watchers_hear_of_the_shutdown_although_another_one_left(whole):
    with connection(whole.address) as one, connection(whole.address) as another:
        staying = [one.unary_stream(WATCH)(request) for request in (b"", USERS)]
        unknown = one.unary_stream(WATCH)(UNKNOWN)
        leaving = another.unary_stream(WATCH)(b"")
        assert [next(watch) for watch in (*staying, leaving, unknown)] == [SERVING] * 3 + [SERVICE_UNKNOWN]
        leaving.cancel()
        # The server has seen the other one leave when it answers a later call on that connection.
        assert another.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5) == SERVING
        assert stop(whole) < GRACE / 2
        for watch in staying:
            assert next(watch) == NOT_SERVING
            assert code_of(lambda watch=watch: next(watch)) == "UNAVAILABLE"
        assert code_of(lambda: next(unknown)) == "UNAVAILABLE"


# ----- who is in the way ----------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


@contextmanager
def never_reading(address: str) -> Iterator[None]:
    """Watch frame by frame (RFC 9113) with a window of no bytes: the server can send headers, and never an answer."""
    block = b"".join(
        literal(*header)
        for header in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", WATCH.encode()),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    initial_window_size_of_none = (4).to_bytes(2) + (0).to_bytes(4)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0, initial_window_size_of_none)
            + frame(4, 1, 0, b"")
            + frame(1, 4, 1, block)
            + frame(0, 1, 1, b"\0\0\0\0\0")
        )
        received = b""
        # The HEADERS of the answer: by then the server tries to send what comes after them.
        while not any(kind == 1 for kind in kinds(received)):
            data = raw.recv(65_536)
            assert data
            received += data
        yield


def kinds(received: bytes) -> Iterator[int]:
    while len(received) >= 9:
        yield received[3]
        received = received[9 + int.from_bytes(received[:3]) :]


def test_a_watcher_that_never_reads_is_in_nobodys_way(whole):
    with never_reading(whole.address), connection(whole.address) as channel:
        assert health(whole.address) == "SERVING"
        watch = channel.unary_stream(WATCH)(b"")
        assert next(watch) == SERVING
        # Who reads hears of it at once; who does not is cut off when the grace is over.
        assert stop(whole) < GRACE + 1
        assert next(watch) == NOT_SERVING


@pytest.mark.parametrize(("path", "limit"), [(WATCH, 1_000), (REFLECTION, 100)], ids=["watch", "reflection"])
async def test_no_more_streams_than_a_limit_and_room_again_when_they_end(watchword_server, path, limit):
    question = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString() if path != WATCH else b""

    async def open_one(channel: grpc.aio.Channel) -> grpc.StatusCode | None:
        stream = channel.stream_stream(path)()
        try:
            await stream.write(question)
        except grpc.aio.AioRpcError as error:
            # grpc's client says INTERNAL by itself if the stream ended while it was sending. Why, another one tells.
            return await open_one(channel) if error.code() is grpc.StatusCode.INTERNAL else error.code()
        try:
            assert await stream.read() is not grpc.aio.EOF
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None

    async def open_all(channel: grpc.aio.Channel) -> Counter[grpc.StatusCode | None]:
        return Counter(await asyncio.gather(*(open_one(channel) for _ in range(limit + 5))))

    async with aio_connection(watchword_server.address) as many:
        expected = {None: limit, grpc.StatusCode.RESOURCE_EXHAUSTED: 5}
        assert await open_all(many) == expected
        assert health(watchword_server.address) == "SERVING"
    async with asyncio.timeout(10), aio_connection(watchword_server.address) as later:
        while await open_one(later) is not None:  # noqa: ASYNC110  # the server's streams tell nobody of their end
            await asyncio.sleep(0.02)


def test_a_long_question_to_reflection_is_refused_and_not_kept(channel):
    request = reflection_pb2.ServerReflectionRequest(host="x" * 5_000, list_services="").SerializeToString()
    (answer,) = channel.stream_stream(REFLECTION)(iter([request]), timeout=5)
    assert reflection_pb2.ServerReflectionResponse.FromString(answer).error_response.error_code == 3
    assert len(answer) < 100
