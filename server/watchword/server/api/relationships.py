"""RelationshipService."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.call import Call
from watchword.server.changes import changed, record_deleted
from watchword.server.errors import Conflict, InvalidField, InvalidPageToken, PreconditionFailed
from watchword.server.identifiers import Clock
from watchword.server.permissions.built_in import RESERVED
from watchword.server.permissions.names import InvalidName, parse_object, parse_subject
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import Standing
from watchword.server.pipeline import at_once
from watchword.server.plans import Plans, PreparedModel
from watchword.server.relationship_writes import MAX_ITEMS, RelationshipWriter, Write
from watchword.server.storage.database import Database, Told
from watchword.server.storage.models import STARTER
from watchword.server.storage.relationships import Filter, Key, Part, position
from watchword.v1 import relationships_pb2 as pb

_MAX_DELETED = 10_000
_EXPORTED = 1_000
_TRIES = 3
_NO_KEYS: Sequence[Key] = ()


class RelationshipService:
    """Serves relationships."""

    def __init__(self, database: Database, plans: Plans, standing: Standing, pages: Pages, *, clock: Clock) -> None:
        self._database = database
        self._writer = RelationshipWriter(database)
        self._plans = plans
        self._standing = standing
        self._pages = pages
        self._clock = clock

    # ----- writing ----------------------------------------------------------------------------------------------------

    @at_once
    async def WriteRelationships(
        self, request: pb.WriteRelationshipsRequest, call: Call
    ) -> pb.WriteRelationshipsResponse:
        writes = [messages.read_relationship(row) for row in request.writes]
        deletes = [Key(row.object, row.relation, row.subject) for row in request.deletes]
        if not 0 < len(writes) + len(deletes) <= MAX_ITEMS:
            raise InvalidField([("writes", f"must be 1 to {MAX_ITEMS:,} items, together with deletes")])
        _require_distinct(writes, deletes)
        _require_reserved(call, [*writes, *deletes])
        if request.preconditions:
            return await self._write_conditionally(request, call, writes, deletes)
        return await self._write(call, Part(writes, deletes))

    async def _write(self, call: Call, part: Part, *, in_bulk: bool = False) -> pb.WriteRelationshipsResponse:
        """Check by the model in force and write; again if another model came into force in between."""
        field = "relationships" if in_bulk else "writes"
        event = changed(self._standing, part.writes, part.deletes, in_bulk=in_bulk)
        write = self._writer.write_alone if in_bulk else self._writer.write
        model = await self._plans.get(self._plans.latest)
        for _ in range(_TRIES):
            try:
                _require_fit(model, part.writes, field)
                _require_names(part.deletes)
            except InvalidField:
                # Perhaps the model is not the one in force, and the one in force allows it.
                newest = await self._plans.in_force()
                if newest is model:
                    raise
                model = newest
                continue
            answer = pb.WriteRelationshipsResponse()
            if await write(Write(part, Told(call, event, answer), model.model_id)):
                return answer
            model = await self._plans.in_force()
        raise Conflict

    async def _write_conditionally(
        self, request: pb.WriteRelationshipsRequest, call: Call, writes: Sequence[Relationship], deletes: Sequence[Key]
    ) -> pb.WriteRelationshipsResponse:
        asked_for = [
            _filter(item.filter, f"preconditions[{index}].filter") for index, item in enumerate(request.preconditions)
        ]
        model = await self._plans.in_force()
        _require_fit(model, writes, "writes")
        _require_names(deletes)
        async with self._database.write(call) as tx:
            # Two conditional writes, each of which makes the other's condition false, must not both pass.
            rows: list[Relationship | Key] = [*writes, *deletes]
            concerned = {row.object.partition(":")[0] for row in rows}
            concerned |= {asked.object_type or (asked.object or "").partition(":")[0] for asked in asked_for}
            await tx.relationships.lock(self._standing.plain(f"precondition/{type_}") for type_ in concerned)
            for index, asked in enumerate(asked_for):
                must_exist = request.preconditions[index].kind == pb.PRECONDITION_KIND_MUST_EXIST
                if await tx.relationships.exists(asked) is not must_exist:
                    raise PreconditionFailed(index, must_exist=must_exist)
            deleted = await tx.relationships.write(writes, deletes)
            # After the write and not before: it holds off whoever puts a model into force, until the transaction ends.
            newest = await tx.models.newest()
            if (newest.model_id if newest else STARTER) != model.model_id:
                raise Conflict
            tx.record(changed(self._standing, writes, deletes, deleted=deleted))
            return tx.answered(pb.WriteRelationshipsResponse(revision=tx.revision))

    async def DeleteRelationships(
        self, request: pb.DeleteRelationshipsRequest, call: Call
    ) -> pb.DeleteRelationshipsResponse:
        asked = _filter(request.filter, "filter")
        if request.limit < 0:
            raise InvalidField([("limit", "must not be negative")])
        limit = min(request.limit or _MAX_DELETED, _MAX_DELETED)
        async with self._database.write(call) as tx:
            deleted = await tx.relationships.delete(asked, limit=limit)
            _require_reserved(call, deleted)
            record_deleted(tx, self._standing, deleted)
            # Asked and not inferred from the count: somebody else may have deleted some of those chosen meanwhile.
            left = await tx.relationships.page(asked, after=None, size=1)
            return tx.answered(
                pb.DeleteRelationshipsResponse(deleted_count=len(deleted), complete=not left, revision=tx.revision)
            )

    async def ImportRelationships(
        self, requests: AsyncIterator[pb.ImportRelationshipsRequest], call: Call
    ) -> AsyncIterator[pb.ImportRelationshipsResponse]:
        message_count = relationship_count = 0
        async for request in requests:
            rows = {
                (row.object, row.relation, row.subject): row
                for row in map(messages.read_relationship, request.relationships)
            }
            writes = list(rows.values())
            _require_reserved(call, writes)
            answer = await self._write(call, Part(writes, _NO_KEYS), in_bulk=True)
            message_count += 1
            relationship_count += len(request.relationships)
            yield pb.ImportRelationshipsResponse(
                message_count=message_count, relationship_count=relationship_count, revision=answer.revision
            )

    # ----- reading ----------------------------------------------------------------------------------------------------

    async def ListRelationships(self, request: pb.ListRelationshipsRequest, call: Call) -> pb.ListRelationshipsResponse:
        page = self._pages.page(request, call)
        asked = _filter(request.filter, "filter", empty_allowed=True)
        async with self._database.read() as reader:
            after = _position(page.after)
            rows = await reader.relationships.page(asked, after=after, size=page.fetch)
        shown, token = self._pages.cut(page, rows, lambda row: json.dumps(position(asked, row)))
        return pb.ListRelationshipsResponse(relationships=map(messages.relationship, shown), next_page_token=token)

    async def ExportRelationships(
        self, request: pb.ExportRelationshipsRequest, call: Call
    ) -> AsyncIterator[pb.ExportRelationshipsResponse]:
        asked = _filter(request.filter, "filter", empty_allowed=True)
        page = self._pages.resumed(request, request.resume_token, call)
        after = _position(page.after)
        while True:
            async with self._database.read() as reader:
                rows = await reader.relationships.page(asked, after=after, size=_EXPORTED)
            if rows:
                after = position(asked, rows[-1])
                yield pb.ExportRelationshipsResponse(
                    relationships=map(messages.relationship, rows),
                    resume_token=self._pages.token(page, json.dumps(after)),
                )
            if len(rows) < _EXPORTED:
                return


# ----- requests -------------------------------------------------------------------------------------------------------


def _require_distinct(writes: Iterable[Relationship], deletes: Iterable[Key]) -> None:
    seen: set[tuple[str, str, str]] = set()
    named: list[tuple[str, Iterable[Relationship | Key]]] = [("writes", writes), ("deletes", deletes)]
    for name, rows in named:
        for index, row in enumerate(rows):
            key = (row.object, row.relation, row.subject)
            if key in seen:
                raise InvalidField([(f"{name}[{index}]", "names a relationship that another item names too")])
            seen.add(key)


def _require_reserved(call: Call, rows: Iterable[Relationship | Key]) -> None:
    """Let nobody hand out or take away a permission of Watchword's own that they do not hold.

    Threat: who may write relationships makes themselves an administrator.
    """
    for row in rows:
        if row.object.startswith(f"{RESERVED}:"):
            call.caller.require(row.relation)


def _require_fit(model: PreparedModel, writes: Sequence[Relationship], field: str) -> None:
    misfit = model.plan.misfit
    violations = [
        (f"{field}[{index}]", found) for index, row in enumerate(writes) if (found := misfit(row)) is not None
    ]
    if violations:
        raise InvalidField(violations[:20])


def _require_names(deletes: Sequence[Key]) -> None:
    """What is deleted must be well named; the model need not know it any more."""
    for index, row in enumerate(deletes):
        _named(parse_object, row.object, f"deletes[{index}].object")
        _named(parse_subject, row.subject, f"deletes[{index}].subject")


def _named(parse: Callable[[str], object], text: str, field: str) -> None:
    try:
        parse(text)
    except InvalidName as error:
        raise InvalidField([(field, str(error))]) from None


def _filter(message: pb.RelationshipFilter, field: str, *, empty_allowed: bool = False) -> Filter:
    if message.object:
        _named(parse_object, message.object, f"{field}.object")
    if message.subject:
        _named(parse_subject, message.subject, f"{field}.subject")
    asked = Filter(
        message.object_type or None,
        message.object or None,
        message.relation or None,
        message.subject or None,
        message.subject_type or None,
    )
    if asked.is_empty and not empty_allowed:
        raise InvalidField([(field, "must not be empty")])
    return asked


def _position(after: str) -> list[str] | None:
    if not after:
        return None
    found = json.loads(after)
    if not isinstance(found, list):
        raise InvalidPageToken
    return found
