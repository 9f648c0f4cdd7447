"""Who has which role in organizations and groups: the relationships that say so, and the statements on them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Text, and_, any_, bindparam, delete, select, text, tuple_

from watchword.server.permissions.relationships import Relationship
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.relationships.c
_KEY = (_c.object, _c.relation, _c.subject_relation, _c.subject)
_BY_SUBJECT = (_c.subject, _c.subject_relation, _c.relation, _c.object)

# Role by role, and accounts apart from groups, each along the index, and then joined: an object with a million members
# is not sorted for each page. Which roles there are is found by leaping from one to the next.
# A group's own relationship to its organization is no role, nor is what an application's model may put beside roles,
# such as a parent organization or everybody.
_PAGE = Statement(
    text("""
WITH RECURSIVE role (name) AS (
    (SELECT relation FROM relationships WHERE object = :object ORDER BY relation LIMIT 1)
  UNION ALL
    SELECT (
        SELECT relation FROM relationships WHERE object = :object AND relation > role.name ORDER BY relation LIMIT 1
    )
    FROM role WHERE role.name IS NOT NULL
)
SELECT role.name AS role, member.subject, member.subject_relation
FROM role, unnest(ARRAY['group', 'service', 'user'], ARRAY['member', '', '']) AS kind (type, relation), LATERAL (
    SELECT subject, subject_relation FROM relationships
    WHERE object = :object AND relation = role.name AND subject_relation = kind.relation
        AND subject >= kind.type || ':' AND subject < kind.type || ';' AND subject <> kind.type || ':*'
        AND subject >= CAST(:subject AS text)
        AND (subject > CAST(:subject AS text) OR role.name > CAST(:after_role AS text))
        AND (expire_time IS NULL OR expire_time > :now)
    ORDER BY subject LIMIT :size
) member
WHERE CAST(:role AS text) IS NULL OR role.name = CAST(:role AS text)
ORDER BY member.subject, role.name LIMIT :size
""")
)
_ROLES = Statement(
    text("""
SELECT object, relation, subject, subject_relation, expire_time FROM relationships
WHERE subject = :subject AND subject_relation = :subject_relation
    AND (CAST(:role AS text) IS NULL OR relation = CAST(:role AS text))
    AND (
        object = :object
        OR object >= 'group:' AND object < 'group;'
            AND substr(object, 7) IN (SELECT group_id FROM groups WHERE organization_id = CAST(:groups_of AS text))
    )
ORDER BY object, relation
""")
)


_NAMES = ("object", "relation", "subject", "subject_relation")


def _remove(*order: Any) -> Statement:
    """Delete some of what begins or ends at one of the names, in the order of an index, beginning behind a key.

    Without the key each statement would first step over all that those before it have deleted.
    """
    names = bindparam("names", type_=ARRAY(Text))
    after = tuple_(*(bindparam(f"after_{column.name}", type_=Text) for column in order))
    chosen = select(*_KEY).where(order[0] == any_(names), tuple_(*order) > after).order_by(*order)
    rows = chosen.limit(bindparam("limit")).with_for_update().cte("chosen")
    same = and_(*(column == rows.c[column.name] for column in _KEY))
    return Statement(delete(t.relationships).where(same).returning(t.relationships))


_REMOVE_FROM = (_remove(*_KEY), attrgetter(*(column.name for column in _KEY)))
_REMOVE_TO = (_remove(*_BY_SUBJECT), attrgetter(*(column.name for column in _BY_SUBJECT)))


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a role."""

    role: str
    subject: str
    subject_relation: str

    @property
    def name(self) -> str:
        """The subject as it is written."""
        return f"{self.subject}#{self.subject_relation}" if self.subject_relation else self.subject

    @property
    def position(self) -> list[str]:
        """Where it stands in the order of pages."""
        return [self.subject, self.role]


@dataclass(frozen=True, slots=True)
class _Row:
    object: str
    relation: str
    subject: str
    subject_relation: str
    expire_time: Any
    condition: str | None = None
    context: Any = None

    def relationship(self) -> Relationship:
        subject = f"{self.subject}#{self.subject_relation}" if self.subject_relation else self.subject
        return Relationship(self.object, self.relation, subject, self.condition, self.context, self.expire_time)


class Members:
    """The members of a database's organizations and groups."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def page(self, object_: str, role: str | None, *, after: Sequence[str] | None, size: int) -> list[Member]:
        """List who has a role, or this one, in an organization or group, by subject, beginning behind a position."""
        subject, after_role = after or ("", "")
        return await self._reader.all(
            Member,
            _PAGE,
            object=object_,
            role=role,
            subject=subject,
            after_role=after_role,
            now=self._reader.now,
            size=size,
        )

    async def roles_of(
        self, subject: str, object_: str, role: str | None, *, groups_of: str | None = None
    ) -> list[Relationship]:
        """Find a subject's roles, or this one, in an organization or group, and in all groups of an organization."""
        name, _, relation = subject.partition("#")
        rows = await self._reader.all(
            _Row,
            _ROLES,
            subject=name,
            subject_relation=relation,
            object=object_,
            role=role,
            groups_of=groups_of,
        )
        return [row.relationship() for row in rows]

    async def remove_about(self, names: Sequence[str], *, at_a_time: int) -> AsyncIterator[list[Relationship]]:
        """Delete all relationships from and to objects, some at a time; give those that each time deleted."""
        for statement, key in (_REMOVE_FROM, _REMOVE_TO):
            after = dict.fromkeys((f"after_{name}" for name in _NAMES), "")
            while rows := await self._reader.all(_Row, statement, names=list(names), limit=at_a_time, **after):
                yield [row.relationship() for row in rows]
                # They come in no order. Python and PostgreSQL's "C" agree on what is greater.
                last = max(rows, key=key)
                after = {f"after_{name}": getattr(last, name) for name in _NAMES}
