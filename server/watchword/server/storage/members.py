"""Who has which role in organizations and groups: the relationships that say so, and the statements on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Text, and_, any_, bindparam, delete, select, text

from watchword.server.permissions.relationships import Relationship
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.database import Reader

_c = t.relationships.c
_KEY = (_c.object, _c.relation, _c.subject, _c.subject_relation)
_BY_SUBJECT = (_c.subject, _c.subject_relation, _c.relation, _c.object)

# Accounts and groups that have a role. A group's own relationship to its organization is none, nor is what an
# application's model may put beside them, such as a parent organization.
_MEMBER = """(
    subject_relation = '' AND subject >= 'user:' AND subject < 'user;' AND subject <> 'user:*'
    OR subject_relation = '' AND subject >= 'service:' AND subject < 'service;' AND subject <> 'service:*'
    OR subject_relation = 'member' AND subject >= 'group:' AND subject < 'group;'
)"""
# Role by role, each along the index, and then joined: an object with a million members is not sorted for each page.
# Which roles there are is found by leaping from one to the next.
_PAGE = Statement(
    text(f"""
WITH RECURSIVE role (name) AS (
    (SELECT relation FROM relationships WHERE object = :object ORDER BY relation LIMIT 1)
  UNION ALL
    SELECT (
        SELECT relation FROM relationships WHERE object = :object AND relation > role.name ORDER BY relation LIMIT 1
    )
    FROM role WHERE role.name IS NOT NULL
)
SELECT member.relation AS role, member.subject, member.subject_relation
FROM role, LATERAL (
    SELECT relation, subject, subject_relation FROM relationships
    WHERE object = :object AND relation = role.name
        AND (subject, subject_relation) >= (CAST(:subject AS text), CAST(:subject_relation AS text))
        AND (subject, subject_relation, relation)
            > (CAST(:subject AS text), CAST(:subject_relation AS text), CAST(:after_role AS text))
        AND {_MEMBER} AND (expire_time IS NULL OR expire_time > :now)
    ORDER BY subject, subject_relation LIMIT :size
) member
WHERE CAST(:role AS text) IS NULL OR role.name = CAST(:role AS text)
ORDER BY member.subject, member.subject_relation, member.relation LIMIT :size
""")  # noqa: S608 - a constant of this module
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


def _remove(*order: Any) -> Statement:
    """Delete some of what begins or ends at one of the names: those that come first in the order of an index."""
    names = bindparam("names", type_=ARRAY(Text))
    chosen = select(*_KEY).where(order[0] == any_(names)).order_by(*order).limit(bindparam("limit"))
    rows = chosen.with_for_update().cte("chosen")
    same = and_(*(column == rows.c[column.name] for column in _KEY))
    return Statement(delete(t.relationships).where(same).returning(t.relationships))


_REMOVE_FROM = _remove(*_KEY)
_REMOVE_TO = _remove(*_BY_SUBJECT)


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
        return [self.subject, self.subject_relation, self.role]


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
        subject, subject_relation, after_role = after or ("", "", "")
        return await self._reader.all(
            Member,
            _PAGE,
            object=object_,
            role=role,
            subject=subject,
            subject_relation=subject_relation,
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

    async def remove_about(self, names: Sequence[str], *, limit: int) -> list[Relationship]:
        """Delete up to a number of relationships from and to objects; return those deleted, none if there are none."""
        for statement in (_REMOVE_FROM, _REMOVE_TO):
            rows = await self._reader.all(_Row, statement, names=list(names), limit=limit)
            if rows:
                return [row.relationship() for row in rows]
        return []
