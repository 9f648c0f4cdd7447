"""Calls that have a stream: requests are sent one by one, and answers received one by one.

The two classes do the same, in asyncio and in threads, where gRPC has little in common. On the wire a single request
is a stream of one, so an RPC that takes a stream can be called with one request too.

The timeout of a client is for each message here: a whole export may take hours.
"""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Final, Generic, TypeVar, cast

import grpc
import grpc.aio
from google.protobuf.message import Message

from watchword.client._status import to_error
from watchword.client._transport import Settings
from watchword.client.errors import DeadlineExceededError, UnavailableError

T = TypeVar("T")
R = TypeVar("R", bound=Message)

Source = Iterable[T]
AsyncSource = Iterable[T] | AsyncIterable[T]

MAX_RESUMPTIONS: Final = 5
"""How often in a row a stream is taken up again without any progress."""

MAX_UNANSWERED: Final = 4
"""How many messages of an import may be under way."""


class AsyncStream(Generic[R]):
    """A stream in asyncio."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        path: str,
        response_type: type[R],
        *,
        settings: Settings,
        call_id: str,
        request: Message | None = None,
    ) -> None:
        """Begin a call, with its one request or, without it, to send requests."""
        self._seconds = settings.timeout
        self._call_id = call_id
        self._broken = False
        coding = _coding(response_type)
        metadata = settings.metadata(call_id)
        self._call: Any = (
            channel.stream_stream(path, **coding)(metadata=metadata)
            if request is None
            else channel.unary_stream(path, **coding)(request, metadata=metadata)
        )

    async def send(self, request: Message) -> None:
        """Send a request. If the call has ended, `receive` says why."""
        try:
            await self._in_time(self._call.write(request))
        except asyncio.InvalidStateError:
            pass  # the call has ended with a status that is known
        except grpc.RpcError:
            # The call ended meanwhile, and gRPC has forgotten why: it keeps the failure to write instead.
            self._broken = True

    async def receive(self) -> R | None:
        """Wait for the next answer; None if there is none.

        Raises:
            WatchwordError: The call failed, or the answer did not come in time.

        """
        if self._broken:
            raise UnavailableError("The stream broke off.", request_id=self._call_id)
        try:
            response = await self._in_time(self._call.read())
        except grpc.RpcError as error:
            raise to_error(error, call_id=self._call_id) from error
        return None if response is grpc.aio.EOF else response

    async def receive_one(self) -> R:
        """Wait for the next answer, of which there must be one.

        Raises:
            UnavailableError: The server ended the stream instead, or is unavailable.
            WatchwordError: The call failed, or the answer did not come in time.

        """
        response = await self.receive()
        if response is None:
            raise UnavailableError("The server ended the stream before it had answered.", request_id=self._call_id)
        return response

    async def close(self) -> None:
        """End the call, finished or not."""
        self._call.cancel()

    async def _in_time(self, work: Any) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                return await work
        except TimeoutError as error:
            raise _late(self._call_id) from error


class Stream(Generic[R]):
    """A stream in threads."""

    def __init__(
        self,
        channel: grpc.Channel,
        path: str,
        response_type: type[R],
        *,
        settings: Settings,
        call_id: str,
        request: Message | None = None,
    ) -> None:
        """Begin a call, with its one request or, without it, to send requests."""
        self._seconds = settings.timeout
        self._call_id = call_id
        self._late = False
        # gRPC takes requests from here in a thread of its own; None ends it.
        self._requests: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        coding = _coding(response_type)
        metadata = settings.metadata(call_id)
        self._call: Any = (
            channel.stream_stream(path, **coding)(iter(self._requests.get, None), metadata=metadata)
            if request is None
            else channel.unary_stream(path, **coding)(request, metadata=metadata)
        )

    def send(self, request: Message) -> None:
        """Send a request. If the call has ended, `receive` says why."""
        self._requests.put(request)

    def receive(self) -> R | None:
        """Wait for the next answer; None if there is none.

        Raises:
            WatchwordError: The call failed, or the answer did not come in time.

        """
        timer = threading.Timer(self._seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            return cast("R | None", next(self._call, None))
        except grpc.RpcError as error:
            if self._late:
                raise _late(self._call_id) from error
            raise to_error(error, call_id=self._call_id) from error
        finally:
            timer.cancel()

    def receive_one(self) -> R:
        """Wait for the next answer, of which there must be one.

        Raises:
            UnavailableError: The server ended the stream instead, or is unavailable.
            WatchwordError: The call failed, or the answer did not come in time.

        """
        response = self.receive()
        if response is None:
            raise UnavailableError("The server ended the stream before it had answered.", request_id=self._call_id)
        return response

    def close(self) -> None:
        """End the call, finished or not."""
        self._requests.put(None)
        self._call.cancel()

    def _expire(self) -> None:
        self._late = True
        self._call.cancel()


class AsyncEach(Generic[T]):
    """All items of a source of either kind."""

    def __init__(self, source: AsyncSource[T]) -> None:
        self._source = source

    async def __aiter__(self) -> AsyncIterator[T]:
        if isinstance(self._source, AsyncIterable):
            async for item in self._source:
                yield item
        else:
            for item in self._source:
                yield item


class Each(Generic[T]):
    """All items of a source."""

    def __init__(self, source: Source[T]) -> None:
        self._source = source

    def __iter__(self) -> Iterator[T]:
        return iter(self._source)


class AsyncPause:
    """Waits before something is tried again."""

    @staticmethod
    async def of(seconds: float) -> None:
        """Wait so many seconds."""
        await asyncio.sleep(seconds)

    @staticmethod
    async def after(failures: int) -> None:
        """Wait the longer, the more attempts have failed."""
        await asyncio.sleep(_pause(failures))


class Pause:
    """Waits before something is tried again."""

    @staticmethod
    def of(seconds: float) -> None:
        """Wait so many seconds."""
        time.sleep(seconds)

    @staticmethod
    def after(failures: int) -> None:
        """Wait the longer, the more attempts have failed."""
        time.sleep(_pause(failures))


def _coding(response_type: type[Message]) -> Any:
    return {"request_serializer": _serialized, "response_deserializer": response_type.FromString}


def _serialized(request: Message) -> bytes:
    return request.SerializeToString()


def _pause(failures: int) -> float:
    return min(0.1 * 2.0**failures, 2.0)


def _late(call_id: str) -> DeadlineExceededError:
    return DeadlineExceededError("The next message of the stream did not come in time.", request_id=call_id)
