"""Requests of an ASGI application in this process, as a web server hands them over, without server and network."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.load import WrongAnswer

_OK = 200


def get(app: Any, path: str, token: str = "") -> Callable[[], Awaitable[None]]:
    """Make what sends a GET request, with a bearer token if one is given."""
    headers = [(b"host", b"localhost"), *([(b"authorization", f"Bearer {token}".encode())] if token else [])]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != _OK:
            raise WrongAnswer(f"{path}: {message['status']}")

    async def request() -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, receive, send)

    return request
