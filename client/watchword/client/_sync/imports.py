# Made by client/make_sync.py from client/watchword/client/_async/imports.py: do not edit.
"""The stream of an import, which is taken up again where it broke off."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from watchword.client._streams import MAX_RESUMPTIONS, MAX_UNANSWERED, Pause, Stream
from watchword.client._sync.connection import Connection
from watchword.client.errors import UnavailableError

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


class Import(Generic[Q, R]):
    """Sends messages, a few at a time, and keeps those that are not answered to send them again."""

    def __init__(self, connection: Connection, response_type: type[R], on_answer: Callable[[Q, R], object]) -> None:
        self._connection = connection
        self._response_type = response_type
        self._on_answer = on_answer
        self._stream: Stream[R] | None = None
        self._unanswered: deque[Q] = deque()
        self._failures = 0
        self._is_trial = False

    def send(self, message: Q) -> None:
        """Send a message; before that wait for an answer if too many are under way."""
        if len(self._unanswered) == MAX_UNANSWERED:
            self._settle()
        self._unanswered.append(message)
        if self._stream is None:
            self._begin()
        else:
            self._stream.send(message)

    def finish(self) -> None:
        """Wait until all is answered."""
        while self._unanswered:
            self._settle()

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _begin(self) -> Stream[R]:
        """Begin a stream with what is not answered. After a failure it is the oldest message only.

        Nothing is sent behind that one, so that its failure cannot be taken for one of sending.
        """
        self._is_trial = self._failures > 0
        stream = self._connection.stream(self._unanswered[0], self._response_type, is_only=self._is_trial)
        self._stream = stream
        for message in () if self._is_trial else self._unanswered:
            stream.send(message)
        return stream

    def _settle(self) -> None:
        """Wait for the answer to the oldest message, on as many streams as that takes."""
        response = self._receive()
        while response is None:
            Pause.after(self._failures)
            response = self._receive()
        if self._is_trial:
            self.close()
        self._failures = 0
        self._connection.note(response)
        self._on_answer(self._unanswered.popleft(), response)

    def _receive(self) -> R | None:
        """The next answer; None if the stream broke off and may be taken up again."""
        try:
            stream = self._stream or self._begin()
            return stream.receive_one()
        except UnavailableError:
            self.close()
            self._failures += 1
            if self._failures > MAX_RESUMPTIONS:
                raise
            return None
