"""The open streams of a service: no more of them than a limit."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc


class TooManyStreams(Exception):
    """As many streams are open as there may be."""


class Streams:
    """Streams with one limit.

    Threat: a stream lives as long as its client likes, and so does the memory that it holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Count a stream until the block ends.

        Raises:
            TooManyStreams: it would be one more than the limit.

        """
        if self._open >= self._limit:
            raise TooManyStreams
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    @asynccontextmanager
    async def one(self, context: Any) -> AsyncIterator[None]:
        """Count a stream of a service that is not Watchword's own; beyond the limit, refuse it at once."""
        try:
            with self.place():
                yield
        except TooManyStreams:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams are open: try again later.")
