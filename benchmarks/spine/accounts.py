"""Lists and look-ups among few users and among many, each in turn; and how fast users are imported."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from benchmarks.deployment import Watchword
from benchmarks.load import Loop, in_turn
from benchmarks.results import label
from benchmarks.spine.caller import PASSWORD, import_messages
from benchmarks.spine.stand import Stand, hasher, stand

# A user each second, up to now. Ids hold the time of creation, as those of the server (RFC 9562, version 7).
_MAKE = b"""
    INSERT INTO users
        (user_id, email, email_key, username, username_key, display_name, external_id, status, create_time, update_time)
    SELECT (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')
            || '7' || substr(digits, 1, 3) || '8' || substr(digits, 4, 15))::uuid,
        name || '@example.org', name || '@example.org', name, name, 'Person ' || n, name, 'active', at, at
    FROM (SELECT n, 'u' || n || 'x' AS name, md5(n::text) AS digits, now() - make_interval(secs => %(number)s - n) AS at
          FROM generate_series(0, %(number)s - 1) AS n) AS made
"""
_STEP = 7919
"""Prime, so that the users who are asked for lie far apart and come round late."""


async def measure(few: Stand) -> None:
    """Measure beside the given server another one, with many users."""
    small, large = few.settings.accounts
    watchword = await asyncio.to_thread(Watchword, few.postgres, "spine_many")
    async with stand(few.postgres, watchword, few.settings, few.results) as many:
        stands = {small: few, large: many}
        for number, running in stands.items():
            await asyncio.to_thread(_make, running.watchword.database_url, number)
            running.postgres.settle(running.watchword.database_url)
        for name, loop in _loops().items():
            loops = {label(number): loop(running, number) for number, running in stands.items()}
            for size, timing in (await in_turn(loops, in_flight=1, pace=few.pace)).items():
                few.results.add_loop(f"spine.{name}.{size}.c1", timing, in_flight=1)
        await _import(few)


def _loops() -> dict[str, Callable[[Stand, int], Loop[Any]]]:
    return {
        "list": lambda stand, _: Loop([stand.caller.pages().next], itertools.count(), stand.meter),
        "get": lambda stand, number: Loop([stand.caller.get_user], _addresses(number), stand.meter),
        "find": lambda stand, number: Loop([stand.caller.find_user], _addresses(number), stand.meter),
    }


def _make(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_MAKE, {"number": number})


def _addresses(number: int) -> Iterator[str]:
    return (f"u{each * _STEP % number}x@example.org" for each in itertools.count())


async def _import(stand: Stand) -> None:
    number = stand.settings.imported
    messages = import_messages("imported", number, hasher().hash(PASSWORD))
    began = time.perf_counter()
    created = await stand.caller.import_users(messages)
    took = time.perf_counter() - began
    if created != number:
        raise RuntimeError(f"{created} of {number} users were imported")
    stand.results.add("spine.import", number / took, "rows/s")
