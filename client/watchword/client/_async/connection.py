"""Calls RPCs over a channel that is opened when it is first needed, and anew after a fork."""

import dataclasses
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message
from watchword.client._status import to_error
from watchword.client._transport import CHANNEL_OPTIONS, PerProcess, Settings, new_id, path_of
from watchword.client.errors import ClientClosedError

R = TypeVar("R", bound=Message)


class AsyncOpenChannel:
    """A channel, with the methods that were called on it."""

    def __init__(self, settings: Settings) -> None:
        credentials = settings.channel_credentials()
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(settings.address, options=CHANNEL_OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(settings.address, credentials, options=CHANNEL_OPTIONS)
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}

    def method(self, request: Message, response_type: type[R]) -> grpc.aio.UnaryUnaryMultiCallable[Message, R]:
        """The method that takes this request."""
        path = path_of(request)
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = self.channel.unary_unary(
                path,
                request_serializer=type(request).SerializeToString,
                response_deserializer=response_type.FromString,
            )
        return method


class AsyncConnection:
    """Calls RPCs with one set of settings. Connections with other settings may share its channel."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened = PerProcess(lambda: AsyncOpenChannel(settings))
        self._closed = [False]  # shared, like the channel, with what `using` returns

    def using(self, **changes: Any) -> "AsyncConnection":
        """The same connection under changed settings."""
        other = AsyncConnection(dataclasses.replace(self._settings, **changes))
        other._opened = self._opened
        other._closed = self._closed
        return other

    async def call(self, request: Message, response_type: type[R]) -> R:
        """Call the RPC that takes this request.

        Raises:
            WatchwordError: It failed.

        """
        if self._closed[0]:
            raise ClientClosedError("The client has been closed.")
        call_id = new_id()
        method = self._opened.get().method(request, response_type)
        try:
            return await method(request, timeout=self._settings.timeout, metadata=self._settings.metadata(call_id))
        except grpc.RpcError as error:
            raise to_error(error, call_id=call_id) from error

    async def close(self) -> None:
        """Close the channel. Calls that are under way fail."""
        self._closed[0] = True
        opened = self._opened.existing()
        if opened is not None:
            await opened.channel.close()
