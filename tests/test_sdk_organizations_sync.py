# Made by client/make_sync.py from tests/test_sdk_organizations_async.py: do not edit.
"""The SDK's organizations against the real server."""

import datetime as dt

import pytest

from watchword.client import Client, Consistency, OrganizationStatus, errors

PASSWORD = "correct horse battery staple"


def test_organizations(watchword: Client):
    organizations = watchword.organizations
    owner = watchword.users.create(username="ana")
    made = organizations.create("acme", display_name="Acme", owner_user_id=owner.user_id)
    assert (made.organization_id, made.display_name, made.status) == ("acme", "Acme", OrganizationStatus.ACTIVE)
    assert organizations.get("acme") == made
    with pytest.raises(errors.AlreadyExistsError):
        organizations.create("acme")
    changed = organizations.update("acme", display_name="Acme Inc.", etag=made.etag)
    assert changed.display_name == "Acme Inc."
    with pytest.raises(errors.EtagMismatchError):
        organizations.update("acme", display_name="x", etag=made.etag)
    assert (organizations.update("acme", display_name=None)).display_name is None
    other = organizations.create()
    assert {each.organization_id for each in organizations.list(page_size=1)} == {"acme", other.organization_id}
    gone = organizations.delete(other.organization_id)
    assert (gone.status, gone.delete_time is None) == (OrganizationStatus.DELETED, False)
    assert [each.organization_id for each in organizations.list()] == ["acme"]
    assert len((organizations.list_page(include_deleted=True)).items) == 2
    with pytest.raises(errors.NotFoundError):
        organizations.get("nobody")


def test_members(watchword: Client):
    organizations = watchword.organizations
    ana = f"user:{(watchword.users.create(username='ana')).user_id}"
    eve = f"user:{(watchword.users.create(username='eve')).user_id}"
    organizations.create("acme", owner_user_id=ana.removeprefix("user:"))
    added = organizations.add_member("acme", eve)
    assert (added.member.subject, added.member.role) == (eve, "member")
    assert watchword.permissions.check(
        eve, "member", "organization:acme", consistency=Consistency.at_least(added.revision)
    )
    organizations.add_member("acme", eve, role="admin")
    roles = {(each.subject, each.role) for each in organizations.list_members("acme", page_size=1)}
    assert roles == {(ana, "owner"), (eve, "member"), (eve, "admin")}
    assert [each.subject for each in (organizations.list_members_page("acme", role="owner")).items] == [ana]
    removed = organizations.remove_member("acme", eve)
    assert removed.removed_count == 2
    assert removed.revision
    with pytest.raises(errors.LastOwnerError):
        organizations.remove_member("acme", ana)


def test_groups(watchword: Client):
    organizations = watchword.organizations
    eve = f"user:{(watchword.users.create(username='eve')).user_id}"
    organizations.create("acme")
    made = organizations.create_group("acme", "eng", display_name="Engineering")
    assert (made.group_id, made.organization_id, made.display_name) == ("eng", "acme", "Engineering")
    assert organizations.get_group("acme", "eng") == made
    changed = organizations.update_group("acme", "eng", display_name=None, etag=made.etag)
    assert changed.display_name is None
    organizations.add_member("acme", eve, group_id="eng")
    assert [each.subject for each in organizations.list_members("acme", group_id="eng")] == [eve]
    assert (organizations.remove_member("acme", eve, group_id="eng", role="member")).removed_count == 1
    assert [each.group_id for each in organizations.list_groups("acme")] == ["eng"]
    assert (organizations.delete_group("acme", "eng")).status is OrganizationStatus.DELETED
    assert [each.group_id for each in organizations.list_groups("acme")] == []
    assert len((organizations.list_groups_page("acme", include_deleted=True)).items) == 1
    with pytest.raises(errors.WrongStatusError):
        organizations.update_group("acme", "eng", display_name="x")


def test_invitations(watchword: Client):
    organizations = watchword.organizations
    eve = watchword.users.create(username="eve")
    organizations.create("acme")
    expire_time = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    made = organizations.create_invitation("acme", role="admin", email="eve@example.com", expire_time=expire_time)
    assert made.invitation_token not in repr(made)
    assert "eve@example.com" not in repr(made)
    assert (made.invitation.role, made.invitation.email) == ("admin", "eve@example.com")
    assert list(organizations.list_invitations("acme")) == [made.invitation]
    accepted = organizations.accept_invitation(made.invitation_token, user_id=eve.user_id)
    assert (accepted.organization_id, accepted.role) == ("acme", "admin")
    assert accepted.revision
    with pytest.raises(errors.InvitationInvalidError):
        organizations.accept_invitation(made.invitation_token, user_id=eve.user_id)
    other = organizations.create_invitation("acme")
    assert organizations.revoke_invitation("acme", other.invitation.invitation_id) is None
    assert (organizations.list_invitations_page("acme")).items == ()


def test_on_behalf_of_somebody_else(watchword: Client):
    watchword.users.create(username="eve", password=PASSWORD)
    tokens = watchword.sign_in("eve", password=PASSWORD)
    watchword.organizations.create("acme")
    behalf = watchword.on_behalf_of(tokens.access_token)
    with pytest.raises(errors.AccessDeniedError) as caught:
        behalf.organizations.get("acme")
    assert caught.value.metadata["relation"] == "can_view"
    mine = behalf.organizations.create()
    assert list(behalf.organizations.list()) == [mine]
