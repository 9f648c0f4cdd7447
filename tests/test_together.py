"""What is asked at the same time is answered together, and nobody waits for ever, or fails for somebody else."""

import asyncio
from random import Random

import pytest

from watchword.server.together import Together


class Asked:
    """Answers each number by its double, in rounds that it remembers and that end when they are told to."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.together = Together(self.answer)

    async def answer(self, questions):
        self.rounds.append(list(questions))
        self.began.set()
        await self.may_end.wait()
        if 13 in questions:
            raise ValueError("unlucky")
        return [KeyError(question) if question < 0 else 2 * question for question in questions]


async def test_who_asks_alone_is_answered_alone():
    asked = Asked()
    assert [await asked.together.ask(number) for number in range(3)] == [0, 2, 4]
    assert asked.rounds == [[0], [1], [2]]


async def test_what_comes_while_a_round_is_under_way_goes_together():
    asked = Asked()
    first = asyncio.create_task(asked.together.ask(1))
    asked.may_end.clear()
    await asked.began.wait()
    others = [asyncio.create_task(asked.together.ask(number)) for number in range(20, 58)]
    await asyncio.sleep(0)
    asked.may_end.set()
    assert await asyncio.gather(first, *others) == [2, *(2 * number for number in range(20, 58))]
    assert [len(round_) for round_ in asked.rounds] == [1, 32, 6]


async def test_nobody_fails_for_anybody_else():
    asked = Asked()
    answers = await asyncio.gather(*(asked.together.ask(number) for number in (1, 13, -1, 2)), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], ValueError)
    assert isinstance(answers[2], KeyError)
    assert answers[3] == 4


async def test_a_round_that_does_not_end_holds_up_nobody_for_long():
    asked = Asked()
    asked.may_end.clear()
    slow = asyncio.create_task(asked.together.ask(1))
    await asked.began.wait()
    quick = asyncio.create_task(asked.together.ask(2))
    asked.began.clear()
    async with asyncio.timeout(10):
        await asked.began.wait()
    asked.may_end.set()
    assert await asyncio.gather(slow, quick) == [2, 4]


async def test_who_goes_away_is_not_asked_for():
    asked = Asked()
    gone = asyncio.create_task(asked.together.ask(1))
    stays = asyncio.create_task(asked.together.ask(2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_nobody_waits_for_ever():
    """Whenever somebody asks, also just when the last round ends."""
    asked, random = Asked(), Random(1)

    async def caller() -> None:
        for number in range(200):
            assert await asked.together.ask(number + 100) == 2 * (number + 100)
            for _ in range(random.randrange(4)):
                await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(*(caller() for _ in range(10)))
