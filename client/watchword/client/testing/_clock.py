"""A clock that tests move, for the server and for the SDK in the process of the tests."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, Final

from watchword.client.testing._server import LocalServer


class _TimeAhead:
    """The module `time`, as the SDK sees it in tests: its monotonic clock goes forward with the server's clock.

    It never goes back, also when the server's does: what a client had proven before would count as proven for ages.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_time_ahead = _TimeAhead()
_MEASURING: Final = ("revisions", "_async.guard", "_async.keys", "_sync.guard", "_sync.keys")


@contextmanager
def sdk_time() -> Generator[None]:
    # In tests only. In production nothing can move this clock, so the SDK has no handle for it.
    modules: list[Any] = [import_module(f"watchword.client.{name}") for name in _MEASURING]
    for module in modules:
        module.time = _time_ahead
    try:
        yield
    finally:
        for module in modules:
            module.time = time


class Clock:
    """A clock that tests move: the server's, and that of every client in this process.

    Those that the code under test makes must be told: `Client(..., clock=watchword_clock)`.
    """

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def __call__(self) -> float:
        """What it shows, in Unix seconds."""
        return self._server.time()

    def now(self) -> datetime:
        """What it shows."""
        return datetime.fromtimestamp(self(), UTC)

    def advance(self, time: float | timedelta) -> None:
        """Move it forward, by seconds. Tokens, grants and whatever was found out about them age by as much."""
        seconds = time.total_seconds() if isinstance(time, timedelta) else time
        # A client's own time first: an answer that has ended must be kept nowhere when the server says so.
        _time_ahead.seconds += seconds
        self._server.advance(seconds)
