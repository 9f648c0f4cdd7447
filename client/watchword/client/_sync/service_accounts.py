# Made by client/make_sync.py from client/watchword/client/_async/service_accounts.py: do not edit.
"""Accounts of programs, and their API keys."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from watchword.client import _convert
from watchword.client._sync.connection import Connection
from watchword.client._sync.pages import walk
from watchword.client._transport import new_id
from watchword.client.models import CreatedKey, Key, Page, RotatedKey, ServiceAccount
from watchword.v1 import service_accounts_pb2 as pb


class ServiceAccounts:
    """Accounts of programs. What is common to all methods is described at `Client`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        service_account_id: str,
        *,
        display_name: str | None = None,
        description: str | None = None,
        request_id: str | None = None,
    ) -> ServiceAccount:
        """Create a service account, without keys.

        Args:
            service_account_id: Its name for good: a lower-case letter, then up to 62 lower-case letters, digits
                and single hyphens.
            display_name: The name to show to people; at most 256 bytes.
            description: What it is for and who looks after it; at most 1,024 bytes.
            request_id: See `Client`.

        Raises:
            AlreadyExistsError: One, perhaps a deleted one, has the id.

        """
        request = pb.CreateServiceAccountRequest(
            service_account=pb.ServiceAccount(
                service_account_id=service_account_id,
                display_name=display_name or "",
                description=description or "",
            ),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.CreateServiceAccountResponse)
        return _convert.service_account(response.service_account)

    def get(self, service_account_id: str) -> ServiceAccount:
        """Get a service account, even a deleted one.

        Raises:
            NotFoundError: There is none.

        """
        request = pb.GetServiceAccountRequest(service_account_id=service_account_id)
        response = self._connection.call(request, pb.GetServiceAccountResponse)
        return _convert.service_account(response.service_account)

    def list(self, *, include_deleted: bool = False, page_size: int = 0) -> Iterator[ServiceAccount]:
        """Walk through service accounts by id, page after page. Arguments as in `list_page`."""
        return walk(
            lambda page_token: self.list_page(
                include_deleted=include_deleted, page_size=page_size, page_token=page_token
            )
        )

    def list_page(
        self, *, include_deleted: bool = False, page_size: int = 0, page_token: str | None = None
    ) -> Page[ServiceAccount]:
        """Get one page of service accounts by id.

        Args:
            include_deleted: Deleted ones too.
            page_size: The most accounts to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListServiceAccountsRequest(
            include_deleted=include_deleted, page_size=page_size, page_token=page_token or ""
        )
        response = self._connection.call(request, pb.ListServiceAccountsResponse)
        return Page(
            items=tuple(map(_convert.service_account, response.service_accounts)),
            next_page_token=response.next_page_token or None,
        )

    def suspend(
        self,
        service_account_id: str,
        *,
        reason: str | None = None,
        etag: str | None = None,
        request_id: str | None = None,
    ) -> ServiceAccount:
        """Suspend a service account: its keys are refused from now on.

        Args:
            service_account_id: The account.
            reason: Why, for the event log; at most 512 bytes.
            etag: If passed, must be the account's current one.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such account.
            EtagMismatchError: The account has changed since `etag` was read.
            WrongStatusError: The account is deleted.

        """
        request = pb.SuspendServiceAccountRequest(
            service_account_id=service_account_id,
            reason=reason or "",
            etag=etag or "",
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.SuspendServiceAccountResponse)
        return _convert.service_account(response.service_account)

    def reinstate(
        self, service_account_id: str, *, etag: str | None = None, request_id: str | None = None
    ) -> ServiceAccount:
        """Let the keys of a suspended service account work again, those revoked or expired excepted.

        Raises:
            NotFoundError: There is no such account.
            EtagMismatchError: The account has changed since `etag` was read.
            WrongStatusError: The account is deleted.

        """
        request = pb.ReinstateServiceAccountRequest(
            service_account_id=service_account_id, etag=etag or "", request_id=request_id or new_id()
        )
        response = self._connection.call(request, pb.ReinstateServiceAccountResponse)
        return _convert.service_account(response.service_account)

    def delete(
        self, service_account_id: str, *, etag: str | None = None, request_id: str | None = None
    ) -> ServiceAccount:
        """Delete a service account for good and revoke its keys. Its id is never used again.

        Raises:
            NotFoundError: There is no such account.
            EtagMismatchError: The account has changed since `etag` was read.

        """
        request = pb.DeleteServiceAccountRequest(
            service_account_id=service_account_id, etag=etag or "", request_id=request_id or new_id()
        )
        response = self._connection.call(request, pb.DeleteServiceAccountResponse)
        return _convert.service_account(response.service_account)

    def create_key(
        self,
        service_account_id: str,
        *,
        permissions: Iterable[str],
        display_name: str | None = None,
        expire_time: datetime | None = None,
        request_id: str | None = None,
    ) -> CreatedKey:
        """Create an API key. The key itself is in this answer and nowhere else.

        Args:
            service_account_id: Whose key it will be.
            permissions: What it may do, such as "read_users", or "administrator" for all; at least one.
            display_name: The name to show to people; at most 256 bytes.
            expire_time: When it stops working. Default: never.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such account.
            WrongStatusError: The account is deleted.
            PermissionDeniedError: The key would hold a permission that this client's own key lacks.

        """
        request = pb.CreateKeyRequest(
            service_account_id=service_account_id,
            display_name=display_name or "",
            permissions=permissions,
            expire_time=_convert.time_message(expire_time),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.CreateKeyResponse)
        return CreatedKey(key=_convert.key(response.key), api_key=response.api_key)

    def list_keys(self, service_account_id: str, *, include_ended: bool = False, page_size: int = 0) -> Iterator[Key]:
        """Walk through the keys of an account, oldest first. Arguments as in `list_keys_page`."""
        return walk(
            lambda page_token: self.list_keys_page(
                service_account_id, include_ended=include_ended, page_size=page_size, page_token=page_token
            )
        )

    def list_keys_page(
        self,
        service_account_id: str,
        *,
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str | None = None,
    ) -> Page[Key]:
        """Get one page of the keys of an account, oldest first.

        Args:
            service_account_id: Whose keys.
            include_ended: Revoked and expired ones too.
            page_size: The most keys to get, 1 to 500. Default: 50.
            page_token: `next_page_token` of the page before; all else but `page_size` must be as it was.

        Raises:
            NotFoundError: There is no such account.
            InvalidPageTokenError: The page token belongs to another listing.

        """
        request = pb.ListKeysRequest(
            service_account_id=service_account_id,
            include_ended=include_ended,
            page_size=page_size,
            page_token=page_token or "",
        )
        response = self._connection.call(request, pb.ListKeysResponse)
        return Page(items=tuple(map(_convert.key, response.keys)), next_page_token=response.next_page_token or None)

    def rotate_key(
        self,
        key_id: str,
        *,
        overlap: timedelta | None = None,
        expire_time: datetime | None = None,
        request_id: str | None = None,
    ) -> RotatedKey:
        """Create a successor with the same permissions and let the old key expire after an overlap.

        Args:
            key_id: The key to replace.
            overlap: How long the old key goes on working, at most 30 days. Default: 24 hours.
            expire_time: When the new key stops working. Default: never.
            request_id: See `Client`.

        Raises:
            NotFoundError: There is no such key.
            KeyEndedError: The key is revoked, expired or already rotated.
            PermissionDeniedError: The key holds a permission that this client's own key lacks.

        """
        request = pb.RotateKeyRequest(
            key_id=key_id,
            overlap=_convert.span_message(overlap),
            expire_time=_convert.time_message(expire_time),
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, pb.RotateKeyResponse)
        return RotatedKey(
            key=_convert.key(response.key),
            api_key=response.api_key,
            previous_key=_convert.key(response.previous_key),
        )

    def revoke_key(self, key_id: str, *, request_id: str | None = None) -> Key:
        """Revoke a key: it is refused from now on.

        Raises:
            NotFoundError: There is no such key.

        """
        request = pb.RevokeKeyRequest(key_id=key_id, request_id=request_id or new_id())
        response = self._connection.call(request, pb.RevokeKeyResponse)
        return _convert.key(response.key)
