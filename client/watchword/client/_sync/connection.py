# Made by client/make_sync.py from client/watchword/client/_async/connection.py: do not edit.
"""Calls RPCs over a channel that is opened when it is first needed, and anew after a fork."""

import dataclasses
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from watchword.client._status import to_error
from watchword.client._streams import Stream
from watchword.client._transport import CHANNEL_OPTIONS, PerProcess, Settings, new_id, path_of
from watchword.client.errors import ClientClosedError
from watchword.client.revisions import Revisions

R = TypeVar("R", bound=Message)


class OpenChannel:
    """A channel, with the methods that were called on it."""

    def __init__(self, settings: Settings) -> None:
        credentials = settings.channel_credentials()
        if credentials is None:
            self.channel = grpc.insecure_channel(settings.address, options=CHANNEL_OPTIONS)
        else:
            self.channel = grpc.secure_channel(settings.address, credentials, options=CHANNEL_OPTIONS)
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[Any, Any]] = {}

    def method(self, request: Message, response_type: type[R]) -> "grpc.UnaryUnaryMultiCallable[Message, R]":
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


class Channel:
    """A channel that opens when it is first used, once per process, until it is closed."""

    def __init__(self, settings: Settings) -> None:
        self._opened = PerProcess(lambda: OpenChannel(settings))
        self._closed = False

    def open(self) -> OpenChannel:
        """The channel of this process.

        Raises:
            ClientClosedError: It was closed.

        """
        if self._closed:
            raise ClientClosedError("The client has been closed.")
        return self._opened.get()

    def close(self) -> None:
        """Close it. Calls that are under way fail."""
        self._closed = True
        opened = self._opened.existing()
        if opened is not None:
            opened.channel.close()


class Connection:
    """Calls RPCs over a channel, under one set of settings."""

    def __init__(self, channel: Channel, settings: Settings, revisions: Revisions) -> None:
        self._channel = channel
        self._revisions = revisions
        self.settings = settings

    def using(self, **changes: Any) -> "Connection":
        """The same channel under changed settings."""
        return Connection(self._channel, dataclasses.replace(self.settings, **changes), self._revisions)

    def open_channel(self) -> grpc.Channel:
        """The channel itself.

        Raises:
            ClientClosedError: It was closed.

        """
        return self._channel.open().channel

    def note(self, response: Message) -> None:
        """Note the revision of a change, if that is what was answered: no later answer may be older."""
        revision = getattr(response, "revision", "")
        if revision:
            self._revisions.note(revision)

    def call(self, request: Message, response_type: type[R]) -> R:
        """Call the RPC that takes this request.

        Raises:
            WatchwordError: It failed.

        """
        call_id = new_id()
        method = self._channel.open().method(request, response_type)
        try:
            response = method(request, timeout=self.settings.timeout, metadata=self.settings.metadata(call_id))
        except grpc.RpcError as error:
            raise to_error(error, call_id=call_id) from error
        self.note(response)
        return response

    def stream(self, request: Message, response_type: type[R], *, is_only: bool) -> Stream[R]:
        """Begin a call of the RPC that takes this request and answers with a stream.

        The request is sent if it is the only one; else it is an example of those that will be.
        """
        return Stream(
            self.open_channel(),
            path_of(request),
            response_type,
            settings=self.settings,
            call_id=new_id(),
            request=request if is_only else None,
        )
