"""Asks together what is asked at the same time.

What misses the cache in one turn of the event loop, or in several threads at once, becomes one BatchCheck: it costs the
server a fraction of as many Checks. Who asks the same is answered by the same question.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from watchword.client._permission_models import CheckAnswer, CheckError, CheckItem, Consistency

_MOST: Final = 1_000
_AT_ONCE: Final = 2
"""Questions of threads that are under way at the same time. What is asked meanwhile goes along in the next."""

Answers = list[CheckAnswer | CheckError]


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, and what was known when it was asked for: how many changes there had been, and the time."""

    answer: CheckAnswer | CheckError
    mark: int
    asked_at: float


def _key(item: CheckItem) -> Hashable:
    """What makes two questions the same. One with values of its own is like no other: to Python 1 is True."""
    if item.context is None and not item.contextual_relationships:
        return (item.subject, item.relation, item.object)
    return object()


_Waiting = tuple[CheckItem, "list[asyncio.Future[Asked]]"]
"""A question, and those who wait for its answer."""


class AsyncRounds:
    """Questions of one event loop."""

    def __init__(
        self,
        send: Callable[[Sequence[CheckItem], Consistency], Awaitable[Answers]],
        note: Callable[[], tuple[int, float]],
    ) -> None:
        self._send = send
        self._note = note
        self._pending: dict[Consistency, dict[Hashable, _Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, items: Sequence[CheckItem], consistency: Consistency) -> list[Asked]:
        """Answer questions, together with others that are asked in this turn of the event loop.

        Raises:
            WatchwordError: There is no answer at all.

        """
        futures = [self._join(item, consistency) for item in items]
        if len(futures) == 1:
            return [await futures[0]]
        return list(await asyncio.gather(*futures))

    def _join(self, item: CheckItem, consistency: Consistency) -> "asyncio.Future[Asked]":
        loop = asyncio.get_running_loop()
        if not self._pending:
            loop.call_soon(self._flush)
        pending = self._pending.setdefault(consistency, {})
        key = _key(item)
        waiting = pending.get(key)
        if waiting is None:
            waiting = pending[key] = (item, [])
        # One for each who asks: who goes away takes the answer from nobody else.
        future: asyncio.Future[Asked] = loop.create_future()
        waiting[1].append(future)
        return future

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for consistency, questions in pending.items():
            asked = list(questions.values())
            for start in range(0, len(asked), _MOST):
                task = asyncio.create_task(self._round(asked[start : start + _MOST], consistency))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _round(self, asked: "Sequence[_Waiting]", consistency: Consistency) -> None:
        mark, asked_at = self._note()
        try:
            answers = await self._send([item for item, _ in asked], consistency)
        except BaseException as error:
            for future in (future for _, futures in asked for future in futures if not future.done()):
                if isinstance(error, Exception):
                    future.set_exception(error)
                else:
                    future.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for (_, futures), answer in zip(asked, answers, strict=True):
            found = Asked(answer, mark, asked_at)
            for future in futures:
                if not future.done():
                    future.set_result(found)


class _Round:
    """What goes along in one question of threads."""

    __slots__ = ("answered", "done", "error", "items")

    def __init__(self) -> None:
        self.items: dict[Hashable, CheckItem] = {}
        self.done = threading.Event()
        self.answered: dict[Hashable, Asked] = {}
        self.error: Exception | None = None


class Rounds:
    """Questions of the threads of one process."""

    def __init__(
        self, send: Callable[[Sequence[CheckItem], Consistency], Answers], note: Callable[[], tuple[int, float]]
    ) -> None:
        self._send = send
        self._note = note
        self._lock = threading.Lock()
        self._gathering: dict[Consistency, _Round] = {}
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def ask(self, items: Sequence[CheckItem], consistency: Consistency) -> list[Asked]:
        """Answer questions, together with others that are asked while the ones before are under way.

        Raises:
            WatchwordError: There is no answer at all.

        """
        if len(items) > _MOST:
            parts = (items[start : start + _MOST] for start in range(0, len(items), _MOST))
            return [asked for part in parts for asked in self.ask(part, consistency)]
        keys = [_key(item) for item in items]
        with self._lock:
            round_ = self._gathering.get(consistency)
            is_first = round_ is None or len(round_.items) + len(items) > _MOST
            if round_ is None or is_first:
                round_ = self._gathering[consistency] = _Round()
            round_.items.update(zip(keys, items, strict=True))
        if is_first:
            self._lead(round_, consistency)
        else:
            round_.done.wait()
        if round_.error is not None:
            raise round_.error
        return [round_.answered[key] for key in keys]

    def _lead(self, round_: _Round, consistency: Consistency) -> None:
        try:
            with self._turns:
                with self._lock:  # from here on nobody joins
                    if self._gathering.get(consistency) is round_:
                        del self._gathering[consistency]
                mark, asked_at = self._note()
                answers = self._send(list(round_.items.values()), consistency)
                round_.answered = {
                    key: Asked(answer, mark, asked_at) for key, answer in zip(round_.items, answers, strict=True)
                }
        except Exception as error:
            round_.error = error
            raise
        finally:
            if not round_.answered and round_.error is None:
                round_.error = InterruptedError("The thread that asked for several was interrupted.")
            round_.done.set()
