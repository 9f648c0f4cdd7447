# Made by client/make_sync.py from client/watchword/client/_async/imports.py: do not edit.
"""The stream of an import, which is taken up again where it broke off."""

from collections import deque
from collections.abc import Callable

from watchword.client._permission_models import ImportedRelationships
from watchword.client._streams import MAX_RESUMPTIONS, MAX_UNANSWERED, Pause, Stream
from watchword.client._sync.connection import Connection
from watchword.client.errors import UnavailableError
from watchword.v1 import relationships_pb2 as pb


class Import:
    """Sends messages, a few at a time, and keeps those that are not answered to send them again."""

    def __init__(self, connection: Connection, on_progress: Callable[[int], object] | None) -> None:
        self._connection = connection
        self._on_progress = on_progress
        self._stream: Stream[pb.ImportRelationshipsResponse] | None = None
        self._unanswered: deque[pb.ImportRelationshipsRequest] = deque()
        self._failures = 0
        self._is_trial = False
        self._count = 0
        self._revision = ""

    def send(self, message: pb.ImportRelationshipsRequest) -> None:
        """Send a message; before that wait for an answer if too many are under way."""
        if len(self._unanswered) == MAX_UNANSWERED:
            self._settle()
        self._unanswered.append(message)
        if self._stream is None:
            self._begin()
        else:
            self._stream.send(message)

    def finish(self) -> ImportedRelationships:
        """Wait until all is answered."""
        while self._unanswered:
            self._settle()
        return ImportedRelationships(relationship_count=self._count, revision=self._revision or None)

    def close(self) -> None:
        """End the stream."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _begin(self) -> Stream[pb.ImportRelationshipsResponse]:
        """Begin a stream with what is not answered. After a failure it is the oldest message only.

        Nothing is sent behind that one, so that its failure cannot be taken for one of sending.
        """
        self._is_trial = self._failures > 0
        stream = self._connection.stream(self._unanswered[0], pb.ImportRelationshipsResponse, is_only=self._is_trial)
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
        self._count += len(self._unanswered.popleft().relationships)
        self._revision = response.revision
        self._connection.note(response)
        if self._on_progress is not None:
            self._on_progress(self._count)

    def _receive(self) -> pb.ImportRelationshipsResponse | None:
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
