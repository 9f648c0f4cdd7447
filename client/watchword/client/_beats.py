"""Sends something again and again, whatever else is done meanwhile: in a task of asyncio, or in a thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message


class AsyncBeat:
    """Beats in a task of its own."""

    def __init__(
        self, seconds: float, send: Callable[[Message], Awaitable[None]], message: Callable[[], Message]
    ) -> None:
        self._task = asyncio.create_task(self._run(seconds, send, message))

    async def stop(self) -> None:
        """Beat no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(
        self, seconds: float, send: Callable[[Message], Awaitable[None]], message: Callable[[], Message]
    ) -> None:
        while True:
            await send(message())
            await asyncio.sleep(seconds)


class Beat:
    """Beats in a thread of its own."""

    def __init__(self, seconds: float, send: Callable[[Message], None], message: Callable[[], Message]) -> None:
        self._stopped = threading.Event()
        thread = threading.Thread(target=self._run, args=(seconds, send, message), name="watchword-pings", daemon=True)
        thread.start()

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()

    def _run(self, seconds: float, send: Callable[[Message], None], message: Callable[[], Message]) -> None:
        while not self._stopped.is_set():
            send(message())
            self._stopped.wait(seconds)
