"""Answers together what is asked at the same time.

A statement costs the same to send, plan and wait for whether it asks one question or thirty. So what is asked while one
is under way waits for it to end, and then goes together. Who asks alone does not wait; and nobody waits long for what
others asked, for a round that takes its time goes on by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

_MOST: Final = 32
"""Questions in a round. More would make the quickest of them wait for too many others."""
_PATIENCE_SECONDS: Final = 0.01
"""How long one round holds off the next."""

Q = TypeVar("Q")
A = TypeVar("A")


class Together(Generic[Q, A]):
    """Collects questions into rounds.

    The function that answers a round gives an answer or an exception for each question, in their order. If it raises
    and the round had several questions, each is asked again by itself: nobody fails for somebody else's question.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]]) -> None:
        self._answer = answer
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._goes_on = False

    async def ask(self, question: Q) -> A:
        """Ask, and wait for the answer.

        Raises:
            Whatever the question's answer is, if that is an exception.

        """
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if not self._goes_on:
            self._goes_on = True
            self._start(self._go_on())
        return await future

    def _start(self, work: "Coroutine[Any, Any, None]") -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _go_on(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                # Whoever has gone away is not asked for.
                asked = [(question, future) for question, future in asked if not future.done()]
                if asked:
                    await asyncio.wait({self._start(self._round(asked))}, timeout=_PATIENCE_SECONDS)
        finally:
            # In one go with the last look at who waits: nobody can come in between, and wait for ever.
            self._goes_on = False

    async def _round(self, asked: Sequence[tuple[Q, "asyncio.Future[A]"]]) -> None:
        try:
            answers = await self._answer([question for question, _ in asked])
        except Exception as error:  # noqa: BLE001 - it is for whoever asked
            if len(asked) == 1:
                _settle(asked[0][1], error)
            else:
                await asyncio.gather(*(self._round([one]) for one in asked))
            return
        for (_, future), answer in zip(asked, answers, strict=True):
            _settle(future, answer)


def _settle(future: "asyncio.Future[A]", answer: A | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
