"""The interceptor of channels for threads: what goes along with a call to another service, and what comes back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from watchword.client._sync.client import Client
from watchword.client.grpc._caller import revision_of, with_revision, with_token

Token = Callable[[], str | None]
Continuation = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True)
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Lets a called service see what was written here, and this one what it wrote. See `watchword.client.grpc`."""

    def __init__(self, client: Client, *, token: Token | None = None) -> None:
        """Describe what goes along.

        Args:
            client: The client whose revision goes along, and which notes the one that comes back.
            token: Tells the access token that goes along: `current_token` passes on that of the call being served.
                Default: none does. Threat: whoever gets a token can use it for all that it is good for, so it belongs
                on a channel to a service of the same deployment, over TLS, and on no other.

        """
        self._client = client
        self._token = token

    def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        """Call."""
        return self._one(continuation(self._details(client_call_details), request))

    def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Call."""
        return self._one(continuation(self._details(client_call_details), request_iterator))

    def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        """Call."""
        return _Stream(continuation(self._details(client_call_details), request), self._note)

    def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Call."""
        return _Stream(continuation(self._details(client_call_details), request_iterator), self._note)

    def _details(self, details: Any) -> _Details:
        metadata = with_token(details.metadata, self._token() if self._token is not None else None)
        revision = self._client.revision
        return _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=with_revision(metadata, revision) if revision else metadata,
            credentials=details.credentials,
            wait_for_ready=getattr(details, "wait_for_ready", None),
            compression=getattr(details, "compression", None),
        )

    def _one(self, call: Any) -> Any:
        # One that was waited for is done, and noted before its caller goes on. A future is noted when it is done.
        call.add_done_callback(self._note)
        return call

    def _note(self, call: Any) -> None:
        self._client.observe(revision_of(call.trailing_metadata()))


class _Stream:
    """A call that is answered by a stream; its end is noted before its caller goes on."""

    def __init__(self, call: Any, note: Callable[[Any], None]) -> None:
        self._call = call
        self._note = note

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._call)
        except (StopIteration, grpc.RpcError):
            self._note(self._call)
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)
