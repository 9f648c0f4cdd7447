"""Watchword itself: a worker as `watchword serve` runs it, over gRPC; without its cache (cold) and with it (warm)."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from benchmarks.caller import OPTIONS, Caller, Listing, import_messages, new_relationships
from benchmarks.deployment import Postgres, Server, Watchword
from benchmarks.load import Ask, Loop, T
from benchmarks.processes import Meter, resident_mib
from benchmarks.results import Results, Settings, label
from benchmarks.specials import Specials, reader, seen_by_reader
from benchmarks.world import KINDS, Question, Relationship, World, batches

BATCH = 100
HOT = 1000
_ALONE_AND_TOGETHER = (1, 16)


@dataclass(frozen=True, slots=True)
class _Stand:
    """A running server, a caller, and where figures go."""

    server: Server
    caller: Caller
    meter: Meter
    settings: Settings
    results: Results
    prefix: str

    async def loop(
        self, name: str, ask: Ask[T], questions: Iterator[T], in_flight: Sequence[int] = _ALONE_AND_TOGETHER
    ) -> None:
        loop = Loop([ask], questions, self.meter)
        for number in in_flight:
            timing = await loop.run(in_flight=number, pace=self.settings.pace)
            self.results.add_loop(f"{self.prefix}.{name}.c{number}", timing, in_flight=number)

    async def batches(self, questions: Sequence[Question]) -> None:
        loop = Loop([self.caller.batch_check], batches(itertools.cycle(questions), BATCH), self.meter)
        for number in (1, 4):
            timing = await loop.run(in_flight=number, pace=self.settings.pace)
            self.results.add_loop(f"{self.prefix}.batch.c{number}", timing, in_flight=number, each=BATCH)

    async def verify(self, questions: Sequence[Question]) -> None:
        """A wrong answer ends the run before anything is timed."""
        for question in questions:
            await self.caller.check(question)
        for batch in batches(questions, BATCH):
            await self.caller.batch_check(batch)


async def measure(postgres: Postgres, settings: Settings, results: Results) -> None:
    """Measure worlds of all sizes, and the special cases beside the largest."""
    specials = Specials(members=settings.members, documents=settings.documents, visible=settings.visible)
    for size in settings.sizes:
        world = World(size)
        # In a thread, because making the administrator's key runs an event loop of its own.
        watchword = await asyncio.to_thread(Watchword, postgres, f"watchword_{size}")
        prefix = f"ours.{label(size)}"
        async with _stand(postgres, watchword, settings, results, f"{prefix}.cold", WATCHWORD_CACHE_MIB="0") as stand:
            await _load(stand, postgres, watchword, world, prefix)
            await _import(stand, specials.shelves())
            postgres.settle(watchword.database_url)
            await _cold(stand, world, specials, lists_of_people=size == settings.sizes[0])
            if size == settings.sizes[-1]:
                await _load_specials(stand, specials)
                postgres.settle(watchword.database_url)
                await _ask_specials(stand, specials)
        async with _stand(postgres, watchword, settings, results, f"{prefix}.warm") as stand:
            await _warm(stand, world)
            if size == settings.sizes[-1]:
                await _ask_specials(stand, specials)


@asynccontextmanager
async def _stand(
    postgres: Postgres, watchword: Watchword, settings: Settings, results: Results, prefix: str, **environment: str
) -> AsyncIterator[_Stand]:
    with watchword.serve(**environment) as server:
        async with grpc.aio.insecure_channel(server.address, options=OPTIONS) as channel:
            meter = Meter(servers={"server": server.pid}, postgres=postgres.pid)
            yield _Stand(server, Caller(channel, watchword.api_key), meter, settings, results, prefix)


async def _load(stand: _Stand, postgres: Postgres, watchword: Watchword, world: World, prefix: str) -> None:
    await stand.caller.write_model()
    took = await _import(stand, world.relationships())
    stand.results.add(f"{prefix}.import", world.size / took, "rows/s")
    for name, table in (("size", "relationships"), ("size.events", "events")):
        bytes_in_all = postgres.size(watchword.database_url, table)
        stand.results.add(f"{prefix}.{name}", bytes_in_all / world.size, "bytes/row")


async def _import(stand: _Stand, relationships: Iterator[Relationship]) -> float:
    messages = import_messages(relationships)
    began = time.perf_counter()
    await stand.caller.import_all(messages)
    return time.perf_counter() - began


async def _cold(stand: _Stand, world: World, specials: Specials, *, lists_of_people: bool) -> None:
    number = stand.settings.questions
    kinds = {kind: world.questions(kind, number) for kind in KINDS}
    for questions in kinds.values():
        await stand.verify(questions[: stand.settings.verified])
    mixed = world.mixed(number)
    for kind, questions in {**kinds, "mixed": mixed}.items():
        await stand.loop(f"check.{kind}", stand.caller.check, itertools.cycle(questions))
    await stand.batches(mixed)
    for count in specials.visible:
        listing = Listing(reader(count), frozenset(seen_by_reader(count)))
        await stand.loop(f"list.{count}", stand.caller.list_documents, itertools.repeat(listing), (1,))
    if lists_of_people:
        people = [Listing(f"user:u{user}", frozenset(world.visible(user))) for user in range(stand.settings.people)]
        mean = sum(len(person.objects) for person in people) / len(people)
        stand.results.note(f"An ordinary person of the {label(world.size)} world sees {mean:,.0f} documents.")
        await stand.loop("list.ordinary", stand.caller.list_documents, itertools.cycle(people), (1,))
    for in_flight in _ALONE_AND_TOGETHER:
        relationships = new_relationships(str(in_flight), world.counts.users)
        await stand.loop("write", stand.caller.write, relationships, (in_flight,))


async def _load_specials(stand: _Stand, specials: Specials) -> None:
    took = await _import(stand, specials.group())
    stand.results.add(f"{stand.prefix}.import.group", specials.members / took, "rows/s")
    await _import(stand, itertools.chain(specials.folder(), specials.chain()))


async def _ask_specials(stand: _Stand, specials: Specials) -> None:
    for case, questions in specials.questions().items():
        try:
            await stand.verify(questions[: stand.settings.verified])
        except grpc.aio.AioRpcError as error:
            # Not answered is not answered wrongly: it is told, and the other cases are still worth something.
            stand.results.note(f"{stand.prefix}, {case}: {error.code().name}, {error.details()}")
            continue
        await stand.loop(f"check.{case}", stand.caller.check, itertools.cycle(questions), (1,))


async def _warm(stand: _Stand, world: World) -> None:
    stand.results.add(f"{stand.prefix}.memory.rest", resident_mib(stand.server.pid), "MiB")
    hot = world.mixed(HOT)
    await stand.verify(hot)
    await stand.loop("check.hot", stand.caller.check, itertools.cycle(hot))
    await stand.batches(hot)
    stand.results.add(f"{stand.prefix}.memory.hot", resident_mib(stand.server.pid), "MiB")
    wide = world.mixed(stand.settings.wide)
    for batch in batches(wide, BATCH):
        await stand.caller.batch_check(batch)
    await stand.loop("check.wide", stand.caller.check, itertools.cycle(wide), (16,))
    stand.results.add(f"{stand.prefix}.memory.wide", resident_mib(stand.server.pid), "MiB")
