"""A process that follows the feed with one or more SDK clients, and notes when each stops to say yes.

It says yes by itself, without asking anybody, until the feed has told it otherwise. That moment is noted, on the
clock that all processes of a machine share. What is asked of it comes as lines of JSON, and so do its answers.
"""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

# Before gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import uvloop

from watchword.client import AsyncClient
from watchword.client._feeds import Line
from watchword.v1.watch_pb2 import WatchResponse

_PATIENCE_SECONDS: Final = 120.0
"""A hundred processes begin at the same time, on the machine of the server."""


@dataclass(slots=True)
class _Follower:
    """A client, and what it still says yes to."""

    client: AsyncClient
    given: list[dict[str, Any]] = field(default_factory=list)
    next: int = 0
    ended: list[int] = field(default_factory=list)

    @property
    def line(self) -> Line:
        return self.client._guard._lives.get().feed.line  # noqa: SLF001 - the moment shows nowhere else

    async def learn(self, given: list[dict[str, Any]]) -> None:
        """Ask once for each answer, so that it is kept."""
        self.given, self.next, self.ended = given, 0, []
        await self.client.ready(_PATIENCE_SECONDS)
        await asyncio.gather(*(self._ask(item) for item in given))

    async def _ask(self, item: dict[str, Any]) -> None:
        if "token" in item:
            await self.client.authenticate(item["token"])
        elif not (await self.client.check(*item["check"])).allowed:
            raise RuntimeError(f"{item} is not allowed from the beginning")

    def note(self) -> None:
        """Note the moment if the next answer is not kept any more."""
        now = time.monotonic()
        while self.next < len(self.given) and not self._says_yes(self.given[self.next], now):
            self.ended.append(time.monotonic_ns())
            self.next += 1

    def _says_yes(self, item: dict[str, Any], now: float) -> bool:
        knowledge = self.client._guard._lives.get().knowledge  # noqa: SLF001
        if "token" in item:
            return knowledge.tokens.get(item["token"], now) is not None
        return knowledge.decisions.get(tuple(item["check"]), now) is not None


async def follow(address: str, number: int) -> None:
    """Follow until the input ends."""
    api_key = os.environ["WATCHWORD_API_KEY"]
    followers = [_Follower(AsyncClient(address, api_key=api_key, timeout=_PATIENCE_SECONDS)) for _ in range(number)]
    by_line: dict[int, _Follower] = {}
    receive = Line.receive

    def told(self: Line, response: WatchResponse) -> None:
        receive(self, response)
        if response.HasField("changes") and (follower := by_line.get(id(self))) is not None:
            follower.note()

    Line.receive = told  # type: ignore[method-assign]  # the only place at which the moment can be seen
    by_line |= {id(follower.line): follower for follower in followers}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        if "learn" in command:
            # Not all at once: their first questions are no part of what is measured.
            for follower in followers:
                await follower.learn(command["learn"])
            answer: Any = "learned"
        else:
            answer = [follower.ended for follower in followers]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for follower in followers:
        await follower.client.close()


if __name__ == "__main__":
    uvloop.run(follow(sys.argv[1], int(sys.argv[2])))
