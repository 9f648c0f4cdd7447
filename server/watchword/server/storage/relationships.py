"""Relationships: rows, and the statements on them. What questions read is in `gather`."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, tuple_

from watchword.server.permissions.relationships import Relationship
from watchword.server.storage import tables as t
from watchword.server.storage.at_once import ANSWERS, EVENTS, RESULT
from watchword.server.storage.statement import Statement, array

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.relationships.c
_KEY = (_c.object, _c.relation, _c.subject_relation, _c.subject)
_BY_SUBJECT = (_c.subject, _c.subject_relation, _c.relation, _c.object)

UPSERT = """
    INSERT INTO relationships (object, relation, subject, subject_relation, condition, context, expire_time)
    SELECT * FROM unnest(
        CAST(:object AS text[]), CAST(:relation AS text[]), CAST(:subject AS text[]), CAST(:subject_relation AS text[]),
        CAST(:condition AS text[]), CAST(:context AS jsonb[]), CAST(:expire_time AS timestamptz[])
    ) AS given{where}
    ON CONFLICT (object, relation, subject, subject_relation) DO UPDATE
    SET condition = excluded.condition, context = excluded.context, expire_time = excluded.expire_time
"""
DELETE = """
    DELETE FROM relationships r USING unnest(
        CAST(:deleted_object AS text[]), CAST(:deleted_relation AS text[]), CAST(:deleted_subject AS text[]),
        CAST(:deleted_subject_relation AS text[]), CAST(:deleted_number AS int[])
    ) AS given (object, relation, subject, subject_relation, number)
    WHERE r.object = given.object AND r.relation = given.relation AND r.subject = given.subject
        AND r.subject_relation = given.subject_relation{where}
    RETURNING r.object, r.relation,
        r.subject || CASE r.subject_relation WHEN '' THEN '' ELSE '#' || r.subject_relation END AS subject{returned}
"""
# The writes of some calls in one statement and one transaction; nothing happens if the model by which they were checked
# is in force no longer.
# The events are numbered when all rows are written and deleted, and so while they are locked: of two changes of a
# relationship the later one has the higher number. That is what the counts are for: they stand in FROM, and what stands
# among the values may be worked out after the number. An event tells as deleted only what was there: who replays the
# log would lose what somebody else was just writing.
_WRITTEN = "guard, (SELECT count(*) FROM written) AS there, (SELECT count(*) FROM deleted) AS gone"
_TOLD = """event.payload || jsonb_strip_nulls(jsonb_build_object('deleted', (
            SELECT jsonb_agg(object || '#' || relation || '@' || subject) FROM deleted
            WHERE deleted.number = event.number
        )))"""
_DELETED = DELETE.format(where=" AND EXISTS (SELECT FROM guard)", returned=", given.number")
WRITE = Statement(
    text(f"""
WITH guard AS MATERIALIZED (
    SELECT set_config('lock_timeout', COALESCE(:lock_timeout, current_setting('lock_timeout')), true)
    WHERE CAST(:model_id AS uuid) = COALESCE(
        (SELECT model_id FROM permission_models ORDER BY sequence DESC LIMIT 1), CAST(:starter AS uuid)
    )
),
written AS ({UPSERT.format(where=" WHERE EXISTS (SELECT FROM guard)")} RETURNING true),
deleted AS ({_DELETED}),
event AS ({EVENTS.format(change=_WRITTEN, payload=_TOLD)}),
answer AS ({ANSWERS.format(change="guard")})
{RESULT}, EXISTS (SELECT FROM guard) FROM deployment
""")  # noqa: S608 - constants of this module
)
_UPSERT = Statement(text(UPSERT.format(where="")))
_DELETE = Statement(text(DELETE.format(where="", returned="")))
_LOCK = Statement(text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) AS key ORDER BY key"))
# The one statement that reads the whole table is better off without its index.
_READ_ALL = Statement(text("SET LOCAL enable_seqscan = on"))
# Waits for those who are writing, and keeps others from it until the transaction ends.
_LOCK_ALL = Statement(text("LOCK TABLE relationships IN SHARE ROW EXCLUSIVE MODE"))


@dataclass(frozen=True, slots=True)
class Key:
    """What identifies a relationship."""

    object: str
    relation: str
    subject: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which relationships; None selects all."""

    object_type: str | None = None
    object: str | None = None
    relation: str | None = None
    subject: str | None = None
    subject_type: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return self == _EVERYTHING

    @property
    def starts_at_subject(self) -> bool:
        """Whether it is best answered from subjects to objects."""
        return self.subject is not None and self.object is None

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same in SQL."""
        found: list[ColumnElement[bool]] = []
        if self.object_type is not None:
            found += _of_type(_c.object, self.object_type)
        if self.object is not None:
            found.append(_c.object == self.object)
        if self.relation is not None:
            found.append(_c.relation == self.relation)
        if self.subject is not None:
            name, _, relation = self.subject.partition("#")
            found += [_c.subject == name, _c.subject_relation == relation]
        if self.subject_type is not None:
            found += _of_type(_c.subject, self.subject_type)
        return found


_EVERYTHING = Filter()


@dataclass(frozen=True, slots=True)
class Part:
    """What one call writes and deletes."""

    writes: Sequence[Relationship]
    deletes: Sequence[Key]


def _of_type(column: Any, type_: str) -> list[ColumnElement[bool]]:
    """Names of a type are a range, since names are compared byte for byte and ';' follows ':'."""
    return [column >= f"{type_}:", column < f"{type_};"]


@dataclass(frozen=True, slots=True)
class _Row:
    object: str
    relation: str
    subject: str
    subject_relation: str
    condition: str | None
    context: dict[str, Any] | None
    expire_time: Any

    def relationship(self) -> Relationship:
        subject = f"{self.subject}#{self.subject_relation}" if self.subject_relation else self.subject
        return Relationship(self.object, self.relation, subject, self.condition, self.context, self.expire_time)


def columns(writes: Iterable[Relationship]) -> dict[str, Any]:
    """The parameters of UPSERT, sorted: two writers of the same rows wait for each other and do not deadlock."""
    rows = sorted(writes, key=_in_order)
    names = [row.subject.partition("#") for row in rows]
    return {
        "object": array(row.object for row in rows),
        "relation": array(row.relation for row in rows),
        "subject": array(name for name, _, _ in names),
        "subject_relation": array(relation for _, _, relation in names),
        "condition": array(row.condition for row in rows),
        "context": array(json.dumps(dict(row.context)) if row.context else None for row in rows),
        "expire_time": array(row.expire_time.isoformat() if row.expire_time else None for row in rows),
    }


def columns_of(parts: Sequence[Part]) -> dict[str, Any]:
    """The parameters of WRITE, but for the model."""
    return {
        **columns(row for part in parts for row in part.writes),
        **deleted_columns((row, number) for number, part in enumerate(parts) for row in part.deletes),
    }


def _in_order(row: Relationship | Key) -> tuple[str, str, str]:
    return row.object, row.relation, row.subject


def deleted_columns(deletes: Iterable[tuple[Key, int]]) -> dict[str, Any]:
    """The parameters of DELETE, sorted like those of UPSERT: what is deleted, and the number of the call that does."""
    numbered = sorted(deletes, key=lambda each: _in_order(each[0]))
    rows = [row for row, _ in numbered]
    names = [row.subject.partition("#") for row in rows]
    return {
        "deleted_object": array(row.object for row in rows),
        "deleted_relation": array(row.relation for row in rows),
        "deleted_subject": array(name for name, _, _ in names),
        "deleted_subject_relation": array(relation for _, _, relation in names),
        "deleted_number": array(number for _, number in numbered),
    }


class Relationships:
    """The relationships of a database. Whoever changes them records the event that says so."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def write(self, writes: Sequence[Relationship], deletes: Sequence[Key] = ()) -> list[Key]:
        """Write and delete; return what was there to delete. What is written and exists is replaced."""
        if writes:
            await self._reader.run(_UPSERT, **columns(writes))
        if not deletes:
            return []
        return await self._reader.all(Key, _DELETE, **deleted_columns((row, 0) for row in deletes))

    async def exists(self, asked: Filter) -> bool:
        """Whether there is one that has not expired."""
        living = or_(_c.expire_time.is_(None), _c.expire_time > self._reader.now)
        statement = select(_c.object).where(*asked.conditions(), living).limit(1)
        return await self._reader.value(Statement(statement)) is not None

    async def page(self, asked: Filter, *, after: Sequence[str] | None, size: int) -> list[Relationship]:
        """List in the order of the filter's index, beginning behind the key of one, as `position` gives it."""
        order = _BY_SUBJECT if asked.starts_at_subject else _KEY
        statement = select(t.relationships).where(*asked.conditions()).order_by(*order).limit(size)
        if after is not None:
            statement = statement.where(tuple_(*order) > tuple_(*after))
        return [row.relationship() for row in await self._reader.all(_Row, Statement(statement))]

    async def delete(self, asked: Filter, *, limit: int) -> list[Relationship]:
        """Delete up to a number; return those deleted."""
        chosen = select(*_KEY).where(*asked.conditions()).order_by(*_KEY).limit(limit).with_for_update().cte("chosen")
        same = and_(*(column == chosen.c[column.name] for column in _KEY))
        statement = delete(t.relationships).where(same).returning(t.relationships)
        return [row.relationship() for row in await self._reader.all(_Row, Statement(statement))]

    async def lock(self, keys: Iterable[int]) -> None:
        """Wait for all other conditional writes about the same, given as hashes, and keep them waiting."""
        await self._reader.run(_LOCK, keys=sorted(set(keys)))

    async def lock_all(self) -> None:
        """Wait for everybody who writes, and keep them waiting until the transaction ends."""
        await self._reader.run(_LOCK_ALL)

    async def shapes(self) -> "list[Shape]":
        """All kinds of relationships there are, with how many of each. Reads all of them, in a transaction."""
        await self._reader.run(_READ_ALL)
        types = [func.split_part(column, ":", 1) for column in (_c.object, _c.subject)]
        wildcard = func.split_part(_c.subject, ":", 2) == "*"
        statement = select(
            types[0].label("object_type"),
            _c.relation,
            types[1].label("subject_type"),
            wildcard.label("wildcard"),
            _c.subject_relation,
            _c.condition,
            func.count().label("count"),
        ).group_by(text("1, 2, 3, 4, 5, 6"))
        return await self._reader.all(Shape, Statement(statement))

    async def examples(self, shape: "Shape", *, limit: int) -> list[Relationship]:
        """Some relationships of a kind."""
        wildcard = func.split_part(_c.subject, ":", 2) == "*"
        statement = (
            select(t.relationships)
            .where(
                *_of_type(_c.object, shape.object_type),
                *_of_type(_c.subject, shape.subject_type),
                _c.relation == shape.relation,
                _c.subject_relation == shape.subject_relation,
                _c.condition.is_not_distinct_from(shape.condition),
                wildcard == shape.wildcard,
            )
            .limit(limit)
        )
        return [row.relationship() for row in await self._reader.all(_Row, Statement(statement))]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of relationships: what a model allows or does not."""

    object_type: str
    relation: str
    subject_type: str
    wildcard: bool
    subject_relation: str
    condition: str | None
    count: int

    @property
    def subject(self) -> str:
        """The kind of subjects as a model's type restrictions write it."""
        if self.subject_relation:
            return f"{self.subject_type}#{self.subject_relation}"
        return f"{self.subject_type}:*" if self.wildcard else self.subject_type


def position(asked: Filter, relationship: Relationship) -> list[str]:
    """Where in the order of a filter's index a relationship stands."""
    name, _, relation = relationship.subject.partition("#")
    key = {"object": relationship.object, "relation": relationship.relation, "subject": name}
    key["subject_relation"] = relation
    return [key[column.name] for column in (_BY_SUBJECT if asked.starts_at_subject else _KEY)]
