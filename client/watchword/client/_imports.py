"""What imports have in common: items gathered into messages, and answers counted."""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from google.protobuf.message import Message

from watchword.client import _convert
from watchword.client._permission_models import ImportedRelationships
from watchword.client.models import ImportedUsers, ImportOutcome, UserImportResult
from watchword.v1 import relationships_pb2, users_pb2

I = TypeVar("I", bound=Message)  # noqa: E741 - an item
Q = TypeVar("Q", bound=Message)

MAX_RELATIONSHIPS: Final = 10_000
MAX_USERS: Final = 1_000
_MAX_BYTES: Final = 3 * 1024 * 1024  # the server takes 4 MiB
_SHOWN_REFUSALS: Final = 100


class Batches(Generic[I, Q]):
    """Gathers items into the messages of an import.

    Raises:
        ValueError: `size` is out of its range.

    """

    def __init__(self, size: int, message: Callable[[Sequence[I]], Q], *, limit: int) -> None:
        if not 1 <= size <= limit:
            raise ValueError(f"batch_size must be from 1 to {limit}")
        self._size = size
        self._message = message
        self._gathered: list[I] = []
        self._bytes = 0

    def add(self, item: I) -> Q | None:
        """Add an item; return the message before it if that is full."""
        size = item.ByteSize() + 8
        full = len(self._gathered) == self._size or self._bytes + size > _MAX_BYTES
        ready = self.rest() if full else None
        self._gathered.append(item)
        self._bytes += size
        return ready

    def rest(self) -> Q | None:
        """What has been gathered; None if that is nothing."""
        if not self._gathered:
            return None
        ready = self._message(self._gathered)
        self._gathered, self._bytes = [], 0
        return ready


class RelationshipTally:
    """Counts the relationships that are committed."""

    def __init__(self, on_progress: Callable[[int], object] | None) -> None:
        self._on_progress = on_progress
        self._count = 0
        self._revision = ""

    def note(
        self,
        request: relationships_pb2.ImportRelationshipsRequest,
        response: relationships_pb2.ImportRelationshipsResponse,
    ) -> None:
        """Note that a message was committed."""
        self._count += len(request.relationships)
        self._revision = response.revision
        if self._on_progress is not None:
            self._on_progress(self._count)

    def so_far(self) -> ImportedRelationships:
        """What has been done."""
        return ImportedRelationships(relationship_count=self._count, revision=self._revision or None)


class UserTally:
    """Counts what became of users."""

    def __init__(
        self,
        on_result: Callable[[UserImportResult], object] | None,
        on_progress: Callable[[ImportedUsers], object] | None,
    ) -> None:
        self._on_result = on_result
        self._on_progress = on_progress
        self._counts = dict.fromkeys(ImportOutcome, 0)
        self._refusals: list[UserImportResult] = []
        self._revision = ""

    def note(self, request: users_pb2.ImportUsersRequest, response: users_pb2.ImportUsersResponse) -> None:
        """Note the results of a message."""
        for user, message in zip(request.users, response.results, strict=True):
            result = _convert.user_import_result(message, user.external_id)
            self._counts[result.outcome] += 1
            if result.outcome is ImportOutcome.REFUSED and len(self._refusals) < _SHOWN_REFUSALS:
                self._refusals.append(result)
            if self._on_result is not None:
                self._on_result(result)
        self._revision = response.revision or self._revision
        if self._on_progress is not None:
            self._on_progress(self.so_far())

    def so_far(self) -> ImportedUsers:
        """What has been done."""
        return ImportedUsers(
            created_count=self._counts[ImportOutcome.CREATED],
            existing_count=self._counts[ImportOutcome.EXISTS],
            refused_count=self._counts[ImportOutcome.REFUSED],
            refusals=tuple(self._refusals),
            revision=self._revision or None,
        )
