"""What happened: the rows of the one log.

An event is written in the transaction of its change (database.py does that) and never changed. Its type is
CAEP's or RISC's name where they have one (OpenID Shared Signals), so that a later bridge needs no table. What
it says of a person goes into `personal`, which is sealed under that person's key: erasing a person is
destroying one key, and the log stays whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class EventType(StrEnum):
    """The kinds of events."""

    USER_CREATED = "user-created"
    USER_UPDATED = "user-updated"
    IDENTIFIER_CHANGED = "identifier-changed"
    ACCOUNT_DISABLED = "account-disabled"
    ACCOUNT_ENABLED = "account-enabled"
    ACCOUNT_PURGED = "account-purged"
    SERVICE_ACCOUNT_CREATED = "service-account-created"
    KEY_CREATED = "key-created"
    KEY_ROTATED = "key-rotated"
    KEY_REVOKED = "key-revoked"
    CREDENTIAL_CHANGE = "credential-change"
    PASSWORD_HASHES_EXPORTED = "password-hashes-exported"  # noqa: S105  # a name, not a password
    SESSION_ESTABLISHED = "session-established"
    SESSION_PRESENTED = "session-presented"
    SESSION_REVOKED = "session-revoked"
    SIGN_IN_FAILED = "sign-in-failed"
    SIGN_IN_THROTTLED = "sign-in-throttled"
    REFRESH_TOKEN_REUSED = "refresh-token-reused"  # noqa: S105  # a name, not a token
    PERMISSION_MODEL_WRITTEN = "permission-model-written"
    RELATIONSHIPS_CHANGED = "relationships-changed"
    ORGANIZATION_CREATED = "organization-created"
    ORGANIZATION_UPDATED = "organization-updated"
    ORGANIZATION_DELETED = "organization-deleted"
    GROUP_CREATED = "group-created"
    GROUP_UPDATED = "group-updated"
    GROUP_DELETED = "group-deleted"
    INVITATION_CREATED = "invitation-created"
    INVITATION_ACCEPTED = "invitation-accepted"
    INVITATION_REVOKED = "invitation-revoked"
    SIGNING_KEY_CREATED = "signing-key-created"
    SIGNING_KEY_REVOKED = "signing-key-revoked"
    DATABASE_RESTORED = "database-restored"


NOT_OF_TOKENS = (EventType.RELATIONSHIPS_CHANGED, EventType.PERMISSION_MODEL_WRITTEN)
"""What no token depends on. All other events that name nodes are of accounts, sessions and keys."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction changed, as those who follow the log need it: the hashes of its nodes."""

    xid: int
    nodes: Sequence[int]
    concerns_tokens: bool = False
    """Whether tokens depend on one of them."""


class Outcome(StrEnum):
    """Whether what was tried came about."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. Who did it, when and in which call is added when it is written."""

    type: EventType
    objects: tuple[str, ...]
    """What it happened to, as `type:id`; the first is the main one."""
    nodes: tuple[str, ...] = ()
    """The names of the nodes it changed (DESIGN.md section 2): answers that read one of them fall."""
    hashes: tuple[int, ...] = ()
    """Further nodes, as their hashes."""
    organization: str | None = None
    """The organization that it belongs to."""
    outcome: Outcome = Outcome.SUCCESS
    payload: Mapping[str, object] = field(default_factory=dict)
    """Facts that are not personal: names of fields, reasons from closed sets, ids."""
    person: UUID | None = None
    """The person that `personal` is about."""
    personal: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values about the person, such as an address: sealed under the person's key, or the server's if none."""
