"""A closed loop: so many calls in flight, each of which begins when the one before it has been answered.

It reports what a caller sees (throughput, p50, p99) and what a call costs each process. Every loop is run a few times
and each figure is the median of its runs, for this is a shared machine and single runs differ by 5 to 15 %.
"""

import asyncio
import statistics
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from benchmarks.processes import Meter

T = TypeVar("T")

TURNS: Final = 3
"""Into so many rounds a measurement is cut of loops that take turns."""

Ask = Callable[[T], Awaitable[None]]
"""Makes one call over one channel, and raises WrongAnswer if the answer is not what it must be."""


class WrongAnswer(Exception):
    """What was measured is not what was asked for: no figure of this run may be used."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a loop showed."""

    throughput: float
    """Calls per second."""
    p50_ms: float
    p99_ms: float
    calls: int
    cpu_us: dict[str, float] = field(default_factory=dict)
    """Microseconds of CPU per call, by process."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long is measured."""

    seconds: float
    repeats: int
    warm_up: float = 0.3
    """As a part of `seconds`, run before each measurement and not counted."""


@dataclass(frozen=True, slots=True)
class Loop(Generic[T]):
    """What is asked, and over which channels; calls are spread over them in turn."""

    asks: Sequence[Ask[T]]
    questions: Iterator[T]
    """Without end. It goes on from one repetition to the next: cold questions shall not come round in step."""
    meter: Meter

    async def run(self, *, in_flight: int, pace: Pace) -> Timing:
        """Measure with so many calls in flight."""
        timings = []
        for _ in range(pace.repeats):
            await self.once(in_flight, pace.seconds * pace.warm_up)
            timings.append(await self.once(in_flight, pace.seconds))
        return median(timings)

    async def once(self, in_flight: int, seconds: float) -> Timing:
        """Measure a single time, without warming up."""
        latencies = array("d")
        before, began = self.meter.look(), time.perf_counter()
        end = began + seconds

        async def fly(ask: Ask[T]) -> None:
            clock = time.perf_counter
            start = clock()
            while start < end:
                await ask(next(self.questions))
                now = clock()
                latencies.append(now - start)
                start = now

        async with asyncio.TaskGroup() as group:
            for number in range(in_flight):
                group.create_task(fly(self.asks[number % len(self.asks)]))
        took, after = time.perf_counter() - began, self.meter.look()
        return timing(latencies, took, {name: after[name] - before[name] for name in before})


async def in_turn(loops: Mapping[str, Loop[Any]], *, in_flight: int, pace: Pace) -> dict[str, Timing]:
    """Measure loops in short rounds that take turns, so that whatever else the machine does meets all of them alike."""
    timings: dict[str, list[Timing]] = {name: [] for name in loops}
    for loop in loops.values():
        await loop.once(in_flight, pace.seconds * pace.warm_up)
    for _ in range(pace.repeats * TURNS):
        for name, loop in loops.items():
            timings[name].append(await loop.once(in_flight, pace.seconds / TURNS))
    return {name: median(each) for name, each in timings.items()}


def timing(latencies: Sequence[float], took: float, cpu_seconds: dict[str, float]) -> Timing:
    """Sum up a loop from its calls' seconds."""
    calls = len(latencies)
    ordered = sorted(latencies)
    return Timing(
        throughput=calls / took,
        p50_ms=quantile(ordered, 0.50) * 1000,
        p99_ms=quantile(ordered, 0.99) * 1000,
        calls=calls,
        cpu_us={name: seconds / calls * 1e6 for name, seconds in cpu_seconds.items()},
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Give the smallest value that so large a share does not exceed (nearest rank)."""
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


def median(timings: Sequence[Timing]) -> Timing:
    """Take the median of each figure."""
    names = timings[0].cpu_us
    return Timing(
        throughput=statistics.median(t.throughput for t in timings),
        p50_ms=statistics.median(t.p50_ms for t in timings),
        p99_ms=statistics.median(t.p99_ms for t in timings),
        calls=sum(t.calls for t in timings),
        cpu_us={name: statistics.median(t.cpu_us[name] for t in timings) for name in names},
    )
