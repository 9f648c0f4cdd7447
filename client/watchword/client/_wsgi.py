"""What a request and its response carry for Watchword, as WSGI middleware."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from watchword.client._browser import Exchange
from watchword.client._sync.client import Client
from watchword.client.revisions import REVISION_HEADER

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

EXCHANGE: Final = "watchword.exchange"
"""Where the environment of a request holds its `Exchange`."""

_RECEIVED: Final = f"HTTP_{REVISION_HEADER.upper().replace('-', '_')}"


class Middleware:
    """Lets the request's revision count, and gives the response the revision of what it wrote, and its cookies.

    Whatever response goes out is given what belongs to it: a session that was refreshed on the way to an error must not
    lose its new refresh token.
    """

    def __init__(self, app: "WSGIApplication", client: Client) -> None:
        self._app = app
        self._client = client

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Serve a request."""
        exchange = environ[EXCHANGE] = Exchange()
        with self._client.at_least(environ.get(_RECEIVED, "")):
            known = self._client.revision

            def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
                revision = self._client.revision
                return start_response(
                    status, exchange.complete(headers, revision=revision if revision != known else ""), *rest
                )

            return self._app(environ, start)
