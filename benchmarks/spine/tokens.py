"""IntrospectToken and RefreshSession, each in turn with the least that is one SELECT or one INSERT behind gRPC."""

import itertools
from typing import Any

import grpc

from benchmarks import limits
from benchmarks.deployment import server
from benchmarks.load import Loop, in_turn
from benchmarks.processes import Meter
from benchmarks.spine.stand import TOGETHER, Stand


async def measure(stand: Stand) -> None:
    """Measure both, alone and with others in flight."""
    url = limits.prepare(stand.postgres, "spine_limits")
    stand.postgres.settle(url)
    with server(["-m", "benchmarks.bare_server", url], log=stand.postgres.folder / "spine_bare.log") as bare:
        async with grpc.aio.insecure_channel(bare.address) as channel:
            least = limits.loops(channel, Meter(servers={"server": bare.pid}, postgres=stand.postgres.pid))
            access = itertools.cycle(stand.caller.signed_in.access)
            introspect = Loop([stand.caller.introspect], access, stand.meter)
            refresh = Loop([stand.caller.refresh], itertools.count(), stand.meter)
            pairs: dict[str, dict[str, Loop[Any]]] = {
                "introspect": {"spine.introspect": introspect, "limit.select": least["Select"]},
                "refresh": {"spine.refresh": refresh, "limit.insert": least["Insert"]},
            }
            for loops in pairs.values():
                for in_flight in (1, TOGETHER):
                    timings = await in_turn(loops, in_flight=in_flight, pace=stand.pace)
                    for name, timing in timings.items():
                        stand.results.add_loop(f"{name}.c{in_flight}", timing, in_flight=in_flight)
