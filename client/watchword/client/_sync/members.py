# Made by client/make_sync.py from client/watchword/client/_async/members.py: do not edit.
"""Members of organizations, and invitations to become one."""

from collections.abc import Iterator
from datetime import datetime

from watchword.client import _convert_organizations as _convert
from watchword.client._convert import time_message
from watchword.client._organization_models import (
    AcceptedInvitation,
    AddedMember,
    CreatedInvitation,
    Invitation,
    Member,
    RemovedMember,
)
from watchword.client._sync.connection import Connection
from watchword.client._sync.pages import walk
from watchword.client._transport import new_id
from watchword.client.models import Page
from watchword.v1 import organizations_pb2 as pb


class Members:
    """Members of organizations, and invitations to become one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add_member(
        self,
        organization_id: str,
        subject: str,
        *,
        group_id: str | None = None,
        role: str | None = None,
        request_id: str | None = None,
    ) -> AddedMember:
        """Give an account, or the members of a group, a role. Giving it again changes nothing.

        Args:
            organization_id: The organization.
            subject: Who: "user:<user_id>", "service:<service_account_id>" or "group:<group_id>#member".
            group_id: A group of that organization, if the role is in the group.
            role: The role. Default: "member".
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such organization, group or account.
            InvalidArgumentError: The permission model does not allow the role.
            WrongStatusError: One of them is deleted.
            ModelLacksRelationError: The permission model does not define what this needs.

        """
        request = pb.AddMemberRequest(
            organization_id=organization_id,
            group_id=group_id or "",
            subject=subject,
            role=role or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.AddMemberResponse)
        return AddedMember(member=_convert.member(response.member), revision=response.revision)

    def remove_member(
        self,
        organization_id: str,
        subject: str,
        *,
        group_id: str | None = None,
        role: str | None = None,
        request_id: str | None = None,
    ) -> RemovedMember:
        """Take roles away. Taking away what is not there changes nothing.

        Args:
            organization_id: The organization.
            subject: Who, as in `add_member`.
            group_id: A group of that organization, if the role is in the group. Without one, the roles in the
                organization's groups go too.
            role: The role. Default: every role there.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such organization or group.
            LastOwnerError: The organization would be left without an owner.

        """
        request = pb.RemoveMemberRequest(
            organization_id=organization_id,
            group_id=group_id or "",
            subject=subject,
            role=role or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.RemoveMemberResponse)
        return RemovedMember(removed_count=response.removed_count, revision=response.revision)

    def list_members(
        self,
        organization_id: str,
        *,
        group_id: str | None = None,
        role: str | None = None,
        page_size: int = 0,
    ) -> Iterator[Member]:
        """Walk through the members by subject, page after page. Arguments as in `list_members_page`."""
        return walk(
            lambda page_token: self.list_members_page(
                organization_id, group_id=group_id, role=role, page_size=page_size, page_token=page_token
            )
        )

    def list_members_page(
        self,
        organization_id: str,
        *,
        group_id: str | None = None,
        role: str | None = None,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[Member]:
        """Get one page of those who were given a role, by subject: one item for each role that somebody has.

        Args:
            organization_id: The organization.
            group_id: A group of that organization, to list its members instead.
            role: Only members in this role.
            page_size: The most members to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            NotFoundError: There is no such organization or group.
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListMembersRequest(
            organization_id=organization_id,
            group_id=group_id or "",
            role=role or "",
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, pb.ListMembersResponse)
        return Page(
            items=tuple(map(_convert.member, response.members)), next_page_token=response.next_page_token or None
        )

    def create_invitation(
        self,
        organization_id: str,
        *,
        role: str | None = None,
        email: str | None = None,
        expire_time: datetime | None = None,
        request_id: str | None = None,
    ) -> CreatedInvitation:
        """Invite somebody. The invitation's token is in this answer and nowhere else: send it to the person.

        Whoever has the token may accept, once, until it expires.

        Args:
            organization_id: Where to.
            role: The role that whoever accepts gets. Default: "member".
            email: Whom it is meant for, to be shown in lists; it does not limit who may accept.
            expire_time: Until when it can be accepted, at most 30 days from now. Default: 7 days from now.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such organization.
            InvalidArgumentError: The permission model does not allow users the role.
            WrongStatusError: The organization is deleted.

        """
        request = pb.CreateInvitationRequest(
            organization_id=organization_id,
            role=role or "",
            email=email or "",
            expire_time=time_message(expire_time),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.CreateInvitationResponse)
        return CreatedInvitation(
            invitation=_convert.invitation(response.invitation), invitation_token=response.invitation_token
        )

    def list_invitations(self, organization_id: str, *, page_size: int = 0) -> Iterator[Invitation]:
        """Walk through the invitations that can still be accepted. Arguments as in `list_invitations_page`."""
        return walk(
            lambda page_token: self.list_invitations_page(organization_id, page_size=page_size, page_token=page_token)
        )

    def list_invitations_page(
        self, organization_id: str, *, page_size: int = 0, page_token: str | None = None
    ) -> Page[Invitation]:
        """Get one page of the invitations that can still be accepted, in the order of their creation.

        Args:
            organization_id: The organization.
            page_size: The most invitations to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            NotFoundError: There is no such organization.
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListInvitationsRequest(
            organization_id=organization_id, page_size=page_size, page_token=page_token or ""
        )
        response = self._connection.call(request, pb.ListInvitationsResponse)
        return Page(
            items=tuple(map(_convert.invitation, response.invitations)),
            next_page_token=response.next_page_token or None,
        )

    def revoke_invitation(self, organization_id: str, invitation_id: str, *, request_id: str | None = None) -> None:
        """Revoke an invitation. Revoking one that ended changes nothing.

        Raises:
            NotFoundError: There is no such invitation.

        """
        request = pb.RevokeInvitationRequest(
            organization_id=organization_id, invitation_id=invitation_id, request_id=request_id or new_id()
        )
        self._connection.call(request, pb.RevokeInvitationResponse)

    def accept_invitation(
        self, invitation_token: str, *, user_id: str | None = None, request_id: str | None = None
    ) -> AcceptedInvitation:
        """Make a user a member in the invitation's role and end the invitation.

        Args:
            invitation_token: The token that `create_invitation` answered with.
            user_id: The user who accepts. Default: the user of `on_behalf_of`.
            request_id: See `Client`.

        Raises:
            InvitationInvalidError: It is unknown, expired, revoked or used.
            NotFoundError: There is no such user.
            WrongStatusError: The user is not active.

        """
        request = pb.AcceptInvitationRequest(
            invitation_token=invitation_token, user_id=user_id or "", request_id=request_id or new_id()
        )
        response = self._connection.call(request, pb.AcceptInvitationResponse)
        return AcceptedInvitation(
            organization_id=response.organization_id, role=response.role, revision=response.revision
        )
