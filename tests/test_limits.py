"""More calls than the server takes, and longer ones: each is answered, or refused with a reason."""

import asyncio
import signal
import time
from datetime import timedelta

import grpc
import psycopg
import pytest
from deployment import deployment
from wire import RPC, outcome_of

from watchword.client import ConflictError, DatabaseUnavailableError, ServerBusyError, User
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
    assert {type(outcome) for outcome in outcomes} <= {User, ServerBusyError, ConflictError, DatabaseUnavailableError}
    refusals = [outcome for outcome in outcomes if isinstance(outcome, ServerBusyError)]
    assert {refusal.retry_after for refusal in refusals} == {timedelta(seconds=1)}
    # The places of those that have ended are free again.
    assert (await watchword_async.users.get(user.user_id)).username == "ana"
    await watchword_async.close()


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
