"""The interceptor of servers that serve in asyncio."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from watchword.client._async.client import AsyncClient
from watchword.client.errors import WatchwordError
from watchword.client.grpc._caller import (
    Admission,
    behavior_of,
    revision_of,
    set_caller,
    token_of,
    told,
    undeclared,
    with_behavior,
    with_revision,
)
from watchword.client.grpc._methods import Methods, Needs, Rule
from watchword.client.models import Principal


class AsyncServerInterceptor(grpc.aio.ServerInterceptor):
    """The same for `grpc.aio`.

    What is not public must be served by coroutines or asynchronous generators. What a handler wrote before it calls
    `context.abort` is not told with the answer, which has gone out by then.
    """

    def __init__(self, client: AsyncClient, methods: Mapping[str, Rule], *, audience: str | None = None) -> None:
        """See `ServerInterceptor`."""
        self._client = client
        self._methods = Methods(methods)
        self._audience = audience

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Put the guard before a handler."""
        handler, path = await continuation(handler_call_details), handler_call_details.method
        if handler is None:
            return None
        if not self._methods.is_declared(path):
            return with_behavior(handler, _refusing(path))
        needs = self._methods.needs(path)
        return handler if needs is None else with_behavior(handler, self._guarded(handler, needs))

    def _guarded(self, handler: Any, needs: Needs) -> Callable[[Any, Any], Awaitable[Any]]:
        behavior = behavior_of(handler)
        is_generator = inspect.isasyncgenfunction(behavior)
        if not is_generator and not inspect.iscoroutinefunction(behavior):
            # gRPC would call it in a thread, which cannot wait for the answers of this event loop.
            raise TypeError(f"{behavior!r} must be a coroutine function or an asynchronous generator.")

        async def serve(request: Any, context: Any) -> Any:
            async with self._serving(needs, context) as call:
                if not handler.request_streaming:
                    await call.begin(request)
                else:
                    request = await call.begin_messages()
                # Also a handler that reads and writes by the context itself must not get round the guard.
                streams = handler.request_streaming or handler.response_streaming
                served = behavior(request, _Context(call) if streams else context)
                if is_generator:
                    async with aclosing(served):
                        async for response in served:
                            await call.write(response)
                    served = None
                else:
                    served = await served
                call.admission.raise_refused()
                return served

        return serve

    @asynccontextmanager
    async def _serving(self, needs: Needs, context: Any) -> "AsyncGenerator[_Call]":
        metadata = context.invocation_metadata() or ()
        with self._client.at_least(revision_of(metadata)):
            known = self._client.revision
            refused: WatchwordError | None = None
            try:
                yield _Call(self._client, token_of(metadata), self._audience, Admission(needs), context)
            except WatchwordError as error:
                refused = error
            finally:
                revision = self._client.revision
                if revision != known:
                    context.set_trailing_metadata(with_revision(context.trailing_metadata(), revision))
            if refused is not None:
                await context.abort(*told(refused))


def _refusing(path: str) -> Callable[[Any, Any], Awaitable[Any]]:
    async def refuse(_request: Any, context: Any) -> Any:
        await context.abort(*undeclared(path))

    return refuse


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that is being served."""

    client: AsyncClient
    token: str
    audience: str | None
    admission: Admission
    context: Any
    ahead: list[Any] = field(default_factory=list[Any])
    """Messages that were read before the handler was called."""

    async def begin(self, *messages: Any) -> None:
        """Find out who is calling, and whether they may."""
        principal = await self._authenticate()
        set_caller(principal, self.token)
        await self._decide(principal, *messages)

    async def begin_messages(self) -> AsyncIterator[Any]:
        """The same for a request that streams; its messages, as the handler may see them."""
        if not self.admission.needs.waits_for_message:
            await self.begin()
            return self._messages()
        set_caller(await self._authenticate(), self.token)
        self.ahead.append(await self.read())
        self.admission.require_object()
        return self._messages()

    async def read(self) -> Any:
        """The next message, decided on."""
        if self.ahead:
            return self.ahead.pop()
        message = await self.context.read()
        if message is not grpc.aio.EOF:
            await self._confirm(message)
        return message

    async def write(self, message: Any) -> None:
        """Send a message, unless the caller may no longer have it."""
        await self._confirm()
        await self.context.write(message)

    async def _messages(self) -> AsyncIterator[Any]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def _confirm(self, *messages: Any) -> None:
        """See that the caller still may: what was taken back meanwhile ends the call."""
        self.admission.raise_refused()
        with self.admission.remembering():
            await self._decide(await self._authenticate(), *messages)

    async def _authenticate(self) -> Principal:
        return await self.client.authenticate(self.token, audience=self.audience)

    async def _decide(self, principal: Principal, *messages: Any) -> None:
        relation = self.admission.take(*messages)
        if relation is not None:
            await self.client.require(principal.subject, relation, self.admission.object)


class _Context:
    """gRPC's context of a call, whose messages are decided on."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self.read, self.write = call.read, call.write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call.context, name)
