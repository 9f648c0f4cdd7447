# Made by client/make_sync.py from client/watchword/client/_async/groups.py: do not edit.
"""Groups of organizations."""

from collections.abc import Iterator

from watchword.client import _convert_organizations as _convert
from watchword.client._organization_models import Group
from watchword.client._sync.connection import Connection
from watchword.client._sync.pages import walk
from watchword.client._transport import new_id
from watchword.client.models import UNSET, Page, Unset
from watchword.v1 import organizations_pb2 as pb


class Groups:
    """Groups of organizations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create_group(
        self,
        organization_id: str,
        group_id: str | None = None,
        *,
        display_name: str | None = None,
        request_id: str | None = None,
    ) -> Group:
        """Create a group in an organization.

        Args:
            organization_id: The organization.
            group_id: Its name for good, unique among all organizations; at most 128 bytes. Default: made by the
                server.
            display_name: The name to show to people; at most 256 bytes.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such organization.
            AlreadyExistsError: One, perhaps a deleted one, has the id.
            WrongStatusError: The organization is deleted.

        """
        request = pb.CreateGroupRequest(
            group=pb.Group(group_id=group_id or "", organization_id=organization_id, display_name=display_name or ""),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.CreateGroupResponse)
        return _convert.group(response.group)

    def get_group(self, organization_id: str, group_id: str) -> Group:
        """Get a group, even a deleted one.

        Raises:
            NotFoundError: There is none.

        """
        request = pb.GetGroupRequest(organization_id=organization_id, group_id=group_id)
        response = self._connection.call(request, pb.GetGroupResponse)
        return _convert.group(response.group)

    def list_groups(
        self, organization_id: str, *, include_deleted: bool = False, page_size: int = 0
    ) -> Iterator[Group]:
        """Walk through the groups of an organization by id, page after page. Arguments as in `list_groups_page`."""
        return walk(
            lambda page_token: self.list_groups_page(
                organization_id, include_deleted=include_deleted, page_size=page_size, page_token=page_token
            )
        )

    def list_groups_page(
        self,
        organization_id: str,
        *,
        include_deleted: bool = False,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[Group]:
        """Get one page of the groups of an organization by id.

        Args:
            organization_id: The organization.
            include_deleted: Deleted ones too.
            page_size: The most groups to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            NotFoundError: There is no such organization.
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListGroupsRequest(
            organization_id=organization_id,
            include_deleted=include_deleted,
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, pb.ListGroupsResponse)
        return Page(items=tuple(map(_convert.group, response.groups)), next_page_token=response.next_page_token or None)

    def update_group(
        self,
        organization_id: str,
        group_id: str,
        *,
        display_name: str | Unset | None = UNSET,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> Group:
        """Change fields of a group: those that are passed; None clears one.

        Raises:
            NotFoundError: There is no such group.
            EtagMismatchError: `etag` was passed and the group has changed since.
            WrongStatusError: The group is deleted.

        """
        request = pb.UpdateGroupRequest(
            group=pb.Group(group_id=group_id, organization_id=organization_id, etag=etag or ""),
            request_id=request_id or new_id(),
        )
        if not isinstance(display_name, Unset):
            request.group.display_name = display_name or ""
            request.update_mask.paths.append("display_name")
        response = self._connection.call(request, pb.UpdateGroupResponse)
        return _convert.group(response.group)

    def delete_group(
        self, organization_id: str, group_id: str, *, etag: str | None = None, request_id: str | None = None
    ) -> Group:
        """Delete a group for good, with all relationships from and to it. Its id is never used again.

        Raises:
            NotFoundError: There is no such group.
            EtagMismatchError: The group has changed since `etag` was read.

        """
        request = pb.DeleteGroupRequest(
            organization_id=organization_id,
            group_id=group_id,
            etag=etag or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.DeleteGroupResponse)
        return _convert.group(response.group)
