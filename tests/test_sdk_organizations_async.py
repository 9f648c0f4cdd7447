"""The SDK's organizations against the real server."""

import datetime as dt

import pytest

from watchword.client import AsyncClient, Consistency, OrganizationStatus, errors

PASSWORD = "correct horse battery staple"


async def test_organizations(watchword_async: AsyncClient):
    organizations = watchword_async.organizations
    owner = await watchword_async.users.create(username="ana")
    made = await organizations.create("acme", display_name="Acme", owner_user_id=owner.user_id)
    assert (made.organization_id, made.display_name, made.status) == ("acme", "Acme", OrganizationStatus.ACTIVE)
    assert await organizations.get("acme") == made
    with pytest.raises(errors.AlreadyExistsError):
        await organizations.create("acme")
    changed = await organizations.update("acme", display_name="Acme Inc.", etag=made.etag)
    assert changed.display_name == "Acme Inc."
    with pytest.raises(errors.EtagMismatchError):
        await organizations.update("acme", display_name="x", etag=made.etag)
    assert (await organizations.update("acme", display_name=None)).display_name is None
    other = await organizations.create()
    assert {each.organization_id async for each in organizations.list(page_size=1)} == {"acme", other.organization_id}
    gone = await organizations.delete(other.organization_id)
    assert (gone.status, gone.delete_time is None) == (OrganizationStatus.DELETED, False)
    assert [each.organization_id async for each in organizations.list()] == ["acme"]
    assert len((await organizations.list_page(include_deleted=True)).items) == 2
    with pytest.raises(errors.NotFoundError):
        await organizations.get("nobody")


async def test_members(watchword_async: AsyncClient):
    organizations = watchword_async.organizations
    ana = f"user:{(await watchword_async.users.create(username='ana')).user_id}"
    eve = f"user:{(await watchword_async.users.create(username='eve')).user_id}"
    await organizations.create("acme", owner_user_id=ana.removeprefix("user:"))
    added = await organizations.add_member("acme", eve)
    assert (added.member.subject, added.member.role) == (eve, "member")
    assert await watchword_async.permissions.check(
        eve, "member", "organization:acme", consistency=Consistency.at_least(added.revision)
    )
    await organizations.add_member("acme", eve, role="admin")
    roles = {(each.subject, each.role) async for each in organizations.list_members("acme", page_size=1)}
    assert roles == {(ana, "owner"), (eve, "member"), (eve, "admin")}
    assert [each.subject for each in (await organizations.list_members_page("acme", role="owner")).items] == [ana]
    removed = await organizations.remove_member("acme", eve)
    assert removed.removed_count == 2
    assert removed.revision
    with pytest.raises(errors.LastOwnerError):
        await organizations.remove_member("acme", ana)


async def test_groups(watchword_async: AsyncClient):
    organizations = watchword_async.organizations
    eve = f"user:{(await watchword_async.users.create(username='eve')).user_id}"
    await organizations.create("acme")
    made = await organizations.create_group("acme", "eng", display_name="Engineering")
    assert (made.group_id, made.organization_id, made.display_name) == ("eng", "acme", "Engineering")
    assert await organizations.get_group("acme", "eng") == made
    changed = await organizations.update_group("acme", "eng", display_name=None, etag=made.etag)
    assert changed.display_name is None
    await organizations.add_member("acme", eve, group_id="eng")
    assert [each.subject async for each in organizations.list_members("acme", group_id="eng")] == [eve]
    assert (await organizations.remove_member("acme", eve, group_id="eng", role="member")).removed_count == 1
    assert [each.group_id async for each in organizations.list_groups("acme")] == ["eng"]
    assert (await organizations.delete_group("acme", "eng")).status is OrganizationStatus.DELETED
    assert [each.group_id async for each in organizations.list_groups("acme")] == []
    assert len((await organizations.list_groups_page("acme", include_deleted=True)).items) == 1
    with pytest.raises(errors.WrongStatusError):
        await organizations.update_group("acme", "eng", display_name="x")


async def test_invitations(watchword_async: AsyncClient):
    organizations = watchword_async.organizations
    eve = await watchword_async.users.create(username="eve")
    await organizations.create("acme")
    expire_time = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    made = await organizations.create_invitation("acme", role="admin", email="eve@example.com", expire_time=expire_time)
    assert made.invitation_token not in repr(made)
    assert "eve@example.com" not in repr(made)
    assert (made.invitation.role, made.invitation.email) == ("admin", "eve@example.com")
    assert [each async for each in organizations.list_invitations("acme")] == [made.invitation]
    accepted = await organizations.accept_invitation(made.invitation_token, user_id=eve.user_id)
    assert (accepted.organization_id, accepted.role) == ("acme", "admin")
    assert accepted.revision
    with pytest.raises(errors.InvitationInvalidError):
        await organizations.accept_invitation(made.invitation_token, user_id=eve.user_id)
    other = await organizations.create_invitation("acme")
    assert await organizations.revoke_invitation("acme", other.invitation.invitation_id) is None
    assert (await organizations.list_invitations_page("acme")).items == ()


async def test_on_behalf_of_somebody_else(watchword_async: AsyncClient):
    await watchword_async.users.create(username="eve", password=PASSWORD)
    tokens = await watchword_async.sign_in("eve", password=PASSWORD)
    await watchword_async.organizations.create("acme")
    behalf = watchword_async.on_behalf_of(tokens.access_token)
    with pytest.raises(errors.AccessDeniedError) as caught:
        await behalf.organizations.get("acme")
    assert caught.value.metadata["relation"] == "can_view"
    mine = await behalf.organizations.create()
    assert [each async for each in behalf.organizations.list()] == [mine]
