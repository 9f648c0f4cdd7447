"""Organizations, their groups and members, and invitations."""

from collections.abc import AsyncIterator

from watchword.client import _convert_organizations as _convert
from watchword.client._async.groups import AsyncGroups
from watchword.client._async.members import AsyncMembers
from watchword.client._async.pages import walk
from watchword.client._organization_models import Organization
from watchword.client._transport import new_id
from watchword.client.models import UNSET, Page, Unset
from watchword.v1 import organizations_pb2 as pb


class AsyncOrganizations(AsyncGroups, AsyncMembers):
    """Organizations. What is common to all methods is described at `AsyncClient`.

    Who belongs to an organization or group, and in what role, are relationships of "organization:<organization_id>"
    and "group:<group_id>". On behalf of a user, a method may raise `AccessDeniedError` besides what it names.
    """

    async def create(
        self,
        organization_id: str | None = None,
        *,
        display_name: str | None = None,
        owner_user_id: str | None = None,
        request_id: str | None = None,
    ) -> Organization:
        """Create an organization.

        Args:
            organization_id: Its name for good, such as "acme"; at most 128 bytes. Default: made by the server.
            display_name: The name to show to people; at most 256 bytes.
            owner_user_id: A user who becomes its owner. Default: the user of `on_behalf_of`, if there is one.
            request_id: See `AsyncClient`.

        Raises:
            AlreadyExistsError: One, perhaps a deleted one, has the id.
            NotFoundError: There is no such user.

        """
        request = pb.CreateOrganizationRequest(
            organization=pb.Organization(organization_id=organization_id or "", display_name=display_name or ""),
            owner_user_id=owner_user_id or "",
            request_id=request_id or new_id(),
        )
        response = await self._connection.call(request, pb.CreateOrganizationResponse)
        return _convert.organization(response.organization)

    async def get(self, organization_id: str) -> Organization:
        """Get an organization, even a deleted one.

        Raises:
            NotFoundError: There is none.

        """
        request = pb.GetOrganizationRequest(organization_id=organization_id)
        response = await self._connection.call(request, pb.GetOrganizationResponse)
        return _convert.organization(response.organization)

    def list(self, *, include_deleted: bool = False, page_size: int = 0) -> AsyncIterator[Organization]:
        """Walk through organizations by id, page after page. Arguments as in `list_page`."""
        return walk(
            lambda page_token: self.list_page(
                include_deleted=include_deleted, page_size=page_size, page_token=page_token
            )
        )

    async def list_page(
        self, *, include_deleted: bool = False, page_size: int = 0, page_token: str | None = None
    ) -> Page[Organization]:
        """Get one page of organizations by id; on behalf of a user, of those that the user may view.

        Args:
            include_deleted: Deleted ones too.
            page_size: The most organizations to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListOrganizationsRequest(
            include_deleted=include_deleted, page_size=page_size, page_token=page_token or ""
        )
        response = await self._connection.call(request, pb.ListOrganizationsResponse)
        return Page(
            items=tuple(map(_convert.organization, response.organizations)),
            next_page_token=response.next_page_token or None,
        )

    async def update(
        self,
        organization_id: str,
        *,
        display_name: str | Unset | None = UNSET,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> Organization:
        """Change fields of an organization: those that are passed; None clears one.

        Raises:
            NotFoundError: There is no such organization.
            EtagMismatchError: `etag` was passed and the organization has changed since.
            WrongStatusError: The organization is deleted.

        """
        request = pb.UpdateOrganizationRequest(
            organization=pb.Organization(organization_id=organization_id, etag=etag or ""),
            request_id=request_id or new_id(),
        )
        if not isinstance(display_name, Unset):
            request.organization.display_name = display_name or ""
            request.update_mask.paths.append("display_name")
        response = await self._connection.call(request, pb.UpdateOrganizationResponse)
        return _convert.organization(response.organization)

    async def delete(
        self, organization_id: str, *, etag: str | None = None, request_id: str | None = None
    ) -> Organization:
        """Delete an organization for good, with its groups, invitations and all relationships from and to them.

        Its id is never used again.

        Raises:
            NotFoundError: There is no such organization.
            EtagMismatchError: The organization has changed since `etag` was read.

        """
        request = pb.DeleteOrganizationRequest(
            organization_id=organization_id, etag=etag or "", request_id=request_id or new_id()
        )
        response = await self._connection.call(request, pb.DeleteOrganizationResponse)
        return _convert.organization(response.organization)
