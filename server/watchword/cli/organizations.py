"""Organizations, their groups and who belongs to them."""

from typing import Annotated

import typer

from watchword.cli.command import LIMIT, YES, Call, confirm, group, remote
from watchword.cli.values import expire_time

app = group("organizations", "Organizations: tenants, customers or companies.")
groups = group("groups", "Groups of organizations, such as teams.")

_ID = Annotated[str, typer.Argument(metavar="ORGANIZATION", help="The organization's id, such as acme.")]
_GROUP = Annotated[str, typer.Argument(metavar="GROUP", help="The group's id, such as engineering.")]
_SUBJECT = Annotated[
    str, typer.Argument(metavar="SUBJECT", help="Who: user:ID, service:ID or the members of a group, group:ID#member.")
]
_DISPLAY_NAME = Annotated[str | None, typer.Option(help="The name to show to people.")]
_ROLE = Annotated[str | None, typer.Option(help="The role, a relation of the model. Default: member.")]
_ONLY_ROLE = Annotated[str | None, typer.Option(help="Only this role. Default: every role there.")]
_ETAG = Annotated[str | None, typer.Option(help="Refuse if it has changed since this etag was read.")]
_DELETED = Annotated[bool, typer.Option("--include-deleted", help="Deleted ones too.")]
_ONCE = "The invitation's token is shown this once and cannot be had again: send it to the person."


@remote(app)
def create(
    call: Call,
    *,
    organization_id: Annotated[
        str | None, typer.Argument(metavar="[ORGANIZATION]", help="Its id for good, such as acme. Default: a new one.")
    ] = None,
    display_name: _DISPLAY_NAME = None,
    owner: Annotated[str | None, typer.Option(metavar="USER_ID", help="A user who becomes its owner.")] = None,
) -> None:
    """Create an organization."""
    call.output.one(call.client.organizations.create(organization_id, display_name=display_name, owner_user_id=owner))


@remote(app)
def get(call: Call, *, organization_id: _ID) -> None:
    """Show an organization."""
    call.output.one(call.client.organizations.get(organization_id))


@remote(app, "list")
def list_organizations(call: Call, *, include_deleted: _DELETED = False, limit: LIMIT = 100) -> None:
    """List organizations."""
    found = call.client.organizations.list(include_deleted=include_deleted, page_size=min(limit + 1, 500))
    call.output.many(found, columns=("organization_id", "status", "display_name", "create_time"), limit=limit)


@remote(app)
def delete(call: Call, *, organization_id: _ID, etag: _ETAG = None, yes: YES = False) -> None:
    """Delete an organization for good: its id is not used again."""
    confirm(f"Delete organization {organization_id} for good?", yes=yes)
    call.output.one(call.client.organizations.delete(organization_id, etag=etag))


@remote(app)
def members(call: Call, *, organization_id: _ID, role: _ONLY_ROLE = None, limit: LIMIT = 100) -> None:
    """List who has which role in an organization."""
    found = call.client.organizations.list_members(organization_id, role=role, page_size=min(limit + 1, 500))
    call.output.many(found, columns=("subject", "role"), limit=limit)


@remote(app)
def add_member(call: Call, *, organization_id: _ID, subject: _SUBJECT, role: _ROLE = None) -> None:
    """Give somebody a role in an organization."""
    call.output.one(call.client.organizations.add_member(organization_id, subject, role=role))


@remote(app)
def remove_member(call: Call, *, organization_id: _ID, subject: _SUBJECT, role: _ONLY_ROLE = None) -> None:
    """Take roles in an organization away; without --role all of them, those in its groups too."""
    call.output.one(call.client.organizations.remove_member(organization_id, subject, role=role))


@remote(app)
def invite(
    call: Call,
    *,
    organization_id: _ID,
    role: _ROLE = None,
    email: Annotated[str | None, typer.Option(help="Whom it is meant for; shown, not enforced.")] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Until when it can be accepted, at most 30d. Default: 7d.")
    ] = None,
) -> None:
    """Make an invitation and show its token, once: whoever has it may accept."""
    created = call.client.organizations.create_invitation(
        organization_id, role=role, email=email, expire_time=expire_time(expires_in)
    )
    call.output.one(created)
    call.output.note(_ONCE)


@remote(app)
def invitations(call: Call, *, organization_id: _ID, limit: LIMIT = 100) -> None:
    """List the invitations that can still be accepted; never their tokens."""
    found = call.client.organizations.list_invitations(organization_id, page_size=min(limit + 1, 500))
    call.output.many(found, columns=("invitation_id", "role", "email", "create_time", "expire_time"), limit=limit)


@remote(app)
def revoke_invitation(
    call: Call,
    *,
    organization_id: _ID,
    invitation_id: Annotated[str, typer.Argument(metavar="INVITATION_ID", help="From `organizations invitations`.")],
) -> None:
    """Revoke an invitation: it is refused at once."""
    call.client.organizations.revoke_invitation(organization_id, invitation_id)
    call.output.one({"revoked_invitation_id": invitation_id})


# ----- groups ---------------------------------------------------------------------------------------------------------


@remote(groups, "create")
def create_group(
    call: Call,
    *,
    organization_id: _ID,
    group_id: Annotated[
        str | None, typer.Argument(metavar="[GROUP]", help="Its id for good, such as engineering. Default: a new one.")
    ] = None,
    display_name: _DISPLAY_NAME = None,
) -> None:
    """Create a group in an organization."""
    call.output.one(call.client.organizations.create_group(organization_id, group_id, display_name=display_name))


@remote(groups, "list")
def list_groups(call: Call, *, organization_id: _ID, include_deleted: _DELETED = False, limit: LIMIT = 100) -> None:
    """List the groups of an organization."""
    found = call.client.organizations.list_groups(
        organization_id, include_deleted=include_deleted, page_size=min(limit + 1, 500)
    )
    call.output.many(found, columns=("group_id", "status", "display_name", "create_time"), limit=limit)


@remote(groups, "delete")
def delete_group(call: Call, *, organization_id: _ID, group_id: _GROUP, etag: _ETAG = None, yes: YES = False) -> None:
    """Delete a group for good: its id is not used again."""
    confirm(f"Delete group {group_id} for good?", yes=yes)
    call.output.one(call.client.organizations.delete_group(organization_id, group_id, etag=etag))


@remote(groups, "members")
def group_members(
    call: Call, *, organization_id: _ID, group_id: _GROUP, role: _ONLY_ROLE = None, limit: LIMIT = 100
) -> None:
    """List who has which role in a group."""
    found = call.client.organizations.list_members(
        organization_id, group_id=group_id, role=role, page_size=min(limit + 1, 500)
    )
    call.output.many(found, columns=("subject", "role"), limit=limit)


@remote(groups, "add-member")
def add_group_member(
    call: Call, *, organization_id: _ID, group_id: _GROUP, subject: _SUBJECT, role: _ROLE = None
) -> None:
    """Give somebody a role in a group."""
    call.output.one(call.client.organizations.add_member(organization_id, subject, group_id=group_id, role=role))


@remote(groups, "remove-member")
def remove_group_member(
    call: Call, *, organization_id: _ID, group_id: _GROUP, subject: _SUBJECT, role: _ONLY_ROLE = None
) -> None:
    """Take roles in a group away; without --role all of them."""
    call.output.one(call.client.organizations.remove_member(organization_id, subject, group_id=group_id, role=role))
