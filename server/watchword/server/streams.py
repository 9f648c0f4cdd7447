"""The open streams of a service that anybody may call: no more of them than a limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc


class Streams:
    """Streams with one limit.

    Threat: a stream lives as long as its client likes, and so does the memory that it holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @asynccontextmanager
    async def one(self, context: Any) -> AsyncIterator[None]:
        """Count a stream until the block ends; beyond the limit, refuse it at once."""
        if self._open >= self._limit:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many streams are open: try again later.")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
