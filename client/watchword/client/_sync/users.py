# Made by client/make_sync.py from client/watchword/client/_async/users.py: do not edit.
"""Accounts of people."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from watchword.client import _convert
from watchword.client._imports import MAX_USERS, Batches, UserTally
from watchword.client._streams import Each, Source
from watchword.client._sync.connection import Connection
from watchword.client._sync.exports import exported
from watchword.client._sync.imports import Import
from watchword.client._sync.pages import walk
from watchword.client._transport import new_id
from watchword.client.models import (
    UNSET,
    ExportedUser,
    ImportedUser,
    ImportedUsers,
    Page,
    Unset,
    User,
    UserBatch,
    UserImportResult,
    UserStatus,
)
from watchword.v1 import users_pb2


class Users:
    """Accounts of people. What is common to all methods is described at `Client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        *,
        email: str | None = None,
        username: str | None = None,
        display_name: str | None = None,
        locale: str | None = None,
        external_id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        password: str | None = None,
        request_id: str | None = None,
    ) -> User:
        """Create a user, active at once.

        Args:
            email: The e-mail address. At least one of it, username and external id is needed; each is unique.
            username: A name to sign in with, 1 to 64 characters without "@".
            display_name: The name to show to people; at most 512 bytes.
            locale: A BCP 47 language tag.
            external_id: Your own id of the user; at most 256 bytes.
            attributes: Whatever else you keep of the user; a JSON object of at most 16 KiB.
            password: 8 to 256 characters. Default: the user cannot sign in with a password yet.
            request_id: See `Client`.

        Raises:
            AlreadyExistsError: Another user has the address, the username or the external id.
            PasswordRefusedError: The password is too short, too long, common or personal.
            ServerBusyError: Too many passwords wait to be hashed.

        """
        request = users_pb2.CreateUserRequest(
            user=_convert.user_message(
                email=email,
                username=username,
                display_name=display_name,
                locale=locale,
                external_id=external_id,
                attributes=attributes,
            ),
            password=password or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, users_pb2.CreateUserResponse)
        return _convert.user(response.user)

    def get(self, user_id: str) -> User:
        """Get a user, even a deleted one.

        Raises:
            NotFoundError: There is none.

        """
        return self._get(users_pb2.GetUserRequest(user_id=user_id))

    def get_by_email(self, email: str) -> User:
        """Get a user by e-mail address, whatever the case.

        Raises:
            NotFoundError: There is none.

        """
        return self._get(users_pb2.GetUserRequest(email=email))

    def get_by_username(self, username: str) -> User:
        """Get a user by username, whatever the case.

        Raises:
            NotFoundError: There is none.

        """
        return self._get(users_pb2.GetUserRequest(username=username))

    def get_by_external_id(self, external_id: str) -> User:
        """Get a user by your own id, compared byte for byte.

        Raises:
            NotFoundError: There is none.

        """
        return self._get(users_pb2.GetUserRequest(external_id=external_id))

    def _get(self, request: users_pb2.GetUserRequest) -> User:
        response = self._connection.call(request, users_pb2.GetUserResponse)
        return _convert.user(response.user)

    def batch_get(self, user_ids: Iterable[str]) -> UserBatch:
        """Get 1 to 1,000 users at one moment; ids that do not exist are part of the answer."""
        request = users_pb2.BatchGetUsersRequest(user_ids=user_ids)
        response = self._connection.call(request, users_pb2.BatchGetUsersResponse)
        return UserBatch(
            users=tuple(map(_convert.user, response.users)), missing_user_ids=tuple(response.missing_user_ids)
        )

    def list(
        self,
        *,
        statuses: Iterable[UserStatus] = (),
        email_prefix: str | None = None,
        create_time_from: datetime | None = None,
        create_time_until: datetime | None = None,
        page_size: int = 0,
    ) -> Iterator[User]:
        """Walk through users, page after page. Order and arguments as in `list_page`."""
        statuses = tuple(statuses)
        return walk(
            lambda page_token: self.list_page(
                statuses=statuses,
                email_prefix=email_prefix,
                create_time_from=create_time_from,
                create_time_until=create_time_until,
                page_size=page_size,
                page_token=page_token,
            )
        )

    def list_page(
        self,
        *,
        statuses: Iterable[UserStatus] = (),
        email_prefix: str | None = None,
        create_time_from: datetime | None = None,
        create_time_until: datetime | None = None,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[User]:
        """Get one page of users in the order of their creation, or with `email_prefix` of their addresses.

        Args:
            statuses: Users with one of these. Default: active and suspended.
            email_prefix: Users whose address starts with this, whatever the case.
            create_time_from: Users created at this time or later.
            create_time_until: Users created before this time.
            page_size: The most users to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = users_pb2.ListUsersRequest(
            page_size=page_size,
            page_token=page_token or "",
            filter=_convert.user_filter_message(statuses, email_prefix, create_time_from, create_time_until),
        )
        response = self._connection.call(request, users_pb2.ListUsersResponse)
        return Page(items=tuple(map(_convert.user, response.users)), next_page_token=response.next_page_token or None)

    def update(
        self,
        user_id: str,
        *,
        email: str | Unset | None = UNSET,
        username: str | Unset | None = UNSET,
        display_name: str | Unset | None = UNSET,
        locale: str | Unset | None = UNSET,
        external_id: str | Unset | None = UNSET,
        attributes: Mapping[str, Any] | Unset | None = UNSET,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> User:
        """Change fields of a user: those that are passed; None clears one. Sessions and tokens stay good.

        Raises:
            NotFoundError: There is no such user.
            EtagMismatchError: `etag` was passed and the user has changed since.
            WrongStatusError: The user is deleted.
            AlreadyExistsError: Another user has the new address, username or external id.

        """
        fields = {
            "email": email,
            "username": username,
            "display_name": display_name,
            "locale": locale,
            "external_id": external_id,
            "attributes": attributes,
        }
        changes = {name: value for name, value in fields.items() if value is not UNSET}
        request = users_pb2.UpdateUserRequest(
            user=_convert.user_message(user_id, etag, **changes), request_id=request_id or new_id()
        )
        request.update_mask.paths.extend(changes)
        response = self._connection.call(request, users_pb2.UpdateUserResponse)
        return _convert.user(response.user)

    def suspend(
        self,
        user_id: str,
        *,
        reason: str | None = None,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> User:
        """Suspend a user: all sessions end at once, and nobody can sign in until `reinstate`.

        Args:
            user_id: The user.
            reason: Why, for the event log; at most 512 bytes.
            etag: If passed, must be the user's current one.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such user.
            EtagMismatchError: The user has changed since `etag` was read.
            WrongStatusError: The user is deleted.

        """
        request = users_pb2.SuspendUserRequest(
            user_id=user_id, reason=reason or "", etag=etag or "", request_id=request_id or new_id()
        )
        response = self._connection.call(request, users_pb2.SuspendUserResponse)
        return _convert.user(response.user)

    def reinstate(self, user_id: str, *, etag: str | None = None, request_id: str | None = None) -> User:
        """Let a suspended user sign in again. Ended sessions stay ended.

        Raises:
            NotFoundError: There is no such user.
            EtagMismatchError: The user has changed since `etag` was read.
            WrongStatusError: The user is deleted.

        """
        request = users_pb2.ReinstateUserRequest(user_id=user_id, etag=etag or "", request_id=request_id or new_id())
        response = self._connection.call(request, users_pb2.ReinstateUserResponse)
        return _convert.user(response.user)

    def delete(self, user_id: str, *, etag: str | None = None, request_id: str | None = None) -> User:
        """Delete a user for good: sessions end, credentials go, address and names become free.

        Raises:
            NotFoundError: There is no such user.
            EtagMismatchError: The user has changed since `etag` was read.

        """
        request = users_pb2.DeleteUserRequest(user_id=user_id, etag=etag or "", request_id=request_id or new_id())
        response = self._connection.call(request, users_pb2.DeleteUserResponse)
        return _convert.user(response.user)

    def import_(
        self,
        users: Source[ImportedUser],
        *,
        batch_size: int = 1000,
        validate_only: bool = False,
        on_result: Callable[[UserImportResult], object] | None = None,
        on_progress: Callable[[ImportedUsers], object] | None = None,
    ) -> ImportedUsers:
        """Create users in bulk with the password hashes that they have elsewhere, batch by batch.

        Each user stands for itself: one that is refused keeps no other from being created, and whoever has the
        external id already is left as they are. So the same import can be repeated, and adds nothing twice. If the
        server becomes unavailable it goes on where it was, up to five times in a row without any progress. The
        client's timeout is for the answer to each batch. However many users there are, a few batches are in memory.

        Args:
            users: To be created.
            batch_size: How many go into one transaction, 1 to 1,000; fewer if they are large.
            validate_only: Only find out what would become of them.
            on_result: Called for each user, in order, with what became of it.
            on_progress: Called after each batch with what has been done so far.

        Raises:
            PermissionDeniedError: The API key lacks the permission "import_users".
            ValueError: `batch_size` is out of its range.

        """

        def message(gathered: Sequence[users_pb2.ImportedUser]) -> users_pb2.ImportUsersRequest:
            return users_pb2.ImportUsersRequest(users=gathered, validate_only=validate_only, request_id=new_id())

        batches = Batches(batch_size, message, limit=MAX_USERS)
        tally = UserTally(on_result, on_progress)
        stream = Import(self._connection, users_pb2.ImportUsersResponse, tally.note)
        try:
            for user in Each(users):
                ready = batches.add(_convert.imported_user_message(user))
                if ready is not None:
                    stream.send(ready)
            ready = batches.rest()
            if ready is not None:
                stream.send(ready)
            stream.finish()
            return tally.so_far()
        finally:
            stream.close()

    def export(
        self,
        *,
        statuses: Iterable[UserStatus] = (),
        email_prefix: str | None = None,
        create_time_from: datetime | None = None,
        create_time_until: datetime | None = None,
        include_password_hashes: bool = False,
    ) -> Iterator[ExportedUser]:
        """Read users in bulk with all that is known of them, in the order of `list_page`.

        If the server becomes unavailable the export goes on where it was, up to five times in a row without any
        progress. Some hundreds of users are read at a moment of their own: who is created meanwhile comes last. The
        client's timeout is for each message of them.

        Args:
            statuses: Users with one of these. Default: active and suspended.
            email_prefix: Users whose address starts with this, whatever the case.
            create_time_from: Users created at this time or later.
            create_time_until: Users created before this time.
            include_password_hashes: Whether to get the hashes of the passwords too. The log says that you did. Whoever
                has them can guess at the passwords: keep them as safe as these.

        Raises:
            PermissionDeniedError: The API key lacks the permission "export_users", or with hashes
                "export_password_hashes".

        """
        request = users_pb2.ExportUsersRequest(
            filter=_convert.user_filter_message(statuses, email_prefix, create_time_from, create_time_until),
            include_password_hashes=include_password_hashes,
        )
        for response in exported(self._connection, request, users_pb2.ExportUsersResponse):
            for user in response.users:
                yield _convert.exported_user(user)
