"""Threads, tasks and forks: what the generated twins cannot show because they differ here."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sdk_recorder import Recorder, recording, status
from test_sdk_transport_async import NOW, signing_keys
from test_verifier import jwks, token

from watchword.client import AsyncClient, Client, InternalError, Relationship

FORKS = """
import asyncio, os, sys
from watchword.client import AsyncClient, Client

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

client = Client(sys.argv[1], api_key="wwk_x", timeout=5)
asynchronous = AsyncClient(sys.argv[1], api_key="wwk_x", timeout=5)

async def call():
    await asynchronous.users.get("async")

in_child(lambda: client.users.get("before"))  # made before the fork, first used after it
in_child(lambda: asyncio.run(call()))
client.users.get("parent")
for _ in range(3):
    in_child(lambda: client.users.get("child"))
    client.users.get("parent")
in_child(lambda: in_child(lambda: client.users.get("grandchild")))
in_child(lambda: (client.users.get("child"), client.close()))
client.users.get("parent")
client._keys._locks.get().acquire()  # as if another thread were fetching keys in the moment of the fork
in_child(lambda: client._keys._locks.get().acquire(timeout=1) or os._exit(2))
"""


@pytest.fixture
def recorder() -> Recorder:
    with recording() as made:
        yield made


def test_a_client_works_in_forked_processes(recorder: Recorder):
    done = subprocess.run(
        [sys.executable, "-c", FORKS, recorder.address],
        # Not as the tests themselves are run: an application that forks needs gRPC's care for that.
        env={name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    called = [call.request.user_id for call in recorder.calls]
    assert called == ["before", "async", "parent", *["child", "parent"] * 3, "grandchild", "child", "parent"]


class Gate:
    """Holds an answer back until all who wait for it have come."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self) -> object:
        self.reached.set()
        self.opened.wait(10)
        return self.answer


@pytest.mark.parametrize("answer", [signing_keys(), status("INTERNAL")])
def test_threads_that_need_the_keys_ask_once(recorder: Recorder, answer: object):
    gate = Gate(answer)
    recorder.answers += [gate]
    threads = 8
    with Client(recorder.address, api_key="x", clock=lambda: NOW) as client, ThreadPoolExecutor(threads) as pool:
        keys = client._keys
        waiting = threading.Semaphore(0)

        class Counted:
            """The lock, telling who has come to it."""

            lock = threading.Lock()

            def __enter__(self) -> None:
                waiting.release()
                self.lock.acquire()

            def __exit__(self, *_: object) -> None:
                self.lock.release()

        counted = Counted()
        keys._locks.get = lambda: counted  # type: ignore[method-assign,assignment,return-value]
        futures = [pool.submit(client.verify, token()) for _ in range(threads)]
        for _ in range(threads):
            assert waiting.acquire(timeout=10)
        gate.opened.set()
        failures = [future.exception(timeout=10) for future in futures]
    assert len(recorder.calls) == 1
    if answer == status("INTERNAL"):
        assert all(type(failure) is InternalError for failure in failures)
    else:
        assert failures == [None] * threads


async def test_tasks_that_need_the_keys_ask_once(recorder: Recorder):
    recorder.answers += [signing_keys(keys=jwks()), signing_keys()]
    async with AsyncClient(recorder.address, api_key="x", clock=lambda: NOW) as client:
        # The first set lacks the key: all see it unknown, one asks again, and none is refused meanwhile.
        await asyncio.gather(*(client.verify(token()) for _ in range(20)))
    assert len(recorder.calls) == 2


async def test_a_task_that_gives_up_leaves_the_question_to_the_next(recorder: Recorder):
    gate = Gate(signing_keys())
    recorder.answers += [gate, signing_keys()]
    async with AsyncClient(recorder.address, api_key="x", clock=lambda: NOW) as client:
        impatient = asyncio.create_task(client.verify(token()))
        patient = asyncio.create_task(client.verify(token()))
        await asyncio.to_thread(gate.reached.wait, 10)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert await patient
        gate.opened.set()


def test_a_client_for_many_threads(recorder: Recorder):
    with Client(recorder.address, api_key="x") as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(client.users.get, map(str, range(200))))
    assert sorted(int(call.request.user_id) for call in recorder.calls) == list(range(200))


def test_an_async_client_serves_one_loop_after_another(recorder: Recorder):
    client = AsyncClient(recorder.address, api_key="x")

    async def call() -> None:
        await client.users.get("u")

    for _ in range(3):
        with asyncio.Runner() as runner:
            runner.run(call())
    assert client._channel is not None
    assert len(client._channel._opened._made) == 1, "channels of closed loops are dropped"
    assert len(recorder.calls) == 3


USED_BEFORE_A_FORK = """
import asyncio, os, sys
from watchword.client import AsyncClient, ClientClosedError

client = AsyncClient(sys.argv[1], api_key="wwk_x", timeout=5)

async def call():
    await client.users.get("u")

asyncio.run(call())
pid = os.fork()
if pid == 0:
    try:
        asyncio.run(call())
    except ClientClosedError:
        os._exit(7)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_an_async_client_that_cannot_go_on_after_a_fork_says_so(recorder: Recorder):
    """gRPC's poller for asyncio dies in a fork; without the check this call would hang for good."""
    command = [sys.executable, "-c", USED_BEFORE_A_FORK, recorder.address]
    assert subprocess.run(command, timeout=30, check=False).returncode == 7


def test_no_path_of_the_sdk_opens_a_channel_before_a_call():
    """A channel opened at import or construction would not survive a prefork."""
    client = Client(api_key="x")
    assert client._channel is not None
    assert client._channel._opened.existing() is None


async def test_an_asynchronous_source_is_imported(recorder: Recorder):
    async def source():
        for number in range(5):
            await asyncio.sleep(0)
            yield Relationship(f"user:{number}", "viewer", "document:1")

    async with AsyncClient(recorder.address, api_key="wwk_x") as client:
        done = await client.relationships.import_(source(), batch_size=2)
    assert done.relationship_count == 5
    assert [len(call.request.relationships) for call in recorder.calls] == [2, 2, 1]


def test_streams_leave_no_threads_behind(recorder: Recorder):
    def stream(client: Client) -> int:
        client.relationships.import_([Relationship("user:ana", "viewer", "document:1")])
        next(client.relationships.export(), None)
        for _ in range(100):  # threads end a moment after their calls
            if threading.active_count() <= before:
                break
            threading.Event().wait(0.02)
        return threading.active_count()

    with Client(recorder.address, api_key="wwk_x") as client:
        client.users.get("u")
        before = threading.active_count() + 8  # the recorder's own
        assert max(stream(client) for _ in range(20)) <= before
