"""Times requests of several applications call by call, each in turn: what happens on the machine meets all alike."""

from collections.abc import Awaitable, Callable, Mapping

from benchmarks.feed.clock import timed, timed_async
from benchmarks.load import quantile
from benchmarks.results import MICROSECONDS, REQUESTS, Results

BARE = "bare"
WATCHWORD = "watchword"
_WARM_UP = 0.1


def measure(framework: str, requests: Mapping[str, Callable[[], object]], times: int, results: Results) -> None:
    """Measure applications that serve in a thread; one of them is bare."""
    taken: dict[str, list[int]] = {name: [] for name in requests}
    for request in requests.values():
        timed(request, int(times * _WARM_UP))
    for _ in range(times):
        for name, request in requests.items():
            taken[name] += timed(request, 1)
    _tell(framework, taken, results)


async def measure_async(
    framework: str, requests: Mapping[str, Callable[[], Awaitable[object]]], times: int, results: Results
) -> None:
    """Measure applications that serve in an event loop; one of them is bare."""
    taken: dict[str, list[int]] = {name: [] for name in requests}
    for request in requests.values():
        await timed_async(request, int(times * _WARM_UP))
    for _ in range(times):
        for name, request in requests.items():
            taken[name] += await timed_async(request, 1)
    _tell(framework, taken, results)


def _tell(framework: str, taken: Mapping[str, list[int]], results: Results) -> None:
    bare = quantile(sorted(taken[BARE]), 0.5) / 1000
    for name, nanoseconds in taken.items():
        middle = quantile(sorted(nanoseconds), 0.5) / 1000
        results.add(f"{framework}.{name}", 1e9 * len(nanoseconds) / sum(nanoseconds), REQUESTS)
        results.add(f"{framework}.{name}.p50", middle, MICROSECONDS)
        if name != BARE:
            results.add(f"{framework}.{name}.adds", middle - bare, MICROSECONDS)
