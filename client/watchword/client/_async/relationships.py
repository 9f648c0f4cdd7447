"""Relationships: everything that permissions are computed from."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from watchword.client import _convert_permissions as _convert
from watchword.client._async.connection import AsyncConnection
from watchword.client._async.exports import exported
from watchword.client._async.imports import AsyncImport
from watchword.client._async.pages import walk
from watchword.client._imports import MAX_RELATIONSHIPS, Batches, RelationshipTally
from watchword.client._permission_models import (
    DeletedRelationships,
    ImportedRelationships,
    Precondition,
    Relationship,
    RelationshipFilter,
    RelationshipKey,
)
from watchword.client._streams import AsyncEach, AsyncSource
from watchword.client._transport import new_id
from watchword.client.models import Page
from watchword.v1 import relationships_pb2 as pb


class AsyncRelationships:
    """Relationships. What is common to all methods is described at `AsyncClient`.

    ```python
    revision = await client.relationships.write([Relationship("user:ana", "viewer", "document:42")])
    answer = await client.permissions.check(
        "user:ana", "viewer", "document:42", consistency=Consistency.at_least(revision)
    )
    ```
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def write(
        self,
        writes: Iterable[Relationship] = (),
        deletes: Iterable[Relationship | RelationshipKey] = (),
        *,
        preconditions: Iterable[Precondition] = (),
        request_id: str | None = None,
    ) -> str:
        """Write and delete relationships, all or none, and return the revision of the change.

        Args:
            writes: To be written. One that exists gets the new condition and expiry.
            deletes: To be deleted; one that does not exist is no error. With the writes 1 to 1,000.
            preconditions: What must hold before; at most 100.
            request_id: See `AsyncClient`.

        Raises:
            InvalidArgumentError: The permission model does not allow one, or two name the same.
            PreconditionFailedError: A precondition does not hold.

        """
        request = pb.WriteRelationshipsRequest(
            writes=_convert.relationship_messages(writes),
            deletes=map(_convert.relationship_key_message, deletes),
            preconditions=map(_convert.precondition_message, preconditions),
            request_id=request_id or new_id(),
        )
        response = await self._connection.call(request, pb.WriteRelationshipsResponse)
        return response.revision

    def list(
        self,
        filter: RelationshipFilter | None = None,  # noqa: A002 - the name in the contract
        *,
        page_size: int = 0,
    ) -> AsyncIterator[Relationship]:
        """Walk through stored relationships, page after page. Arguments as in `list_page`."""
        return walk(lambda page_token: self.list_page(filter, page_size=page_size, page_token=page_token))

    async def list_page(
        self,
        filter: RelationshipFilter | None = None,  # noqa: A002 - the name in the contract
        *,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[Relationship]:
        """Get one page of stored relationships, expired ones and those that the model no longer allows included.

        They come in the order of object, relation and subject, or of relation and object if the filter names a
        subject and no object. Each page is read at a moment of its own.

        Args:
            filter: Which relationships. Default: all.
            page_size: The most relationships to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListRelationshipsRequest(
            filter=_convert.filter_message(filter), page_size=page_size, page_token=page_token or ""
        )
        response = await self._connection.call(request, pb.ListRelationshipsResponse)
        return Page(
            items=tuple(map(_convert.relationship, response.relationships)),
            next_page_token=response.next_page_token or None,
        )

    async def delete(
        self,
        filter: RelationshipFilter,  # noqa: A002 - the name in the contract
        *,
        limit: int = 0,
        request_id: str | None = None,
    ) -> DeletedRelationships:
        """Delete the relationships that a filter selects, up to a number; repeat it until `complete`.

        Args:
            filter: Which relationships. It must not be empty.
            limit: The most to delete, 1 to 10,000. Default: 10,000.
            request_id: See `AsyncClient`.

        """
        request = pb.DeleteRelationshipsRequest(
            filter=_convert.filter_message(filter), limit=limit, request_id=request_id or new_id()
        )
        response = await self._connection.call(request, pb.DeleteRelationshipsResponse)
        return DeletedRelationships(
            deleted_count=response.deleted_count, complete=response.complete, revision=response.revision
        )

    async def import_(
        self,
        relationships: AsyncSource[Relationship],
        *,
        batch_size: int = 1000,
        on_progress: Callable[[int], object] | None = None,
    ) -> ImportedRelationships:
        """Write relationships in bulk, batch by batch, each in a transaction of its own.

        If the server becomes unavailable the import goes on where it was, up to five times in a row without any
        progress. What was committed before an error stays: importing it again changes nothing. The client's timeout
        is for the answer to each batch. However many there are, a few batches are in memory at a time.

        Args:
            relationships: To be written; if one is named twice, the last counts.
            batch_size: How many go into one transaction, 1 to 10,000; fewer if they are large.
            on_progress: Called after each commit with the number of relationships committed so far.

        Raises:
            InvalidArgumentError: The permission model does not allow one.
            ValueError: `batch_size` is out of its range.

        """
        batches = Batches(batch_size, _import_message, limit=MAX_RELATIONSHIPS)
        tally = RelationshipTally(on_progress)
        stream = AsyncImport(self._connection, pb.ImportRelationshipsResponse, tally.note)
        try:
            async for relationship in AsyncEach(relationships):
                message = batches.add(_convert.relationship_message(relationship))
                if message is not None:
                    await stream.send(message)
            message = batches.rest()
            if message is not None:
                await stream.send(message)
            await stream.finish()
            return tally.so_far()
        finally:
            await stream.close()

    async def export(
        self,
        filter: RelationshipFilter | None = None,  # noqa: A002 - the name in the contract
    ) -> AsyncIterator[Relationship]:
        """Read relationships in bulk, in the order of object, relation and subject.

        If the server becomes unavailable the export goes on where it was, up to five times in a row without any
        progress. Each thousand or so is read at a moment of its own. The client's timeout is for each message of them.

        Args:
            filter: Which relationships. Default: all.

        """
        request = pb.ExportRelationshipsRequest(filter=_convert.filter_message(filter))
        async for response in exported(self._connection, request, pb.ExportRelationshipsResponse):
            for relationship in response.relationships:
                yield _convert.relationship(relationship)


def _import_message(relationships: Sequence[pb.Relationship]) -> pb.ImportRelationshipsRequest:
    return pb.ImportRelationshipsRequest(relationships=relationships, request_id=new_id())
