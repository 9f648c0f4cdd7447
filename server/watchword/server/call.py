"""Who calls, and in which call: what every handler gets beside its request."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from watchword.server.errors import PermissionMissing
from watchword.server.identifiers import service_object, user_object

SERVER = "watchword"
"""The service that the server itself is, in the events of what it does by itself. No account has this name."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The service that calls, by the API key it showed, with all permissions that it has."""

    service_account_id: str
    key_id: UUID
    permissions: frozenset[str]
    until: datetime | None = None
    """From when on this has to be found out anew."""

    def require(self, permission: str) -> None:
        """Let the call pass only if the caller has a permission.

        Raises:
            PermissionMissing: it does not.

        """
        if permission not in self.permissions:
            raise PermissionMissing(permission)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: who is answerable for it, and under which ids it is found again."""

    method: str
    request_id: str
    source: str
    caller: Caller
    user_id: UUID | None = None
    """The user on whose behalf the service calls, proved by an access token."""
    request: Message | None = None
    idempotency_key: str = ""

    @property
    def actor(self) -> str:
        """Name who acts: the user if there is one, else the service."""
        return user_object(self.user_id) if self.user_id else service_object(self.caller.service_account_id)

    @property
    def intermediary(self) -> str | None:
        """Name the service through which a user acts."""
        return service_object(self.caller.service_account_id) if self.user_id else None


def server_call(method: str) -> Call:
    """Make the call of what the server does by itself."""
    return Call(
        method=method,
        request_id=secrets.token_hex(12),
        source="server",
        caller=Caller(SERVER, UUID(int=0), frozenset()),
    )
