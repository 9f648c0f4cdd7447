"""A running server with a caller, and where figures go."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import argon2
import grpc

from benchmarks.deployment import Postgres, Server, Watchword
from benchmarks.load import Pace
from benchmarks.processes import Meter
from benchmarks.results import Results, Settings
from benchmarks.spine.caller import PASSWORD, Caller, import_messages
from watchword.server.config import Argon2Parameters

TOGETHER: Final = 16
NAME: Final = "person"


def hasher() -> argon2.PasswordHasher:
    """Give what hashes as the server does."""
    cost = Argon2Parameters()
    return argon2.PasswordHasher(cost.time, cost.memory_kib, cost.parallelism)


@dataclass(frozen=True, slots=True)
class Stand:
    """All that a measurement needs."""

    postgres: Postgres
    watchword: Watchword
    server: Server
    caller: Caller
    meter: Meter
    settings: Settings
    results: Results

    @property
    def pace(self) -> Pace:
        """How long is measured."""
        return self.settings.pace

    def names(self) -> Iterator[str]:
        """Name those who can sign in, without end."""
        return itertools.cycle(f"{NAME}{number}" for number in range(self.settings.sessions))

    async def prepare(self) -> None:
        """Make people, with the server's own hashes, and sign them in."""
        number = self.settings.sessions
        made = await self.caller.import_users(import_messages(NAME, number, hasher().hash(PASSWORD)))
        if made != number:
            raise RuntimeError(f"{made} of {number} people were made")
        names = self.names()
        for _ in range(0, number, TOGETHER):
            await asyncio.gather(*(self.caller.sign_in(next(names)) for _ in range(TOGETHER)))
        self.postgres.settle(self.watchword.database_url)


@asynccontextmanager
async def stand(postgres: Postgres, watchword: Watchword, settings: Settings, results: Results) -> AsyncIterator[Stand]:
    """Run a server, as it comes but for what would end within a measurement: tokens, and patience with a load test."""
    changed = {"WATCHWORD_ACCESS_TOKEN_SECONDS": "3600", "WATCHWORD_SIGN_IN_FAILURES_IN_ALL": "1000000"}
    with watchword.serve(**changed) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            meter = Meter(servers={"server": server.pid}, postgres=postgres.pid)
            caller = Caller(channel, watchword.api_key)
            yield Stand(postgres, watchword, server, caller, meter, settings, results)
