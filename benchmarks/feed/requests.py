"""What the guard adds to a request of a FastAPI application, and what a look-up of the token in a database does.

The application is called in this process, by ASGI: what a web server and a network cost is no part of either.
"""

import secrets
from hashlib import sha256
from typing import Annotated

import psycopg
from fastapi import Depends, FastAPI, HTTPException, Request
from psycopg_pool import AsyncConnectionPool

from benchmarks.asgi import get
from benchmarks.feed.clock import add, timed_async
from benchmarks.results import MICROSECONDS, Results
from benchmarks.world import Question
from watchword.client import AsyncClient
from watchword.client.fastapi import Requires, Watchword


async def measure(
    client: AsyncClient, token: str, question: Question, *, database_url: str, times: int, results: Results
) -> None:
    """Measure a bare request, a guarded one, and one whose token is looked up."""
    opaque = secrets.token_urlsafe()
    _prepare(database_url, opaque)
    document = question.object.partition(":")[2]
    async with AsyncConnectionPool(database_url, open=False, kwargs={"autocommit": True}) as pool:
        app = _application(client, pool)
        await client.ready()
        taken = {}
        for name, path, shown in (
            ("bare", "/bare", ""),
            ("guarded", f"/documents/{document}", token),
            ("looked_up", "/looked-up", opaque),
        ):
            request = get(app, path, shown)
            await timed_async(request, times // 10)
            taken[name] = await timed_async(request, times)
            add(results, f"feed.request.{name}", taken[name])
    figures = results.figures
    bare = figures["feed.request.bare"].value
    for name in ("guarded", "looked_up"):
        results.add(f"feed.request.{name}.adds", figures[f"feed.request.{name}"].value - bare, MICROSECONDS)


def _prepare(database_url: str, opaque: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE tokens (hash bytea PRIMARY KEY, user_id text NOT NULL)")
        connection.execute("INSERT INTO tokens SELECT sha256(int4send(n)), 'u' || n FROM generate_series(1, 10000) n")
        connection.execute("INSERT INTO tokens VALUES (%s, 'ana')", [sha256(opaque.encode()).digest()])


def _application(client: AsyncClient, pool: AsyncConnectionPool) -> FastAPI:
    app = FastAPI()
    watchword = Watchword(client)
    watchword.install(app)

    async def known(request: Request) -> str:
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        async with pool.connection() as connection:
            query = "SELECT user_id FROM tokens WHERE hash = %s"
            found = await (await connection.execute(query, [sha256(shown.encode()).digest()])).fetchone()
        if found is None:
            raise HTTPException(401)
        user_id: str = found[0]
        return user_id

    @app.get("/bare")
    async def bare() -> str:
        return "yes"

    @app.get("/documents/{document_id}", dependencies=[Requires("viewer", "document:{document_id}")])
    async def guarded(document_id: str) -> str:
        return document_id

    @app.get("/looked-up")
    async def looked_up(_user_id: Annotated[str, Depends(known)]) -> str:
        return "yes"

    return app
