"""The stream of an import, which is taken up again where it broke off."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from watchword.client._async.connection import AsyncConnection
from watchword.client._streams import MAX_RESUMPTIONS, MAX_UNANSWERED, AsyncPause, AsyncStream
from watchword.client.errors import UnavailableError

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class AsyncImport(Generic[Q, R]):
    """Sends messages, a few at a time, and keeps those that are not answered to send them again."""

    def __init__(
        self, connection: AsyncConnection, response_type: type[R], on_answer: Callable[[Q, R], object]
    ) -> None:
        self._connection = connection
        self._response_type = response_type
        self._on_answer = on_answer
        self._stream: AsyncStream[R] | None = None
        self._unanswered: deque[Q] = deque()
        self._failures = 0
        self._is_trial = False

    async def send(self, message: Q) -> None:
        """Send a message; before that wait for an answer if too many are under way."""
        if len(self._unanswered) == MAX_UNANSWERED:
            await self._settle()
        self._unanswered.append(message)
        if self._stream is None:
            await self._begin()
        else:
            await self._stream.send(message)

    async def finish(self) -> None:
        """Wait until all is answered."""
        while self._unanswered:
            await self._settle()

    async def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    async def _begin(self) -> AsyncStream[R]:
        """Begin a stream with what is not answered. After a failure it is the oldest message only.

        Nothing is sent behind that one, so that its failure cannot be taken for one of sending.
        """
        self._is_trial = self._failures > 0
        stream = self._connection.stream(self._unanswered[0], self._response_type, is_only=self._is_trial)
        self._stream = stream
        for message in () if self._is_trial else self._unanswered:
            await stream.send(message)
        return stream

    async def _settle(self) -> None:
        """Wait for the answer to the oldest message, on as many streams as that takes."""
        response = await self._receive()
        while response is None:
            await AsyncPause.after(self._failures)
            response = await self._receive()
        if self._is_trial:
            await self.close()
        self._failures = 0
        self._connection.note(response)
        self._on_answer(self._unanswered.popleft(), response)

    async def _receive(self) -> R | None:
        """The next answer; None if the stream broke off and may be taken up again."""
        try:
            stream = self._stream or await self._begin()
            return await stream.receive_one()
        except UnavailableError:
            await self.close()
            self._failures += 1
            if self._failures > MAX_RESUMPTIONS:
                raise
            return None
