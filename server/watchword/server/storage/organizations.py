"""Organizations and their groups: rows, and the statements on them. Who belongs to them is in `members`.

Whoever changes members locks the organization's row first, before groups, accounts and relationships: shared to add,
alone to take away or to delete. So nothing is added to what is being deleted, and two calls that take away an
organization's last two owners come one after the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import ARRAY, Text, any_, bindparam, insert, select, update

from watchword.server.errors import EtagMismatch, NotFound, WrongStatus
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

ACTIVE, DELETED = "active", "deleted"

_o = t.organizations.c
_g = t.groups.c
_ORGANIZATION = select(t.organizations).where(_o.organization_id == bindparam("id"))
_GET = Statement(_ORGANIZATION)
_LOCK = Statement(_ORGANIZATION.with_for_update())
_LOCK_SHARED = Statement(_ORGANIZATION.with_for_update(read=True))
_CREATE = Statement(
    insert(t.organizations)
    .values(
        organization_id=bindparam("organization_id"),
        display_name=bindparam("display_name"),
        status=ACTIVE,
        create_time=bindparam("now"),
        update_time=bindparam("now"),
    )
    .returning(t.organizations)
)
# Never by the group's id alone: a group of another organization must look like one that does not exist.
_GROUP = select(t.groups).where(_g.group_id == bindparam("id"), _g.organization_id == bindparam("organization_id"))
_GET_GROUP = Statement(_GROUP)
_LOCK_GROUP = Statement(_GROUP.with_for_update())
_CREATE_GROUP = Statement(
    insert(t.groups)
    .values(
        group_id=bindparam("group_id"),
        organization_id=bindparam("organization_id"),
        display_name=bindparam("display_name"),
        status=ACTIVE,
        create_time=bindparam("now"),
        update_time=bindparam("now"),
    )
    .returning(t.groups)
)
_DELETE_GROUPS = Statement(
    update(t.groups)
    .where(_g.organization_id == bindparam("id"), _g.status != DELETED)
    .values(
        status=DELETED,
        display_name="",
        delete_time=bindparam("now"),
        update_time=bindparam("now"),
        version=_g.version + 1,
    )
    .returning(_g.group_id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lasting:
    """What is never removed: once deleted, its row keeps its id from being used again."""

    type: ClassVar[str]

    display_name: str
    status: str
    version: int
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None

    @property
    def id(self) -> str:
        """The id."""
        raise NotImplementedError

    @property
    def etag(self) -> str:
        """What changes with every change of the row."""
        return f"{self.version}"

    def require_etag(self, etag: str) -> None:
        """Refuse a change that was made on an older reading.

        Raises:
            EtagMismatch: an etag was given and is not the current one.

        """
        if etag and etag != self.etag:
            raise EtagMismatch

    def require_not_deleted(self) -> None:
        """Refuse to change what is gone.

        Raises:
            WrongStatus: it is deleted.

        """
        if self.status == DELETED:
            raise WrongStatus(self.type, self.id, self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization(_Lasting):
    """An organization's row."""

    type = "organization"

    organization_id: str

    @property
    def id(self) -> str:
        """The id."""
        return self.organization_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(_Lasting):
    """A group's row."""

    type = "group"

    group_id: str
    organization_id: str

    @property
    def id(self) -> str:
        """The id."""
        return self.group_id


def deleted(now: datetime) -> Mapping[str, Any]:
    """Give the columns of what only the id, the times and the status remain of."""
    return {"display_name": "", "status": DELETED, "delete_time": now}


class Organizations:
    """The organizations of a database."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, organization_id: str) -> Organization:
        """Get an organization by id, deleted or not.

        Raises:
            NotFound: there never was one.

        """
        return await self._one(_GET, organization_id)

    async def lock(self, organization_id: str) -> Organization:
        """Get an organization and keep it, its groups and its members as they are until the transaction ends.

        Raises:
            NotFound: there never was one.

        """
        return await self._one(_LOCK, organization_id)

    async def lock_shared(self, organization_id: str) -> Organization:
        """Get an organization and keep everybody from deleting it, or taking away a role in it, until then.

        Raises:
            NotFound: there never was one.

        """
        return await self._one(_LOCK_SHARED, organization_id)

    async def _one(self, statement: Statement, organization_id: str) -> Organization:
        organization = await self._reader.one(Organization, statement, id=organization_id)
        if organization is None:
            raise NotFound("organization", organization_id)
        return organization

    async def page(
        self, *, include_deleted: bool, after: str, size: int, among: Sequence[str] | None = None
    ) -> list[Organization]:
        """List organizations by id, beginning behind one; all, or those of some ids."""
        statement = select(t.organizations).where(_o.organization_id > after)
        if not include_deleted:
            statement = statement.where(_o.status != DELETED)
        if among is not None:
            statement = statement.where(_o.organization_id == any_(bindparam("ids", list(among), type_=ARRAY(Text))))
        return await self._reader.all(Organization, Statement(statement.order_by(_o.organization_id).limit(size)))

    async def create(self, organization_id: str, *, display_name: str) -> Organization:
        """Create an organization, active from now."""
        organization = await self._reader.one(
            Organization,
            _CREATE,
            organization_id=organization_id,
            display_name=display_name,
            now=self._reader.now,
        )
        if organization is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return organization

    async def update(self, organization: Organization, values: Mapping[str, Any]) -> Organization:
        """Change columns of an organization whose row this transaction has locked."""
        statement = (
            update(t.organizations)
            .where(_o.organization_id == organization.organization_id)
            .values({**values, "version": _o.version + 1, "update_time": self._reader.now})
            .returning(t.organizations)
        )
        changed = await self._reader.one(Organization, Statement(statement))
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed


class Groups:
    """The groups of a database's organizations."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, organization_id: str, group_id: str) -> Group:
        """Get a group of an organization by id, deleted or not.

        Raises:
            NotFound: the organization never had one of this id.

        """
        return await self._one(_GET_GROUP, organization_id, group_id)

    async def lock(self, organization_id: str, group_id: str) -> Group:
        """Get a group of an organization and keep everybody else from changing it until the transaction ends.

        Raises:
            NotFound: the organization never had one of this id.

        """
        return await self._one(_LOCK_GROUP, organization_id, group_id)

    async def _one(self, statement: Statement, organization_id: str, group_id: str) -> Group:
        group = await self._reader.one(Group, statement, id=group_id, organization_id=organization_id)
        if group is None:
            raise NotFound("group", group_id)
        return group

    async def page(self, organization_id: str, *, include_deleted: bool, after: str, size: int) -> list[Group]:
        """List groups of an organization by id, beginning behind one."""
        statement = select(t.groups).where(_g.organization_id == organization_id, _g.group_id > after)
        if not include_deleted:
            statement = statement.where(_g.status != DELETED)
        return await self._reader.all(Group, Statement(statement.order_by(_g.group_id).limit(size)))

    async def create(self, organization_id: str, group_id: str, *, display_name: str) -> Group:
        """Create a group in an organization, active from now."""
        group = await self._reader.one(
            Group,
            _CREATE_GROUP,
            group_id=group_id,
            organization_id=organization_id,
            display_name=display_name,
            now=self._reader.now,
        )
        if group is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return group

    async def update(self, group: Group, values: Mapping[str, Any]) -> Group:
        """Change columns of a group whose row this transaction has locked."""
        statement = (
            update(t.groups)
            .where(_g.group_id == group.group_id)
            .values({**values, "version": _g.version + 1, "update_time": self._reader.now})
            .returning(t.groups)
        )
        changed = await self._reader.one(Group, Statement(statement))
        if changed is None:
            raise AssertionError("the locked row is there")
        return changed

    async def delete_all(self, organization_id: str) -> list[str]:
        """Delete all groups of an organization whose row this transaction has locked; return their ids."""
        rows = await self._reader.all(_Id, _DELETE_GROUPS, id=organization_id, now=self._reader.now)
        return sorted(row.group_id for row in rows)


@dataclass(frozen=True, slots=True)
class _Id:
    group_id: str
