"""Models of organizations, see `models`."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class OrganizationStatus(StrEnum):
    """What an organization or group may be used for at all."""

    ACTIVE = "active"
    DELETED = "deleted"
    UNSPECIFIED = "unspecified"
    """A status that this version of the SDK does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A tenant, customer or company; in permissions "organization:<organization_id>"."""

    organization_id: str
    display_name: str | None
    status: OrganizationStatus
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    etag: str
    """Changes with every change; pass it to a change to guard against overwriting somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group of an organization, such as a team; in permissions "group:<group_id>"."""

    group_id: str
    organization_id: str
    display_name: str | None
    status: OrganizationStatus
    create_time: datetime
    update_time: datetime
    delete_time: datetime | None
    etag: str
    """Changes with every change; pass it to a change to guard against overwriting somebody else's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Who has which role."""

    subject: str
    """ "user:<user_id>", "service:<service_account_id>" or "group:<group_id>#member"."""
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedMember:
    """A member who was given a role."""

    member: Member
    revision: str
    """For `Consistency.at_least`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedMember:
    """What `organizations.remove_member` did."""

    removed_count: int
    """How many roles were taken away."""
    revision: str
    """For `Consistency.at_least`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What is known of an invitation; never its token."""

    invitation_id: str
    organization_id: str
    role: str
    """The role that whoever accepts it gets."""
    email: str | None = field(repr=False)
    """Whom it was meant for."""
    create_time: datetime
    expire_time: datetime
    """Until when it can be accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedInvitation:
    """A new invitation. `invitation_token` is shown here once and cannot be had again."""

    invitation: Invitation
    invitation_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedInvitation:
    """Where a user is a member now."""

    organization_id: str
    role: str
    revision: str
    """For `Consistency.at_least`."""
