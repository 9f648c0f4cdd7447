"""OrganizationService: its RPCs about organizations and groups. Those about members are in `organization_members`."""

from collections.abc import Iterable, Iterator
from typing import Final
from uuid import UUID

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask

from watchword.server import roles
from watchword.server.api import messages
from watchword.server.api.organization_members import MemberRpcs
from watchword.server.api.pages import Page, Pages
from watchword.server.asked import Consistency
from watchword.server.call import Call
from watchword.server.changes import remove_all_about
from watchword.server.errors import Conflict, InvalidField, ModelLacksRelation
from watchword.server.identifiers import Randomness, group_object, organization_object, user_object
from watchword.server.listings import Asking, Listings
from watchword.server.permissions.relationships import Relationship
from watchword.server.permissions.standing import Standing
from watchword.server.roles import OWNER, Roles
from watchword.server.storage import organizations as storage
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.organizations import Group, Organization
from watchword.server.storage.transaction import Reader, Tx
from watchword.server.validation import mask_paths
from watchword.v1 import organizations_pb2 as pb

_CAN_VIEW: Final = "can_view"
_ORGANIZATION: Final = "organization"
_AT_A_TIME: Final = 5_000
"""Ids given to one statement."""
_IN_AN_EVENT: Final = 100
"""Objects told in one event."""
_STATUS = {
    storage.ACTIVE: pb.ORGANIZATION_STATUS_ACTIVE,
    storage.DELETED: pb.ORGANIZATION_STATUS_DELETED,
}


class OrganizationService(MemberRpcs):
    """Serves organizations and groups, their members, and invitations."""

    def __init__(
        self,
        database: Database,
        role_rules: Roles,
        listings: Listings,
        standing: Standing,
        pages: Pages,
        *,
        randomness: Randomness,
    ) -> None:
        super().__init__(database, role_rules, pages, randomness=randomness)
        self._listings = listings
        self._standing = standing

    # ----- organizations ----------------------------------------------------------------------------------------------

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, call: Call
    ) -> pb.CreateOrganizationResponse:
        owner = _owner(request, call)
        model = await self._roles.model()
        async with self._database.write(call) as tx:
            organization = await tx.organizations.create(
                request.organization.organization_id or str(tx.new_id()), display_name=request.organization.display_name
            )
            tx.record(_event(EventType.ORGANIZATION_CREATED, organization))
            if owner is not None:
                subject = user_object(owner)
                await roles.require_subject(tx, roles.read_subject(subject), organization.id)
                row = roles.of_subject(subject, OWNER, organization.id)
                self._roles.require_fit(model, row, field="owner_user_id")
                await self._roles.give(tx, model, [row], organization.id)
            return tx.answered(
                pb.CreateOrganizationResponse(organization=_organization(organization), revision=tx.revision)
            )

    async def GetOrganization(self, request: pb.GetOrganizationRequest, _call: Call) -> pb.GetOrganizationResponse:
        async with self._database.read() as reader:
            organization = await reader.organizations.get(request.organization_id)
        return pb.GetOrganizationResponse(organization=_organization(organization))

    async def ListOrganizations(self, request: pb.ListOrganizationsRequest, call: Call) -> pb.ListOrganizationsResponse:
        page = self._pages.page(request, call)
        visible = await self._visible(call)
        async with self._database.read() as reader:
            if visible is None:
                rows = await reader.organizations.page(
                    include_deleted=request.include_deleted, after=page.after, size=page.fetch
                )
            else:
                rows = await _page_of(reader, visible, page, include_deleted=request.include_deleted)
        shown, token = self._pages.cut(page, rows, lambda organization: organization.organization_id)
        return pb.ListOrganizationsResponse(organizations=map(_organization, shown), next_page_token=token)

    async def _visible(self, call: Call) -> list[str] | None:
        """List the ids of the organizations that a user may view; None: the call is on behalf of nobody.

        For each page anew: what the user may not view any more must not be on it.
        """
        if call.user_id is None:
            return None
        try:
            listed = await self._listings.objects(
                user_object(call.user_id), _CAN_VIEW, _ORGANIZATION, Asking(), Consistency()
            )
        except InvalidField:
            raise ModelLacksRelation(_ORGANIZATION, _CAN_VIEW) from None
        return sorted(name.partition(":")[2] for name in listed.listing.names)

    async def UpdateOrganization(
        self, request: pb.UpdateOrganizationRequest, call: Call
    ) -> pb.UpdateOrganizationResponse:
        given = request.organization
        _require_id("organization.organization_id", given.organization_id)
        changes = _changes(request.update_mask, given)
        async with self._database.write(call) as tx:
            organization = await tx.organizations.lock(given.organization_id)
            organization.require_etag(given.etag)
            organization.require_not_deleted()
            if changes and changes["display_name"] != organization.display_name:
                organization = await tx.organizations.update(organization, changes)
                tx.record(_event(EventType.ORGANIZATION_UPDATED, organization, fields=sorted(changes)))
            return tx.answered(
                pb.UpdateOrganizationResponse(organization=_organization(organization), revision=tx.revision)
            )

    async def DeleteOrganization(
        self, request: pb.DeleteOrganizationRequest, call: Call
    ) -> pb.DeleteOrganizationResponse:
        async with self._database.write(call) as tx:
            organization = await tx.organizations.lock(request.organization_id)
            organization.require_etag(request.etag)
            if organization.status != storage.DELETED:
                organization = await self._delete(tx, organization)
            return tx.answered(
                pb.DeleteOrganizationResponse(organization=_organization(organization), revision=tx.revision)
            )

    async def _delete(self, tx: Tx, organization: Organization) -> Organization:
        """Delete an organization, whose row is locked, and all that belongs to it; no statement touches all of it."""
        name = organization_object(organization.id)
        organization = await tx.organizations.update(organization, storage.deleted(tx.now))
        tx.record(_event(EventType.ORGANIZATION_DELETED, organization))
        invitations = [f"invitation:{id_}" for id_ in await tx.invitations.end_all(organization.id)]
        groups = [group_object(id_) for id_ in await tx.groups.delete_all(organization.id)]
        for type_, names in ((EventType.INVITATION_REVOKED, invitations), (EventType.GROUP_DELETED, groups)):
            for some in _parts(names):
                payload = {"reason": "organization_deleted"}
                tx.record(Event(type_, tuple(some), organization=name, payload=payload))
        for some in ([name], *_parts(groups)):
            await remove_all_about(tx, self._standing, some, organization=name)
        return organization

    # ----- groups -----------------------------------------------------------------------------------------------------

    async def CreateGroup(self, request: pb.CreateGroupRequest, call: Call) -> pb.CreateGroupResponse:
        given = request.group
        model = await self._roles.model()
        async with self._database.write(call) as tx:
            (await tx.organizations.lock_shared(given.organization_id)).require_not_deleted()
            group = await tx.groups.create(
                given.organization_id, given.group_id or str(tx.new_id()), display_name=given.display_name
            )
            row = roles.of_group(group.group_id, group.organization_id)
            if model.plan.misfit(row) is not None:
                raise ModelLacksRelation("group", row.relation)
            tx.record(_event(EventType.GROUP_CREATED, group))
            await self._roles.give(tx, model, [row], group.organization_id)
            return tx.answered(pb.CreateGroupResponse(group=_group(group), revision=tx.revision))

    async def GetGroup(self, request: pb.GetGroupRequest, _call: Call) -> pb.GetGroupResponse:
        async with self._database.read() as reader:
            await reader.organizations.get(request.organization_id)
            group = await reader.groups.get(request.organization_id, request.group_id)
        return pb.GetGroupResponse(group=_group(group))

    async def ListGroups(self, request: pb.ListGroupsRequest, call: Call) -> pb.ListGroupsResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            organization = await reader.organizations.get(request.organization_id)
            rows = await reader.groups.page(
                organization.id, include_deleted=request.include_deleted, after=page.after, size=page.fetch
            )
        shown, token = self._pages.cut(page, rows, lambda group: group.group_id)
        return pb.ListGroupsResponse(groups=map(_group, shown), next_page_token=token)

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, call: Call) -> pb.UpdateGroupResponse:
        given = request.group
        _require_id("group.group_id", given.group_id)
        changes = _changes(request.update_mask, given)
        async with self._database.write(call) as tx:
            group = await tx.groups.lock(given.organization_id, given.group_id)
            group.require_etag(given.etag)
            group.require_not_deleted()
            if changes and changes["display_name"] != group.display_name:
                group = await tx.groups.update(group, changes)
                tx.record(_event(EventType.GROUP_UPDATED, group, fields=sorted(changes)))
            return tx.answered(pb.UpdateGroupResponse(group=_group(group), revision=tx.revision))

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, call: Call) -> pb.DeleteGroupResponse:
        organization = organization_object(request.organization_id)
        everybody = f"{group_object(request.group_id)}#{roles.MEMBER}"
        seen: list[Relationship] = []
        if call.user_id is not None:
            async with self._database.read() as reader:
                await reader.groups.get(request.organization_id, request.group_id)
                seen = await reader.members.roles_of(everybody, organization, None)
            # Its members lose what they have in the organization through it.
            await self._roles.require_own(call, seen, request.organization_id)
        async with self._database.write(call) as tx:
            await tx.organizations.lock(request.organization_id)
            group = await tx.groups.lock(request.organization_id, request.group_id)
            group.require_etag(request.etag)
            if group.status != storage.DELETED:
                taken = await tx.members.roles_of(everybody, organization, None)
                if call.user_id is not None and not set(taken) <= set(seen):
                    raise Conflict  # The group was given a role meanwhile that nobody has asked about.
                group = await tx.groups.update(group, storage.deleted(tx.now))
                tx.record(_event(EventType.GROUP_DELETED, group))
                await remove_all_about(tx, self._standing, [group_object(group.group_id)], organization=organization)
                await self._roles.require_owner(tx, taken, organization)
            return tx.answered(pb.DeleteGroupResponse(group=_group(group), revision=tx.revision))


def _owner(request: pb.CreateOrganizationRequest, call: Call) -> UUID | None:
    """Find out who is to own a new organization, if anybody is."""
    if call.user_id is None:
        return UUID(request.owner_user_id) if request.owner_user_id else None
    # Threat: who makes somebody answerable for an organization that they never wanted.
    if request.owner_user_id not in {"", str(call.user_id)}:
        raise InvalidField([("owner_user_id", "must be the user on whose behalf the call is made")])
    return call.user_id


def _require_id(field: str, given: str) -> None:
    if not given:
        raise InvalidField([(field, "is required")])


def _changes(mask: FieldMask, given: pb.Organization | pb.Group) -> dict[str, str]:
    """Give the columns that an update changes: of both resources it is the name alone."""
    descriptor: Descriptor = given.DESCRIPTOR
    # The etag guards an update; it is not a value to be written.
    paths = [name for name in mask_paths(mask, descriptor) if name != "etag"]
    if any(name != "display_name" for name in paths):
        raise InvalidField([("update_mask", "names a field that cannot be changed; only display_name can")])
    if not mask.paths and given.display_name:
        paths = ["display_name"]
    return dict.fromkeys(paths, given.display_name)


async def _page_of(reader: Reader, ids: list[str], page: Page, *, include_deleted: bool) -> list[Organization]:
    """Read a page of the organizations of some ids. Not every id is an organization's: anything can be related."""
    rows: list[Organization] = []
    remaining = [id_ for id_ in ids if id_ > page.after]
    for start in range(0, len(remaining), _AT_A_TIME):
        if len(rows) >= page.fetch:
            break
        rows += await reader.organizations.page(
            include_deleted=include_deleted,
            after=page.after,
            size=page.fetch - len(rows),
            among=remaining[start : start + _AT_A_TIME],
        )
    return rows


def _parts(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _IN_AN_EVENT):
        yield names[start : start + _IN_AN_EVENT]


def _event(type_: EventType, thing: Organization | Group, *, fields: Iterable[str] = ()) -> Event:
    organization = organization_object(thing.organization_id)
    objects = (group_object(thing.group_id), organization) if isinstance(thing, Group) else (organization,)
    payload = {"fields": list(fields)} if fields else {}
    return Event(type_, objects, organization=organization, payload=payload)


def _organization(row: Organization) -> pb.Organization:
    return pb.Organization(
        organization_id=row.organization_id,
        display_name=row.display_name,
        status=_STATUS[row.status],
        create_time=messages.timestamp(row.create_time),
        update_time=messages.timestamp(row.update_time),
        delete_time=messages.timestamp(row.delete_time),
        etag=row.etag,
    )


def _group(row: Group) -> pb.Group:
    return pb.Group(
        group_id=row.group_id,
        organization_id=row.organization_id,
        display_name=row.display_name,
        status=_STATUS[row.status],
        create_time=messages.timestamp(row.create_time),
        update_time=messages.timestamp(row.update_time),
        delete_time=messages.timestamp(row.delete_time),
        etag=row.etag,
    )
