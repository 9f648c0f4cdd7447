"""Reads the feed: keeps a stream open, pings, and takes it up again where it broke off.

The two classes do the same, in asyncio and in threads, where gRPC has little in common. What is heard is told to
`Following`, which knows what it means.

A feed that nobody uses is hardly pinged, so that a thousand idle processes cost the server nothing; whoever then asks
first is answered by the server, and wakes it up. If pings stay unanswered the stream is given up: a proxy on the way
may swallow everything without a word.
"""

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio

from watchword.client._following import Following
from watchword.client._status import to_error
from watchword.client._transport import Settings, new_id, path_of
from watchword.client.errors import ClientClosedError, InternalError, UnavailableError, WatchwordError
from watchword.v1 import watch_pb2

_PATH: Final = path_of(watch_pb2.WatchRequest())
_CODING: Final[Any] = {
    "request_serializer": watch_pb2.WatchRequest.SerializeToString,
    "response_deserializer": watch_pb2.WatchResponse.FromString,
}
_PINGS_IN_TIME: Final = 0.4
"""Seconds between two pings for each second that may pass without the proof that nothing is missing."""
_PROMPT_BELOW: Final = 1.0
"""From so little staleness on, the server's regular look at the database comes too seldom."""
_IDLE_SECONDS: Final = 60.0
_IDLE_PING_SECONDS: Final = 10.0
_PATIENCE_SECONDS: Final = 5.0
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_REFUSED_PAUSE: Final = 10.0
_REFUSALS: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})
_SILENT: Final = UnavailableError("The server no longer answers on the feed.")
_log = logging.getLogger("watchword.client")


@dataclass(slots=True)
class Line:
    """How the connection to the feed does."""

    following: Following
    settings: Settings
    max_staleness: float
    clock: Callable[[], float]
    used_at: float = float("-inf")
    """When an answer was last asked for."""
    connected: bool = False
    reconnects: int = -1
    problem: str = ""
    """Why there is no connection, for people."""
    _failures: int = field(default=0, init=False)
    _prompt: int = field(default=0, init=False)

    def interval(self) -> float:
        """Seconds until the next ping."""
        if self.clock() - self.used_at > _IDLE_SECONDS:
            return _IDLE_PING_SECONDS
        return min(self.max_staleness * _PINGS_IN_TIME, _IDLE_PING_SECONDS)

    def ping(self, *, promptly: bool) -> watch_pb2.WatchRequest | None:
        """The next ping; None if there is no need for one, for one that is as urgent is under way.

        Threat: a hundred processes that start at the same moment, and ping for each question that they cannot answer.
        """
        promptly = promptly or self.max_staleness < _PROMPT_BELOW
        if promptly and self.following.awaits(self._prompt):
            return None
        request = self.following.ping(self.clock(), promptly=promptly)
        if promptly:
            self._prompt = request.ping.number
        return request

    def is_silent(self) -> bool:
        """Whether a ping is unanswered for so long that the stream must be given up."""
        since = self.following.unanswered_since()
        return since is not None and self.clock() - since > max(_PATIENCE_SECONDS, 2 * self.max_staleness)

    def receive(self, response: watch_pb2.WatchResponse) -> None:
        """Take a message of the server.

        Raises:
            ValueError: It makes no sense.

        """
        self.following.receive(response, self.clock())
        if not self.connected:
            self.connected, self.problem = True, ""
            self.reconnects += 1
            self._failures = 0

    def ended(self, error: WatchwordError | None) -> float:
        """Note that the stream has ended; tell how many seconds to wait before the next."""
        self.connected = False
        code = error.code if error is not None else "UNAVAILABLE"
        problem = str(error) if error is not None else "The server ended the stream."
        if code in _REFUSALS and problem != self.problem:
            _log.warning("Answers are not kept, every question goes to the server: %s", problem)
        self.problem = problem
        self._failures += 1
        if code == "INVALID_ARGUMENT":
            self.following.checkpoint = ""  # it may be too long, of very many transactions: begin anew
        if code in _REFUSALS:
            return _REFUSED_PAUSE
        # Not all clients of a server that was restarted at the same moment.
        longest = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(self._failures, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - guards nothing


class AsyncFeed:
    """The feed of one event loop."""

    def __init__(self, open_channel: Callable[[], grpc.aio.Channel], line: Line) -> None:
        self._open_channel = open_channel
        self.line = line
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._is_silent = False

    def start(self) -> None:
        """See that the feed is followed, and ping at once."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        self._awake.set()

    async def close(self) -> None:
        """Follow no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                error = await self._follow()
            except Exception as mistake:  # noqa: BLE001 - it must go on, whatever went wrong this time
                error = _unexpected(mistake)
            if isinstance(error, ClientClosedError):
                return
            await asyncio.sleep(self.line.ended(error))

    async def _follow(self) -> WatchwordError | None:
        call_id = new_id()
        call: Any = None
        pinging: asyncio.Task[None] | None = None
        self._is_silent = False
        try:
            call = self._open_channel().stream_stream(_PATH, **_CODING)(metadata=self.line.settings.metadata(call_id))
            await call.write(self.line.following.start())
            pinging = asyncio.create_task(self._ping(call))
            while (response := await call.read()) is not grpc.aio.EOF:
                self.line.receive(response)
        except asyncio.CancelledError:
            if not self._is_silent:
                raise  # not the call was cancelled, but this task
            return _SILENT
        except grpc.RpcError as error:
            return to_error(error, call_id=call_id)
        except ValueError as error:
            return _senseless(error)
        except asyncio.InvalidStateError:
            # Written to a call that had ended before.
            return to_error(await _ending(call), call_id=call_id)
        except WatchwordError as error:
            return error
        finally:
            if pinging is not None:
                pinging.cancel()
            if call is not None:
                call.cancel()
        return None

    async def _ping(self, call: Any) -> None:
        try:
            promptly = True
            while not self.line.is_silent():
                self._awake.clear()
                if (request := self.line.ping(promptly=promptly)) is not None:
                    await call.write(request)
                promptly = await self._woken(self.line.interval())
            self._is_silent = True
            call.cancel()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the reader hears why

    async def _woken(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return False
        return True


def _senseless(error: ValueError) -> InternalError:
    return InternalError(f"The server's feed makes no sense to this SDK: {error}")


def _unexpected(error: Exception) -> WatchwordError | None:
    _log.error("A mistake in the SDK has ended the feed, which begins anew.", exc_info=error)
    return InternalError(f"A mistake in the SDK: {type(error).__name__}.")


async def _ending(call: Any) -> grpc.RpcError:
    code, details, trailing = await call.code(), await call.details(), await call.trailing_metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details)


class Feed:
    """The feed of one process, in a thread of its own."""

    def __init__(self, open_channel: Callable[[], grpc.Channel], line: Line) -> None:
        self._open_channel = open_channel
        self.line = line
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._awake = threading.Event()
        self._closed = threading.Event()
        self._call: Any = None

    def start(self) -> None:
        """See that the feed is followed, and ping at once."""
        if self._thread is None and not self._closed.is_set():
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="watchword-feed", daemon=True)
                    self._thread.start()
        self._awake.set()

    def close(self) -> None:
        """Follow no longer."""
        self._closed.set()
        call = self._call
        if call is not None:
            call.cancel()
        self._awake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=_PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                error = self._follow()
            except Exception as mistake:  # noqa: BLE001 - it must go on, whatever went wrong this time
                error = _unexpected(mistake)
            if isinstance(error, ClientClosedError):
                return
            self._closed.wait(self.line.ended(error))

    def _follow(self) -> WatchwordError | None:
        call_id = new_id()
        call: Any = None
        ended = threading.Event()
        try:
            method = self._open_channel().stream_stream(_PATH, **_CODING)
            self._call = call = method(self._requests(ended), metadata=self.line.settings.metadata(call_id))
            if self._closed.is_set():
                call.cancel()
            for response in call:
                self.line.receive(response)
        except grpc.RpcError as error:
            return to_error(error, call_id=call_id)
        except ValueError as error:
            return _senseless(error)
        except WatchwordError as error:
            return error
        finally:
            self._call = None
            ended.set()
            self._awake.set()
            if call is not None:
                call.cancel()
        return None

    def _requests(self, ended: threading.Event) -> Iterator[watch_pb2.WatchRequest]:
        """What is sent: gRPC takes it from here in a thread of its own."""
        yield self.line.following.start()
        promptly = True
        while not ended.is_set():
            if self.line.is_silent():
                call = self._call
                if call is not None:
                    call.cancel()
                return
            self._awake.clear()
            if (request := self.line.ping(promptly=promptly)) is not None:
                yield request
            promptly = self._awake.wait(self.line.interval())
