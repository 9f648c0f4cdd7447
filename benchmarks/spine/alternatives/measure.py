"""All applications whose frameworks are installed."""

import asyncio
from importlib.util import find_spec
from typing import Final

from benchmarks.results import Results
from benchmarks.spine.alternatives.access import Access, grant
from benchmarks.spine.stand import Stand

_NEEDS: Final = {"FastAPI": ("fastapi", "jwt", "sqlalchemy"), "Flask": ("flask",), "Django": ("django",)}


async def measure(stand: Stand) -> None:
    """Measure them; say which are skipped."""
    database_url = stand.postgres.create("spine_alternatives")
    access = await grant(stand, database_url)
    stand.postgres.settle(database_url)
    times, results = stand.settings.requests, stand.results
    if _is_there("FastAPI", results):
        from benchmarks.spine.alternatives import in_fastapi  # noqa: PLC0415 - it may be missing

        await in_fastapi.measure(access, database_url, times=times, results=results)
    # In a thread, where they find no event loop: Django would refuse to ask its database.
    await asyncio.to_thread(_in_threads, access, database_url, times=times, results=results)


def _in_threads(access: Access, database_url: str, *, times: int, results: Results) -> None:
    if _is_there("Flask", results):
        from benchmarks.spine.alternatives import in_flask  # noqa: PLC0415

        in_flask.measure(access, database_url, times=times, results=results)
    if _is_there("Django", results):
        from benchmarks.spine.alternatives import in_django  # noqa: PLC0415

        in_django.measure(access, database_url, times=times, results=results)


def _is_there(framework: str, results: Results) -> bool:
    missing = [name for name in _NEEDS[framework] if find_spec(name) is None]
    if missing:
        results.note(f'{framework} is skipped, {", ".join(missing)} is missing: `pip install "watchword[bench]"`.')
    return not missing
