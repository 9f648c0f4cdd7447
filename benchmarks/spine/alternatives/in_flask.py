"""Flask: Watchword; and opaque tokens looked up with psycopg and its pool."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, abort, request
from psycopg_pool import ConnectionPool

from benchmarks.results import Results
from benchmarks.spine.alternatives import turns
from benchmarks.spine.alternatives.access import LOOK_UP, Access, bearer, hash_of
from benchmarks.spine.alternatives.wsgi import get
from watchword.client import Client
from watchword.client.flask import Watchword, requires

_REFUSED = 401


def measure(access: Access, database_url: str, *, times: int, results: Results) -> None:
    """Measure the three."""
    with (
        Client(access.address, api_key=access.api_key) as client,
        ConnectionPool(database_url, kwargs={"autocommit": True}) as pool,
    ):
        client.ready()
        guarded = _application(requires("viewer", "document:{document_id}"))
        Watchword(guarded, client=client)
        requests = {
            turns.BARE: get(_application(lambda view: view), access.path),
            turns.WATCHWORD: get(guarded, access.path, access.token),
            "looked_up": get(_application(_looked_up(pool)), access.path, access.opaque),
        }
        turns.measure("flask", requests, times, results)


def _application(guard: Callable[[Any], Any]) -> Flask:
    app = Flask(__name__)

    @app.get("/documents/<document_id>")
    @guard
    def document(document_id: str) -> str:
        return document_id

    return app


def _looked_up(pool: ConnectionPool) -> Callable[[Any], Any]:
    def guard(view: Any) -> Any:
        @wraps(view)
        def guarded(**arguments: Any) -> Any:
            token = bearer(request.headers.get("Authorization"))
            with pool.connection() as connection:
                if connection.execute(LOOK_UP, [hash_of(token)]).fetchone() is None:
                    abort(_REFUSED)
            return view(**arguments)

        return guarded

    return guard
