"""The counters of failed sign-ins in the database do what sign_in_limits.py says, and stay few."""

import asyncio
import math
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import psycopg
import pytest
from deployment import seconds_until, waiting_for_locks
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from watchword.client import Client
from watchword.client.testing import LocalServer
from watchword.server.config import Config
from watchword.server.sealing import Keyring
from watchword.server.sign_in_limits import LEASE, Kind, Limit, SignInLimits
from watchword.server.storage.database import Database
from watchword.server.storage.sign_in_counters import Counter, Reserved, values_of

SECOND = timedelta(seconds=1)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
ACCOUNT = Limit(Kind.ACCOUNT, 3, timedelta(hours=1), timedelta(minutes=10), resets=True)
ADDRESS = Limit(Kind.ADDRESS, 6, timedelta(seconds=7), timedelta(minutes=1))
TOTAL = Limit(Kind.TOTAL, 8, timedelta(milliseconds=200), SECOND)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def database_of(url: str, clock: Clock, pool_size: int) -> Database:
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    return Database(url, pool_size=pool_size, keyring=keyring, clock=clock, randomness=secrets.token_bytes)


class Counters:
    """The counters, driven from outside an event loop."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self._database = database_of(url, self.clock, 4)
        self._runner = asyncio.Runner()
        self._runner.run(self._database.open())

    def reserve(self, counters: list[Counter]) -> Reserved:
        async def run() -> Reserved:
            async with self._database.read() as reader:
                return await reader.sign_in_counters.reserve(counters)

        return self._runner.run(run())

    def fail(self, counters: list[Counter]) -> set[bytes]:
        async def run() -> set[bytes]:
            async with self._database.read() as reader:
                return {row.key for row in await reader.sign_in_counters.fail(counters) if row.reached}

        return self._runner.run(run())

    def give_back(self, counters: list[Counter], *, succeeded: bool) -> None:
        async def run() -> None:
            async with self._database.read() as reader:
                await reader.sign_in_counters.give_back(counters, succeeded=succeeded)

        self._runner.run(run())

    def drop(self, **limits: int) -> int:
        async def run() -> int:
            async with self._database.read() as reader:
                return await reader.sign_in_counters.drop(**limits)

        return self._runner.run(run())

    def close(self) -> None:
        self._runner.run(self._database.close())
        self._runner.close()


@pytest.fixture
def counters(watchword: Client, watchword_server: LocalServer) -> Iterator[Counters]:
    made = Counters(watchword_server.database_url)
    yield made
    made.close()


class Bucket:
    """A bucket that leaks, in exact numbers."""

    def __init__(self, limit: Limit, now: datetime) -> None:
        self.limit, self.seen, self.free, self.lease = limit, now, LONG_AGO, now
        self.level, self.pending = Fraction(0), 0

    def at(self, now: datetime) -> "Bucket":
        leaked = Fraction((now - self.seen) // timedelta(microseconds=1), self.limit.leak // timedelta(microseconds=1))
        self.level, self.seen = max(Fraction(0), self.level - leaked), now
        if self.lease <= now:
            self.pending = 0
        return self

    @property
    def admits(self) -> bool:
        return self.free <= self.seen and (self.pending == 0 or self.level + 1 <= self.limit.failures)

    def reserve(self) -> None:
        self.level, self.pending, self.lease = self.level + 1, self.pending + 1, self.seen + LEASE

    def fail(self) -> bool:
        self.pending = max(0, self.pending - 1)
        count = math.ceil(self.level) - self.pending
        if count >= self.limit.failures:
            delay = min(self.limit.max_delay, self.limit.first_delay * 2 ** (count - self.limit.failures))
            self.free = max(self.free, self.seen + delay)
        return count == self.limit.failures

    def give_back(self, *, succeeded: bool) -> None:
        self.pending = max(0, self.pending - 1)
        self.level = max(Fraction(0), self.level - 1)
        if succeeded and self.limit.resets:
            self.level, self.free = Fraction(self.pending), LONG_AGO


class Attempts(RuleBasedStateMachine):
    """A model in exact numbers agrees with the database: who passes, who waits how long, what a failure reaches."""

    counters: Counters
    runs = iter(range(10**9))

    @initialize()
    def begin(self) -> None:
        self.run = next(self.runs).to_bytes(4)
        self.buckets: dict[bytes, Bucket] = {}
        self.under_way: list[list[Counter]] = []

    def counter(self, limit: Limit, name: int) -> Counter:
        key = bytes([limit.kind]) + self.run + bytes([name])
        self.buckets.setdefault(key, Bucket(limit, self.counters.clock.now))
        return Counter(key, limit)

    def states(self, asked: list[Counter]) -> list[Bucket]:
        return [self.buckets[counter.key].at(self.counters.clock.now) for counter in asked]

    @rule(account=st.integers(0, 1), address=st.integers(0, 1))
    def attempt(self, account: int, address: int) -> None:
        asked = [self.counter(ACCOUNT, account), self.counter(ADDRESS, address), self.counter(TOTAL, 0)]
        buckets = self.states(asked)
        reserved = self.counters.reserve(asked)
        if all(bucket.admits for bucket in buckets):
            assert sorted(reserved.keys) == [counter.key for counter in asked]
            for bucket in buckets:
                bucket.reserve()
            self.under_way.append(asked)
        else:
            assert reserved.keys == []
            blocked = [bucket.free for bucket in buckets if bucket.free > self.counters.clock.now]
            assert reserved.free_time is not None
            assert max(blocked, default=self.counters.clock.now) == max(reserved.free_time, self.counters.clock.now)

    @precondition(lambda self: getattr(self, "under_way", None))
    @rule(data=st.data(), outcome=st.sampled_from(["fails", "fails", "succeeds", "is given back", "is lost"]))
    def end(self, data: st.DataObject, outcome: str) -> None:
        asked = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        buckets = self.states(asked)
        if outcome == "fails":
            reached = {counter.key for counter, bucket in zip(asked, buckets, strict=True) if bucket.fail()}
            assert self.counters.fail(asked) == reached
        elif outcome != "is lost":
            succeeded = outcome == "succeeds"
            for bucket in buckets:
                bucket.give_back(succeeded=succeeded)
            self.counters.give_back(asked, succeeded=succeeded)

    @rule(microseconds=st.sampled_from([1, 100_000, 1_000_000, 2_000_000, 7_000_000, 61_000_000, 1_800_000_000]))
    def wait(self, microseconds: int) -> None:
        self.counters.clock.now += timedelta(microseconds=microseconds)

    @rule()
    def sweep(self) -> None:
        self.counters.drop()


def test_random_histories_of_attempts(counters: Counters):
    machine: Any = type("Machine", (Attempts,), {"counters": counters})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_delays_grow_from_a_second_to_half_a_day_and_a_hundred_failures_take_a_month(counters: Counters, sql):
    """An attacker who tries one account as often as it passes, for ever."""
    limit = SignInLimits.of(Config()).account
    assert limit is not None
    counter = [Counter(b"\x01victim", limit)]
    begin, delays = counters.clock.now, []
    for _ in range(100):
        assert counters.reserve(counter).keys
        counters.fail(counter)
        free = sql("select free_time from sign_in_counters")[0]["free_time"]
        delays.append(max(timedelta(), free - counters.clock.now))
        counters.clock.now = max(counters.clock.now, free)
    assert delays[:9] == [timedelta()] * 4 + [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]
    assert delays[-1] == timedelta(hours=12)
    assert delays == sorted(delays)
    assert counters.clock.now - begin > timedelta(days=30)


def test_a_limit_may_leak_by_the_microsecond(counters: Counters):
    counter = [Counter(b"\x03", Limit(Kind.TOTAL, 1_000_000, timedelta(microseconds=60), SECOND))]
    assert counters.reserve(counter).keys == [b"\x03"]
    counters.give_back(counter, succeeded=True)


@pytest.mark.parametrize("leak", [timedelta(microseconds=60), timedelta(hours=12), timedelta(days=400, seconds=1.5)])
def test_times_are_written_as_every_postgresql_reads_them(leak: timedelta, sql):
    """PostgreSQL 14 refuses numbers of more than 32 bits in an interval; here a newer one may run."""
    (text,) = values_of([Counter(b"", Limit(Kind.TOTAL, 1, leak, leak))])["leaks"].strip('{"}').split('","')
    assert all(int(number) < 2**31 for number in re.findall(r"\d+", text))
    assert sql("SELECT CAST(%s AS interval) AS it", (text,)) == [{"it": leak}]


def test_spent_counters_are_dropped_and_too_many_are(counters: Counters, sql):
    """Of a flood of names those stay that failed most: trying others makes nobody's tries forgotten.

    A table that autovacuum saw with one row is planned as such, and then a subquery may run once for each row.
    """
    limit = SignInLimits.of(Config()).account
    assert limit is not None
    often = [Counter(b"\x01often", limit)]
    for _ in range(3):
        counters.reserve(often)
        counters.fail(often)
    sql("vacuum analyze sign_in_counters")
    for number in range(50):
        once = [Counter(b"\x01" + number.to_bytes(2), limit)]
        counters.reserve(once)
        counters.fail(once)
    assert counters.drop(max_rows=51) == 0
    assert counters.drop(max_rows=10) == 41
    assert {bytes(row["key"]) for row in sql("select key from sign_in_counters")} >= {b"\x01often"}
    counters.clock.now += limit.leak
    assert counters.drop() == 9
    counters.clock.now += 2 * limit.leak
    assert counters.drop() == 1
    assert sql("select * from sign_in_counters") == []


async def test_of_many_that_look_at_the_same_time_only_as_many_pass_as_there_is_room_for(watchword_server, sql):
    """All see a counter that admits them, and wait for its row."""
    account = [Counter(b"\x01victim", Limit(Kind.ACCOUNT, 5, timedelta(hours=1), timedelta(hours=1)))]
    both = [*account, Counter(b"\x04home", Limit(Kind.ADDRESS, 100, timedelta(hours=1), timedelta(hours=1)))]
    database = database_of(watchword_server.database_url, Clock(), 40)
    await database.open()

    async def reserve() -> int:
        async with database.read() as reader:
            return len((await reader.sign_in_counters.reserve(both)).keys)

    async with database.read() as reader:
        await reader.sign_in_counters.reserve(account)
        await reader.sign_in_counters.give_back(account, succeeded=False)
    async with await psycopg.AsyncConnection.connect(watchword_server.database_url) as holder:
        await holder.execute("select from sign_in_counters for update")
        calls = [asyncio.create_task(reserve()) for _ in range(20)]
        await asyncio.to_thread(seconds_until, lambda: waiting_for_locks(sql) == len(calls), within=20)
        await holder.rollback()
    passed = [await call for call in calls]
    assert passed.count(2) == 5
    # The address has room for all, so it is theirs: the caller gives it back (throttle.py).
    assert passed.count(1) == 15
    await database.close()
