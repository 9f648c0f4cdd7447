"""Times single calls that take microseconds."""

from collections.abc import Awaitable, Callable
from time import perf_counter_ns

from benchmarks.load import quantile
from benchmarks.results import MICROSECONDS, Results


def timed(call: Callable[[], object], times: int) -> list[int]:
    """Call so many times; the nanoseconds of each."""
    taken = []
    for _ in range(times):
        began = perf_counter_ns()
        call()
        taken.append(perf_counter_ns() - began)
    return taken


async def timed_async(call: Callable[[], Awaitable[object]], times: int) -> list[int]:
    """Call and await so many times; the nanoseconds of each."""
    taken = []
    for _ in range(times):
        began = perf_counter_ns()
        await call()
        taken.append(perf_counter_ns() - began)
    return taken


def add(results: Results, name: str, taken: list[int]) -> None:
    """Take the p50 of calls as a figure, with the p99 in its note."""
    ordered = sorted(taken)
    p99 = quantile(ordered, 0.99) / 1000
    results.add(name, quantile(ordered, 0.5) / 1000, MICROSECONDS, note=f"p99 {p99:.1f} us of {len(taken):,} calls")
