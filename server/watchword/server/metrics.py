"""What a server process tells Prometheus: each RPC's rate, errors and duration, and how its parts do.

Threat: a page that grows with what strangers send, or tells of people. So labels hold names of this code only: RPCs
that exist (any other is "unknown"), gRPC's codes, the reasons of errors.proto, pools.

Calls are counted as they end, in 1.4 µs, or 3.4 where several workers share a page; how the parts do is looked at once
a second. Loaded only where metrics are on: who does not use them pays nothing.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from watchword.server.errors import DomainError
from watchword.server.observing import Parts

_LOOK_SECONDS: Final = 1.0
_UNKNOWN: Final = "unknown"
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of calls (see `pipeline.Around`), and those of the parts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._under_way = 0
        self._requests = Counter(
            "watchword_rpc_requests", "Calls that have ended.", ("method", "code"), registry=registry
        )
        self._refusals = Counter(
            "watchword_rpc_refusals",
            "Calls that were refused, by ErrorReason.",
            ("method", "reason"),
            registry=registry,
        )
        self._duration = Histogram(
            "watchword_rpc_duration_seconds",
            "What calls took, but for streams that stay open.",
            ("method",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._gauges = _Gauges(registry)

    # ----- calls ------------------------------------------------------------------------------------------------------

    def unary(self, rpc: str, behavior: Any) -> Any:
        """Count the calls of an RPC."""
        count = self._requests.labels(rpc, "OK").inc
        observe = self._duration.labels(rpc).observe
        clock = time.perf_counter

        async def counted(request: Any, context: Any) -> Any:
            started = clock()
            self._under_way += 1
            try:
                response = await behavior(request, context)
            except BaseException:
                self._requests.labels(rpc, _code_of(context)).inc()
                raise
            else:
                count()
                return response
            finally:
                self._under_way -= 1
                observe(clock() - started)

        return counted

    def stream(self, rpc: str, behavior: Any, *, open_ended: bool) -> Any:
        """Count the calls of an RPC that has a stream."""
        count = self._requests.labels(rpc, "OK").inc
        observe = None if open_ended else self._duration.labels(rpc).observe

        async def counted(requests: Any, context: Any) -> AsyncGenerator[Any]:
            started = time.perf_counter()
            self._under_way += not open_ended
            try:
                async with aclosing(behavior(requests, context)) as responses:
                    async for response in responses:
                        yield response
            except BaseException:
                self._requests.labels(rpc, _code_of(context)).inc()
                raise
            else:
                count()
            finally:
                self._under_way -= not open_ended
                if observe is not None:
                    observe(time.perf_counter() - started)

        return counted

    def refused(self, rpc: str, failure: DomainError) -> None:
        """Count a refusal by its reason: `SIGN_IN_THROTTLED`, say, which shares its code with others."""
        self._refusals.labels(rpc, failure.reason_name()).inc()

    def unknown(self) -> grpc.GenericRpcHandler:
        """Count calls of RPCs that do not exist: to be added behind all other handlers."""
        return _Unknown(self._requests.labels(_UNKNOWN, "UNIMPLEMENTED"))

    # ----- parts ------------------------------------------------------------------------------------------------------

    async def look(self, parts: Parts) -> None:
        """Look once a second how the parts do, until cancelled."""
        while True:
            self._gauges.look(parts, self._under_way)
            await asyncio.sleep(_LOOK_SECONDS)


class _Gauges:
    """The metrics of the parts. Of several workers the page has the sum, and the lag of the one that is behind most."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str, mode: Any = "livesum") -> Gauge:
            return Gauge(f"watchword_{name}", text, labels, multiprocess_mode=mode, registry=registry)

        def counter(name: str, text: str, *labels: str) -> "_Total":
            return _Total(Counter(f"watchword_{name}", text, labels, registry=registry))

        self._under_way = gauge("rpc_calls_under_way", "Calls that have not ended, but for streams that stay open.")
        self._connections = gauge("pool_connections", "Connections to PostgreSQL.", "pool", "state")
        self._most = gauge("pool_max_connections", "Connections to PostgreSQL at most.", "pool")
        self._waiting = gauge("pool_waiting", "Calls that wait for a connection.", "pool")
        self._takes = counter("pool_requests", "Times a connection was asked for.", "pool")
        self._waits = counter("pool_waits", "Times it had to be waited for.", "pool")
        self._waited = counter("pool_wait_seconds", "For how long.", "pool")
        self._failures = counter("pool_failures", "Times none came in time.", "pool")
        self._hashes_waiting = gauge("password_hashes_waiting", "Password hashes that wait for a process.")
        self._hashes_running = gauge("password_hashes_running", "Password hashes that a process works on.")
        self._hashes = counter("password_hashes", "Password hashes begun.")
        self._hashes_waited = counter("password_hash_wait_seconds", "For how long they had waited.")
        self._lag = gauge("feed_lag_seconds", "How old what the feed knows is; +Inf: it knows nothing.", mode="livemax")
        self._streams = gauge("watch_streams", "Watch streams that are open.")
        self._resynchronizations = counter("watch_resynchronizations", "Streams told that they have lost their place.")
        self._cache_bytes = gauge("cache_bytes", "Memory that cached relationships take, about.")
        self._checks = counter("checks", "Checks, by where their answers came from.", "source")

    def look(self, parts: Parts, under_way: int) -> None:
        """Take all figures."""
        self._under_way.set(under_way)
        for pool, stats in parts.database.pool_stats().items():
            self._look_at_pool(pool, stats)
        passwords, questions = parts.passwords, parts.questions
        self._hashes_waiting.set(passwords.waiting)
        self._hashes_running.set(passwords.running)
        self._hashes.reach(passwords.begun)
        self._hashes_waited.reach(passwords.waited_seconds)
        self._lag.set(parts.feed.lag_seconds)
        self._streams.set(parts.fan_out.stream_count)
        self._resynchronizations.reach(parts.watch.resynchronizations)
        self._cache_bytes.set(parts.cache.bytes)
        self._checks.reach(questions.cached_count, "cache")
        self._checks.reach(questions.cold_count, "database")

    def _look_at_pool(self, pool: str, stats: dict[str, int]) -> None:
        size, idle = stats.get("pool_size", 0), stats.get("pool_available", 0)
        self._connections.labels(pool, "idle").set(idle)
        self._connections.labels(pool, "busy").set(size - idle)
        self._most.labels(pool).set(stats.get("pool_max", 0))
        self._waiting.labels(pool).set(stats.get("requests_waiting", 0))
        self._takes.reach(stats.get("requests_num", 0), pool)
        self._waits.reach(stats.get("requests_queued", 0), pool)
        self._waited.reach(stats.get("requests_wait_ms", 0) / 1000, pool)
        self._failures.reach(stats.get("requests_errors", 0), pool)


class _Total:
    """A counter of what is counted elsewhere."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._reached: dict[tuple[str, ...], float] = {}

    def reach(self, total: float, *labels: str) -> None:
        """Count up to a total."""
        child = self._counter.labels(*labels) if labels else self._counter
        child.inc(total - self._reached.get(labels, 0.0))
        self._reached[labels] = total


class _Unknown(grpc.GenericRpcHandler):
    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:  # noqa: ARG002 - grpc's name
        """Count a call that no handler before took; serve nothing."""
        self._counter.inc()


def _code_of(context: Any) -> str:
    """Name the status that a call ends with that does not end well."""
    code = context.code()
    # None was set: the caller has hung up.
    return code.name if isinstance(code, grpc.StatusCode) else "CANCELLED"
