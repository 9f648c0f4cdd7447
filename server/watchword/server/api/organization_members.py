"""The RPCs of OrganizationService about members and invitations."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from watchword.server import roles
from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.call import Call
from watchword.server.errors import Conflict, InvalidField, InvitationInvalid, WrongStatus
from watchword.server.identifiers import Randomness, group_object, organization_object, user_object
from watchword.server.permissions.relationships import Relationship
from watchword.server.roles import MEMBER, Roles
from watchword.server.storage import users
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.invitations import Invitation
from watchword.server.storage.transaction import Reader, Tx
from watchword.server.tokens import encode, hash_of
from watchword.v1 import organizations_pb2 as pb

_INVITATION_PREFIX: Final = "wwi"
_SECRET_BYTES: Final = 32
_SHORTEST_LIFE = timedelta(seconds=1)
_DEFAULT_LIFE = timedelta(days=7)
_LONGEST_LIFE = timedelta(days=30)
_SOMEBODY = user_object(UUID(int=0))


class MemberRpcs:
    """Serves members and invitations."""

    def __init__(self, database: Database, role_rules: Roles, pages: Pages, *, randomness: Randomness) -> None:
        self._database = database
        self._roles = role_rules
        self._pages = pages
        self._randomness = randomness

    # ----- members ----------------------------------------------------------------------------------------------------

    async def AddMember(self, request: pb.AddMemberRequest, call: Call) -> pb.AddMemberResponse:
        organization_id, group_id = request.organization_id, request.group_id
        subject = roles.read_subject(request.subject)
        role = roles.read_role(request.role) or MEMBER
        row = roles.of_subject(request.subject, role, organization_id, group_id)
        await self._require_own(call, [row], organization_id, group_id)
        model = await self._roles.model()
        async with self._database.write(call) as tx:
            (await tx.organizations.lock_shared(organization_id)).require_not_deleted()
            if group_id:
                (await tx.groups.get(organization_id, group_id)).require_not_deleted()
            self._roles.require_fit(model, row, field="subject" if row.subject == row.node else "role")
            await roles.require_subject(tx, subject, organization_id)
            await self._roles.give(tx, model, [row], organization_id)
            member = pb.Member(subject=request.subject, role=role)
            return tx.answered(pb.AddMemberResponse(member=member, revision=tx.revision))

    async def RemoveMember(self, request: pb.RemoveMemberRequest, call: Call) -> pb.RemoveMemberResponse:
        roles.read_subject(request.subject)
        role = roles.read_role(request.role, default=None)
        seen: list[Relationship] = []
        if call.user_id is not None:
            async with self._database.read() as reader:
                seen = await _roles_of(reader, request, role)
            await self._require_own(call, seen, request.organization_id, request.group_id)
        async with self._database.write(call) as tx:
            await tx.organizations.lock(request.organization_id)
            if request.group_id:
                await tx.groups.get(request.organization_id, request.group_id)
            rows = await _roles_of(tx, request, role)
            if call.user_id is not None and not _keys(rows) <= _keys(seen):
                raise Conflict  # A role was given meanwhile, and nobody has asked whether the user may take it away.
            count = await self._roles.take(tx, rows, request.organization_id)
            return tx.answered(pb.RemoveMemberResponse(removed_count=count, revision=tx.revision))

    async def ListMembers(self, request: pb.ListMembersRequest, call: Call) -> pb.ListMembersResponse:
        page = self._pages.page(request, call)
        role = roles.read_role(request.role, default=None)
        async with self._database.read() as reader:
            organization = await reader.organizations.get(request.organization_id)
            object_ = organization_object(organization.organization_id)
            if request.group_id:
                group = await reader.groups.get(organization.organization_id, request.group_id)
                object_ = group_object(group.group_id)
            after = json.loads(page.after) if page.after else None
            rows = await reader.members.page(object_, role, after=after, size=page.fetch)
        shown, token = self._pages.cut(page, rows, lambda member: json.dumps(member.position))
        return pb.ListMembersResponse(
            members=[pb.Member(subject=member.name, role=member.role) for member in shown], next_page_token=token
        )

    async def _require_own(self, call: Call, rows: Sequence[Relationship], organization_id: str, group_id: str) -> None:
        if call.user_id is not None and group_id:
            # Threat: who learns from a refusal that another organization has a group, or who is in it.
            async with self._database.read() as reader:
                await reader.groups.get(organization_id, group_id)
        await self._roles.require_own(call, rows, organization_id)

    # ----- invitations ------------------------------------------------------------------------------------------------

    async def CreateInvitation(self, request: pb.CreateInvitationRequest, call: Call) -> pb.CreateInvitationResponse:
        organization_id = request.organization_id
        role = roles.read_role(request.role) or MEMBER
        row = roles.of_subject(_SOMEBODY, role, organization_id)
        await self._roles.require_own(call, [row], organization_id)
        model = await self._roles.model()
        async with self._database.write(call) as tx:
            (await tx.organizations.lock_shared(organization_id)).require_not_deleted()
            self._roles.require_fit(model, row, field="role")
            invitation_id = tx.new_id()
            token = f"{_INVITATION_PREFIX}_{invitation_id.hex}_{encode(self._randomness(_SECRET_BYTES))}"
            invitation = await tx.invitations.create(
                invitation_id,
                organization_id,
                role=role,
                email=request.email,
                token_hash=hash_of(token),
                expire_time=_expire_time(tx, request.expire_time if request.HasField("expire_time") else None),
            )
            tx.record(_event(EventType.INVITATION_CREATED, invitation, personal={"email": request.email}))
            return tx.answered(
                pb.CreateInvitationResponse(
                    invitation=_message(invitation), invitation_token=token, revision=tx.revision
                )
            )

    async def ListInvitations(self, request: pb.ListInvitationsRequest, call: Call) -> pb.ListInvitationsResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            organization = await reader.organizations.get(request.organization_id)
            rows = await reader.invitations.page(
                organization.organization_id, after=UUID(page.after) if page.after else None, size=page.fetch
            )
        shown, token = self._pages.cut(page, rows, lambda invitation: invitation.invitation_id)
        return pb.ListInvitationsResponse(invitations=map(_message, shown), next_page_token=token)

    async def RevokeInvitation(self, request: pb.RevokeInvitationRequest, call: Call) -> pb.RevokeInvitationResponse:
        async with self._database.write(call) as tx:
            invitation = await tx.invitations.lock(request.organization_id, UUID(request.invitation_id))
            if not invitation.ended(tx.now):
                await tx.invitations.end(invitation)
                tx.record(_event(EventType.INVITATION_REVOKED, invitation))
            return tx.answered(pb.RevokeInvitationResponse(revision=tx.revision))

    async def AcceptInvitation(self, request: pb.AcceptInvitationRequest, call: Call) -> pb.AcceptInvitationResponse:
        user_id = _accepting(request, call)
        model = await self._roles.model()
        async with self._database.write(call) as tx:
            invitation = await _lock(tx, request.invitation_token)
            user = await tx.users.lock_shared(user_id)
            if user.status != users.ACTIVE:
                raise WrongStatus("user", str(user_id), user.status)
            row = roles.of_subject(user_object(user_id), invitation.role, invitation.organization_id)
            try:
                self._roles.require_fit(model, row, field="role")
            except InvalidField:
                raise InvitationInvalid from None  # The model has changed: nobody can be given this role any more.
            await self._roles.give(tx, model, [row], invitation.organization_id)
            await tx.invitations.end(invitation)
            tx.record(_event(EventType.INVITATION_ACCEPTED, invitation, user_object(user_id)))
            return tx.answered(
                pb.AcceptInvitationResponse(
                    organization_id=invitation.organization_id, role=invitation.role, revision=tx.revision
                )
            )


async def _roles_of(reader: Reader, request: pb.RemoveMemberRequest, role: str | None) -> list[Relationship]:
    """Find the roles that a request takes away: in one group, or in the organization and all its groups."""
    if request.group_id:
        return await reader.members.roles_of(request.subject, group_object(request.group_id), role)
    return await reader.members.roles_of(
        request.subject, organization_object(request.organization_id), role, groups_of=request.organization_id
    )


def _keys(rows: Sequence[Relationship]) -> set[tuple[str, str]]:
    return {(row.relation, row.object) for row in rows}


def _expire_time(tx: Tx, given: Timestamp | None) -> datetime:
    if given is None:
        return tx.now + _DEFAULT_LIFE
    expire_time = messages.time(given)
    if not tx.now + _SHORTEST_LIFE <= expire_time <= tx.now + _LONGEST_LIFE:
        raise InvalidField([("expire_time", "must be from a second to 30 days from now")])
    return expire_time


def _accepting(request: pb.AcceptInvitationRequest, call: Call) -> UUID:
    """Find out who accepts."""
    if call.user_id is None:
        if not request.user_id:
            raise InvalidField([("user_id", "is required, unless the call is made on behalf of a user")])
        return UUID(request.user_id)
    # Threat: who got hold of an invitation makes somebody a member who has not agreed.
    if request.user_id not in {"", str(call.user_id)}:
        raise InvalidField([("user_id", "must be the user on whose behalf the call is made")])
    return call.user_id


async def _lock(tx: Tx, token: str) -> Invitation:
    """Find the invitation of a token and keep everybody else from accepting it until the transaction ends.

    Raises:
        InvitationInvalid: there is none, or it has ended.

    """
    found = await tx.invitations.find(hash_of(token))
    if found is None:
        raise InvitationInvalid
    # The organization's row first, as everywhere: its deletion, which ends this, must not miss the new member.
    await tx.organizations.lock_shared(found.organization_id)
    invitation = await tx.invitations.lock(found.organization_id, found.invitation_id)
    if invitation.ended(tx.now):
        raise InvitationInvalid
    return invitation


def _message(row: Invitation) -> pb.Invitation:
    return pb.Invitation(
        invitation_id=str(row.invitation_id),
        organization_id=row.organization_id,
        role=row.role,
        email=row.email,
        create_time=messages.timestamp(row.create_time),
        expire_time=messages.timestamp(row.expire_time),
    )


def _event(type_: EventType, invitation: Invitation, *others: str, personal: dict[str, str] | None = None) -> Event:
    organization = organization_object(invitation.organization_id)
    return Event(
        type_,
        (f"invitation:{invitation.invitation_id}", organization, *others),
        organization=organization,
        payload={"role": invitation.role},
        personal=personal or {},
    )
