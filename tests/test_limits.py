"""More calls than the server takes, and longer ones: each is answered, or refused with a reason."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import psycopg
import pytest
from deployment import deployment, seconds_until
from wire import RPC, Outcome, Wire, assert_lawful, outcome_of

from watchword.client import ConflictError, DatabaseUnavailableError, DeadlineExceededError, ServerBusyError, User
from watchword.v1 import users_pb2


async def test_thousands_of_calls_at_a_time(watchword_async):
    """Of more than 1,000 that wait, grpc itself would refuse some with a bare CANCELLED."""
    await watchword_async.users.create(username="ana")
    users = watchword_async.with_timeout(60).users
    calls = (users.get_by_username("ana") for _ in range(3_000))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {User, ServerBusyError}
    await watchword_async.close()


async def test_calls_beyond_those_under_way_are_refused_at_once(watchword_server, watchword_async):
    """Threat: work that hangs, such as behind a lock, and takes all memory while it does."""
    user = await watchword_async.users.create(username="ana")
    busy = asyncio.Event()

    async def call(number: int) -> User:
        try:
            return await watchword_async.users.update(user.user_id, display_name=str(number))
        except ServerBusyError:
            busy.set()
            raise

    with psycopg.connect(watchword_server.database_url) as lock:
        lock.execute("select from users where user_id = %s for update", [user.user_id])
        calls = asyncio.gather(*(call(number) for number in range(2_200)), return_exceptions=True)
        await asyncio.wait_for(busy.wait(), timeout=10)
        lock.rollback()
    outcomes = await calls
    # Those that were under way may have waited for too long, which is told as it always is.
    assert {type(outcome) for outcome in outcomes} <= {
        User,
        ServerBusyError,
        ConflictError,
        DatabaseUnavailableError,
        DeadlineExceededError,
    }
    refusals = [outcome for outcome in outcomes if isinstance(outcome, ServerBusyError)]
    assert {refusal.retry_after for refusal in refusals} == {timedelta(seconds=1)}
    # The places of those that have ended are free again.
    assert (await watchword_async.users.get(user.user_id)).username == "ana"
    await watchword_async.close()


MAX_STREAMS = 100
IMPORT, EXPORT = RPC["ImportRelationships"], RPC["ExportRelationships"]


class OpenStreams:
    """Imports that are under way, until they are let go."""

    def __init__(self, channel: grpc.Channel, metadata: Any) -> None:
        self._method = channel.stream_stream(IMPORT.path, response_deserializer=IMPORT.response.FromString)
        self._metadata = metadata
        self._end = threading.Event()
        self.calls: list[Any] = []

    def open(self) -> Outcome:
        """Open one more and have its first answer, or how it was refused."""
        call = self._method(self._messages(), metadata=self._metadata, timeout=60)
        try:
            next(call)
        except grpc.RpcError as error:
            return outcome_of(error)
        self.calls.append(call)
        return Outcome("OK")

    def _messages(self) -> Iterator[bytes]:
        yield b""
        self._end.wait(60)

    def end(self) -> None:
        """End them all as they should."""
        self._end.set()
        for call in self.calls:
            assert list(call) == []

    def cancel(self) -> None:
        """Let go of them all."""
        for call in self.calls:
            call.cancel()
        self._end.set()


@pytest.mark.parametrize("way", ["end", "cancel"])
def test_streams_beyond_those_open_are_refused_until_some_end(channel, metadata, way):
    streams = OpenStreams(channel, metadata)
    try:
        assert {streams.open().code for _ in range(MAX_STREAMS)} == {"OK"}
        wire = Wire(channel, metadata)
        for refused in (streams.open(), wire.call(EXPORT, b""), wire.call(IMPORT, b"")):
            assert_lawful(refused, EXPORT)
            assert refused.reason == "SERVER_BUSY", refused.short
            assert refused.retry_after == 1
        # Calls without a stream have limits of their own.
        assert wire.call(RPC["ListRelationships"], b"").code == "OK"
    finally:
        getattr(streams, way)()
    # The server learns of a cancellation when it comes.
    seconds_until(lambda: wire.call(EXPORT, b"").code == "OK", within=5)
    again = OpenStreams(channel, metadata)
    assert {again.open().code for _ in range(MAX_STREAMS)} == {"OK"}
    again.end()


def test_who_may_not_call_holds_no_stream(channel, watchword):
    """Threat: streams of callers without a key, which take the places of the others."""
    for _ in range(3 * MAX_STREAMS):
        assert OpenStreams(channel, ()).open().reason == "API_KEY_INVALID"


def test_a_stream_that_is_slow_to_be_read_holds_no_transaction(channel, metadata, sql):
    """Threat: a reader that stops in the middle, and with it whatever the database keeps for it."""
    wire = Wire(channel, metadata)
    for part in range(20):
        names = [
            {"subject": f"user:{'x' * 200}{n}", "relation": "owner", "object": f"organization:{part}"}
            for n in range(1_000)
        ]
        assert wire.call(IMPORT, IMPORT.request(relationships=names)).code == "OK"
    call = channel.unary_stream(EXPORT.path)(b"", metadata=metadata, timeout=30)
    next(call)
    held = "select from pg_stat_activity where starts_with(state, 'idle in transaction')"
    seconds_until(lambda: sql(held) == [], within=5)
    assert len(list(call)) == 19


@pytest.mark.slow
def test_a_stream_that_says_nothing_is_ended(channel, metadata):
    silence = threading.Event()

    def messages() -> Iterator[bytes]:
        silence.wait(60)
        yield b""

    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(IMPORT.path)(messages(), metadata=metadata, timeout=60))
    assert outcome_of(caught.value).reason == "TIMED_OUT"
    assert 29 < time.monotonic() - start < 40
    silence.set()


@pytest.mark.slow
def test_a_call_without_a_deadline_ends_all_the_same():
    """What hangs here is the whole database, which notices no timeout of its own."""
    with deployment() as whole, grpc.insecure_channel(whole.address) as channel:
        call = channel.unary_unary(RPC["ListUsers"].path)
        metadata = (("authorization", f"Bearer {whole.api_key}"),)
        call(b"", metadata=metadata)
        whole.signal_database(signal.SIGSTOP)
        start = time.monotonic()
        try:
            with pytest.raises(grpc.RpcError) as caught:
                call(users_pb2.ListUsersRequest(page_size=1).SerializeToString(), metadata=metadata)
        finally:
            whole.signal_database(signal.SIGCONT)
        assert outcome_of(caught.value).reason in {"TIMED_OUT", "DATABASE_UNAVAILABLE"}
        # The limit is 30 seconds; the driver then tries for 10 to end what it began.
        assert time.monotonic() - start < 75
