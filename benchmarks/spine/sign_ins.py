"""Sign-ins with a password: how near they come to what argon2 allows, what they do to others, what time tells."""

import asyncio
import itertools
import random
import secrets
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import psycopg

from benchmarks.load import Loop, WrongAnswer, median
from benchmarks.results import CALLS, MILLISECONDS
from benchmarks.spine.caller import PASSWORD
from benchmarks.spine.stand import NAME, TOGETHER, Stand, hasher
from watchword.client import AsyncClient, SignInRefusedError, SignInThrottledError
from watchword.server.config import Argon2Parameters
from watchword.server.passwords import PasswordHasher

Work = Callable[[], Awaitable[object]]

_THREADS: Final = 2
_ROUNDS: Final = 5
_BESIDE: Final = 4
"""Introspections in flight beside the storm."""
_WRONG: Final = "wrong horse battery"
_FAILURES: Final = 4
"""As often each name fails while a hash is computed: once less than a delay would follow."""
_OUTLASTING: Final = b"UPDATE sign_in_counters SET free_time = now() + interval '1 hour' WHERE get_byte(key, 0) = 1"
"""Makes the delays last longer than what is measured."""


async def measure(stand: Stand) -> None:
    """Measure the ceiling and the storm in turn, and introspection without the storm, beside hashes alone and in it."""
    sign_ins = Loop([stand.caller.sign_in], stand.names(), stand.meter)
    introspect = Loop([stand.caller.introspect], itertools.cycle(stand.caller.signed_in.access), stand.meter)
    seconds = max(stand.pace.seconds, 0.5)
    rounds = min(_ROUNDS, stand.pace.repeats * 2 - 1)
    ceiling, stormy = [], []
    await sign_ins.once(TOGETHER, stand.pace.seconds * stand.pace.warm_up)
    for _ in range(rounds):
        ceiling.append(await asyncio.to_thread(_hashes_per_second, seconds))
        stormy.append(await sign_ins.once(TOGETHER, seconds))
    stand.results.add("limit.argon2", statistics.median(ceiling), CALLS, note=f"{_THREADS} threads")
    stand.results.add_loop(f"spine.sign_in.c{TOGETHER}", median(stormy), in_flight=TOGETHER)
    idle, hashes, beside = [], [], []
    for _ in range(rounds):
        idle.append(await introspect.once(_BESIDE, seconds))
        async with _all_the_while(_hashes()):
            hashes.append(await introspect.once(_BESIDE, seconds))
        async with _all_the_while(_sign_ins(stand)):
            beside.append(await introspect.once(_BESIDE, seconds))
    for name, timings in (("idle", idle), ("hashes", hashes), ("storm", beside)):
        timing = median(timings)
        stand.results.add(f"spine.introspect.{name}.p50", timing.p50_ms, MILLISECONDS)
        stand.results.add(f"spine.introspect.{name}.p99", timing.p99_ms, MILLISECONDS)


def _hashes_per_second(seconds: float) -> float:
    """Verify on all cores, with nothing else to do."""
    verify, stored = hasher().verify, hasher().hash(PASSWORD)
    counts: list[int] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        count = 0
        while time.perf_counter() < end:
            verify(stored, PASSWORD)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


@asynccontextmanager
async def _sign_ins(stand: Stand) -> AsyncIterator[Work]:
    """Sign in, one person after the other."""
    names = stand.names()
    yield lambda: stand.caller.sign_in(next(names))


@asynccontextmanager
async def _hashes() -> AsyncIterator[Work]:
    """Have passwords verified as the server does, by processes of this one: no call, no database."""
    made = PasswordHasher(Argon2Parameters(), processes=_THREADS, queue_limit=TOGETHER, randomness=secrets.token_bytes)
    try:
        yield lambda: made.verify(PASSWORD, None)
    finally:
        await made.close()


@asynccontextmanager
async def _all_the_while(works: AbstractAsyncContextManager[Work]) -> AsyncIterator[None]:
    """Do a work sixteen times at once, again and again."""
    is_over = asyncio.Event()

    async def one_after_the_other(work: Work) -> None:
        while not is_over.is_set():
            await work()

    async with works as work, asyncio.TaskGroup() as group:
        for _ in range(TOGETHER):
            group.create_task(one_after_the_other(work))
        await asyncio.sleep(0.1)  # until both cores have enough to do
        yield
        # Not cancelled: a sign-in whose caller has gone counts as failed.
        is_over.set()


async def measure_what_time_tells(stand: Stand) -> None:
    """Compare refused sign-ins of people there are and of names there are not: when a hash is computed, when throttled.

    They take turns, in an order thrown anew each time. Nobody of these can sign in afterwards.
    """
    known, unknown = NAME + "{}", "nobody{}"
    people = max(1, min(stand.settings.sessions, stand.settings.refusals // _FAILURES))
    rounds = people * _FAILURES
    async with AsyncClient(stand.server.address, api_key=stand.watchword.api_key) as client:
        hashed = await _turns(client, {"known": known, "unknown": unknown}, SignInRefusedError, rounds)
        for name, each in itertools.product((known, unknown), range(people)):
            await _attempt(client, name.format(each), _WRONG)
        with psycopg.connect(stand.watchword.database_url) as connection:
            connection.execute(_OUTLASTING)
        kinds = {"known": known, "unknown": unknown, "right": known}
        throttled = await _turns(client, kinds, SignInThrottledError, rounds)
    for name, seconds in (("hashed", hashed), ("throttled", throttled)):
        medians = {kind: statistics.median(each) * 1000 for kind, each in seconds.items()}
        for kind, milliseconds in medians.items():
            stand.results.add(f"spine.refused.{name}.{kind}", milliseconds, MILLISECONDS)
        difference = (max(medians.values()) / min(medians.values()) - 1) * 100
        stand.results.add(f"spine.refused.{name}.difference", difference, "% apart", note=f"medians of {rounds} each")


async def _turns(
    client: AsyncClient, kinds: Mapping[str, str], expected: type[Exception], rounds: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds):
        for kind in random.sample(list(kinds), len(kinds)):
            began = time.perf_counter()
            outcome = await _attempt(
                client, kinds[kind].format(turn // _FAILURES), PASSWORD if kind == "right" else _WRONG
            )
            seconds[kind].append(time.perf_counter() - began)
            if outcome is not expected:
                raise WrongAnswer(f"a sign-in ends with {outcome.__name__}")
    return seconds


async def _attempt(client: AsyncClient, name: str, password: str) -> type[Exception]:
    try:
        await client.sign_in(name, password=password)
    except (SignInRefusedError, SignInThrottledError) as error:
        return type(error)
    raise WrongAnswer(f"{name} is signed in")
