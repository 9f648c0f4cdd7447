"""The interceptors of channels for asyncio. `grpc.aio` wants one for each kind of call."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio

from watchword.client._async.client import AsyncClient
from watchword.client.grpc._caller import revision_of, with_revision, with_token
from watchword.client.grpc._client import Token

Continuation = Callable[[Any, Any], Awaitable[Any]]


def async_client_interceptors(
    client: AsyncClient, *, token: Token | None = None
) -> tuple[grpc.aio.ClientInterceptor, ...]:
    """The same as `ClientInterceptor`, for a channel of `grpc.aio`: all that its `interceptors` must hold."""
    exchange = _Exchange(client, token)
    return (_UnaryUnary(exchange), _UnaryStream(exchange), _StreamUnary(exchange), _StreamStream(exchange))


class _Exchange:
    """What goes along, and what comes back."""

    def __init__(self, client: AsyncClient, token: Token | None) -> None:
        self._client = client
        self._token = token
        self._notes: set[asyncio.Task[None]] = set()

    def details(self, details: Any) -> grpc.aio.ClientCallDetails:
        """What is sent."""
        metadata = with_token(details.metadata, self._token() if self._token is not None else None)
        revision = self._client.revision
        pairs = with_revision(metadata, revision) if revision else metadata
        return grpc.aio.ClientCallDetails(
            details.method,
            details.timeout,
            grpc.aio.Metadata(*pairs),
            details.credentials,
            details.wait_for_ready,
        )

    async def note(self, call: Any) -> None:
        """Note what came back with a call that has ended."""
        self._client.observe(revision_of(await call.trailing_metadata()))

    def note_later(self, call: Any) -> None:
        """Note what comes back with a call that is under way, before its caller can go on."""

        def ended(_call: Any) -> None:
            task = asyncio.ensure_future(self.note(call))
            self._notes.add(task)  # the event loop alone would not keep it alive
            task.add_done_callback(self._notes.discard)

        call.add_done_callback(ended)

    async def responses(self, call: Any) -> AsyncIterator[Any]:
        """What a call is answered by; its end is noted before its caller goes on."""
        try:
            async for response in call:
                yield response
        except grpc.RpcError:
            await self.note(call)
            raise
        await self.note(call)


class _Interceptor:
    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange


class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        call = await continuation(self._exchange.details(client_call_details), request)
        with suppress(grpc.RpcError):  # the caller meets it in the call
            await call
        await self._exchange.note(call)
        return call


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return self._exchange.responses(await continuation(self._exchange.details(client_call_details), request))


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        call = await continuation(self._exchange.details(client_call_details), request_iterator)
        self._exchange.note_later(call)  # the caller may yet have to write its messages
        return call


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return self._exchange.responses(
            await continuation(self._exchange.details(client_call_details), request_iterator)
        )
