"""All of it, on one server and one world."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from benchmarks import limits
from benchmarks.caller import OPTIONS, Caller, import_messages
from benchmarks.deployment import Postgres, Server, Watchword, server
from benchmarks.feed import answers, beside, requests, streams, take_back
from benchmarks.processes import Meter
from benchmarks.results import Results, Settings, label
from benchmarks.world import Question, World
from watchword.client import AsyncClient, Client, Relationship

_PASSWORD = "correct horse battery"
TEMPERATURES = ("cold", "warm", "hot")
_FEW = 4
"""Processes that hold many streams."""
_HOT = 1000


@dataclass(frozen=True, slots=True)
class _Stand:
    server: Server
    api_key: str
    clients: answers.Clients


async def measure(postgres: Postgres, settings: Settings, results: Results) -> None:
    """Measure what is kept, what is missed, what is taken back, and what streams cost."""
    world = World(settings.sizes[0])
    results.note(f"The world has {label(world.size)} relationships.")
    watchword = await asyncio.to_thread(Watchword, postgres, "watchword_feed")
    async with _stand(watchword) as stand:
        await _load(stand, world)
        postgres.settle(watchword.database_url)
        tokens, question = await _tokens(stand.clients.asyncio, settings.tokens)
        await answers.measure_kept(stand.clients, tokens[0], question, times=settings.kept_calls, results=results)
        await answers.measure_first_sight(stand.clients, tokens[1:], results)
        await requests.measure(
            stand.clients.asyncio,
            tokens[0],
            question,
            database_url=postgres.create("looked_up"),
            times=settings.kept_calls // 20,
            results=results,
        )
        await _misses(stand, world.mixed(settings.misses), results)
        meter = Meter(servers={"server": stand.server.pid}, postgres=postgres.pid)
        await beside.measure(
            stand.server,
            stand.api_key,
            stand.clients.asyncio,
            meter,
            questions=world.mixed(_HOT),
            pace=settings.pace,
            results=results,
        )
        await _take_back(stand, settings, results)
    await _bare(postgres, settings, results)
    async with _stand(watchword) as stand:
        # Of a server that has done nothing else: what it holds for streams shall not come out of what it had spare.
        seconds = settings.pace.seconds * 5
        await streams.measure(stand.server, stand.api_key, number=settings.streams, seconds=seconds, results=results)


async def _misses(stand: _Stand, questions: list[Question], results: Results) -> None:
    """Ask what the server has never heard; and the same again by others: it then has what it takes, and the answers."""
    for name in TEMPERATURES:
        async with AsyncClient(stand.server.address, api_key=stand.api_key) as client:
            await answers.measure_misses(client, questions, name=name, results=results)


async def _take_back(stand: _Stand, settings: Settings, results: Results) -> None:
    client = stand.clients.asyncio
    for name, processes, each in _groups(settings):
        results.say(f"starting {processes} processes with {each} streams each")
        changes = await take_back.prepare(client, number=settings.take_backs, series=name)
        with take_back.followers(stand.server.address, stand.api_key, processes=processes, streams=each) as group:
            await take_back.measure(client, group, changes, name=f"feed.take_back.{name}", results=results)
    results.note(f"{settings.processes} processes with a stream each; {_FEW} with {settings.streams // _FEW} each.")


def _groups(settings: Settings) -> tuple[tuple[str, int, int], ...]:
    """Name the groups of processes that follow, with the streams of each process."""
    return ("processes", settings.processes, 1), ("streams", _FEW, settings.streams // _FEW)


async def _bare(postgres: Postgres, settings: Settings, results: Results) -> None:
    url = await asyncio.to_thread(limits.prepare, postgres, "limits_feed")
    with server(["-m", "benchmarks.bare_server", url], log=postgres.folder / "bare-feed.log") as running:
        async with grpc.aio.insecure_channel(running.address) as channel:
            for name, processes, each in _groups(settings):
                with take_back.followers(
                    running.address, "", processes=processes, streams=each, module="bare_follower"
                ) as group:
                    await take_back.measure_bare(
                        channel, group, number=settings.take_backs, name=f"limit.tell.{name}", results=results
                    )


async def _load(stand: _Stand, world: World) -> None:
    async with grpc.aio.insecure_channel(stand.server.address, options=OPTIONS) as channel:
        caller = Caller(channel, stand.api_key)
        await caller.write_model()
        await caller.import_all(import_messages(world.relationships()))


async def _tokens(client: AsyncClient, number: int) -> tuple[list[str], Question]:
    """Get access tokens of a user, and give a question of theirs that is allowed."""
    user = await client.users.create(username="ana", password=_PASSWORD)
    tokens = await client.sign_in("ana", password=_PASSWORD)
    found = [tokens.access_token]
    for _ in range(number):
        tokens = await client.sessions.refresh(tokens.refresh_token)
        found.append(tokens.access_token)
    subject = f"user:{user.user_id}"
    await client.relationships.write([Relationship(object="document:mine", relation="viewer", subject=subject)])
    return found, Question(subject, "viewer", "document:mine", expected=True)


@asynccontextmanager
async def _stand(watchword: Watchword) -> AsyncIterator[_Stand]:
    with watchword.serve() as server, Client(server.address, api_key=watchword.api_key) as blocking:
        async with AsyncClient(server.address, api_key=watchword.api_key) as client:
            yield _Stand(server, watchword.api_key, answers.Clients(client, blocking))
