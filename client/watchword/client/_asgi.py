"""What a request and its response carry for Watchword, as ASGI middleware.

It is plain ASGI, so that the application runs in the context in which the request's revision counts, and so that
whatever response goes out is given what belongs to it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from watchword.client._async.client import AsyncClient
from watchword.client._browser import Exchange
from watchword.client.revisions import REVISION_HEADER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

EXCHANGE: Final = "watchword.exchange"
"""Where the scope of a request holds its `Exchange`."""

_REVISION: Final = REVISION_HEADER.lower().encode()
_LATIN: Final = "latin-1"
_PLAIN: Final = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"21")]


class Middleware:
    """Lets the request's revision count, and gives the response the revision of what it wrote, and its cookies."""

    def __init__(self, app: App, *, client: AsyncClient, integration: Any) -> None:
        self._app = app
        self._client = client
        self._integration = integration

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = self._client
        exchange = scope[EXCHANGE] = Exchange(self._integration)
        started = False
        with client.at_least(_received(scope)):
            known = client.revision

            async def send_all(message: Message) -> None:
                nonlocal started
                if message["type"] == "http.response.start":
                    started = True
                    revision = client.revision
                    message["headers"] = _completed(
                        message.get("headers", ()), exchange, revision if revision != known else ""
                    )
                await send(message)

            try:
                await self._app(scope, receive, send_all)
            except Exception:
                # The framework's answer to an error goes past this middleware, and would take the new refresh token of
                # the browser with it: its next refresh would be a reuse, which ends the session.
                if not started and exchange.browser is not None and exchange.browser.to_set:
                    await send_all({"type": "http.response.start", "status": 500, "headers": _PLAIN})
                    await send_all({"type": "http.response.body", "body": b"Internal Server Error"})
                raise


def _completed(headers: Any, exchange: Exchange, revision: str) -> list[tuple[bytes, bytes]]:
    texts = [(name.decode(_LATIN), value.decode(_LATIN)) for name, value in headers]
    return [
        (name.lower().encode(_LATIN), value.encode(_LATIN))
        for name, value in exchange.complete(texts, revision=revision)
    ]


def _received(scope: Message) -> str:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == _REVISION:
            return value.decode(_LATIN)
    return ""
