"""OrganizationService, called by a service: organizations, groups and members."""

import uuid
from typing import Any

import pytest
from organization_calls import ALLOWED, DENIED, Events, Refused, World

from watchword.server.identifiers import node
from watchword.v1 import organizations_pb2 as pb

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    return World(watchword, channel, metadata)


@pytest.fixture
def new_events(sql) -> Events:
    return Events(sql)


def organization(organization_id: str, **more: Any) -> pb.Organization:
    return pb.Organization(organization_id=organization_id, **more)


# ----- organizations --------------------------------------------------------------------------------------------------


def test_life_of_an_organization(world: World):
    ana = world.user("ana")
    request = pb.CreateOrganizationRequest(
        organization=organization("acme", display_name="Acme Ltd", etag="7", status=pb.ORGANIZATION_STATUS_DELETED),
        owner_user_id=ana.removeprefix("user:"),
    )
    created = world.call(request).organization
    assert (created.organization_id, created.display_name) == ("acme", "Acme Ltd")
    assert created.status == pb.ORGANIZATION_STATUS_ACTIVE
    assert created.create_time == created.update_time
    assert not created.HasField("delete_time")
    assert world.call(pb.GetOrganizationRequest(organization_id="acme")).organization == created
    assert world.members("acme") == {(ana, "owner")}

    rename = pb.UpdateOrganizationRequest(organization=organization("acme", display_name="Acme", etag=created.etag))
    renamed = world.call(rename).organization
    assert (renamed.display_name, renamed.etag) == ("Acme", "2")
    assert world.refused(rename).reason == "ETAG_MISMATCH"
    same = world.call(pb.UpdateOrganizationRequest(organization=organization("acme", display_name="Acme")))
    assert same.organization == renamed

    assert world.refused(pb.DeleteOrganizationRequest(organization_id="acme", etag="1")).reason == "ETAG_MISMATCH"
    deleted = world.call(pb.DeleteOrganizationRequest(organization_id="acme", etag="2")).organization
    assert (deleted.status, deleted.display_name) == (pb.ORGANIZATION_STATUS_DELETED, "")
    assert deleted.HasField("delete_time")
    assert world.call(pb.DeleteOrganizationRequest(organization_id="acme")).organization == deleted
    assert world.call(pb.GetOrganizationRequest(organization_id="acme")).organization == deleted
    assert world.refused(pb.UpdateOrganizationRequest(organization=organization("acme"))).reason == "WRONG_STATUS"
    refused = world.refused(pb.CreateOrganizationRequest(organization=organization("acme")))
    assert (refused.code, refused.metadata["field"]) == ("ALREADY_EXISTS", "organization.organization_id")


def test_an_update_changes_what_its_mask_names(world: World):
    world.organization("acme")

    def update(*paths: str, **more: str) -> pb.Organization:
        request = pb.UpdateOrganizationRequest(organization=organization("acme", **more))
        request.update_mask.paths.extend(paths)
        return world.call(request).organization

    assert update("display_name", display_name="Acme").display_name == "Acme"
    assert update(display_name="").display_name == "Acme"
    assert update("etag", display_name="Other").display_name == "Acme"
    assert update("display_name").display_name == ""
    for paths, reason in {
        ("organization_id",): "INVALID_FIELD",
        ("status",): "FIELD_OUTPUT_ONLY",
        ("nothing",): "UNKNOWN_FIELD",
    }.items():
        with pytest.raises(Refused) as refused:
            update(*paths)
        assert refused.value.reason == reason
    nameless = world.refused(pb.UpdateOrganizationRequest(organization=organization("", display_name="x")))
    assert nameless.fields == ["organization.organization_id"]


def test_an_id_is_made_if_none_is_given(world: World):
    made = world.call(pb.CreateOrganizationRequest()).organization
    assert uuid.UUID(made.organization_id).version == 7
    assert world.members(made.organization_id) == set()
    group = world.call(pb.CreateGroupRequest(group=pb.Group(organization_id=made.organization_id))).group
    assert uuid.UUID(group.group_id).version == 7


def test_an_owner_must_be_a_living_user(world: World):
    gone = world.user("gone").removeprefix("user:")
    world.watchword.users.delete(gone)
    for owner, reason in {gone: "WRONG_STATUS", NOBODY: "NOT_FOUND"}.items():
        request = pb.CreateOrganizationRequest(organization=organization("acme"), owner_user_id=owner)
        assert world.refused(request).reason == reason
    assert world.refused(pb.GetOrganizationRequest(organization_id="acme")).reason == "NOT_FOUND"


def test_organizations_are_listed_page_by_page(world: World):
    names = [f"org-{number}" for number in range(7)]
    for name in reversed(names):
        world.organization(name)
    world.call(pb.DeleteOrganizationRequest(organization_id="org-3"))

    def listed(**more: Any) -> list[str]:
        found: list[str] = []
        request = pb.ListOrganizationsRequest(page_size=2, **more)
        while True:
            page = world.call(request)
            assert len(page.organizations) <= 2
            found += [item.organization_id for item in page.organizations]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert listed() == [name for name in names if name != "org-3"]
    assert listed(include_deleted=True) == names


# ----- members --------------------------------------------------------------------------------------------------------


def test_members_have_what_the_starter_model_says(world: World):
    ana, ben, eve = (world.user(name) for name in ("ana", "ben", "eve"))
    world.watchword.service_accounts.create("web-shop")
    world.organization("acme", ana, admin=[ben], member=["service:web-shop"])
    world.group("acme", "eng", eve)
    member = world.add("acme", "group:eng#member").member
    assert (member.subject, member.role) == ("group:eng#member", "member")
    may = {
        ana: {"owner", "admin", "member", "can_manage", "can_view"},
        ben: {"admin", "member", "can_manage", "can_view"},
        eve: {"member", "can_view"},
        "service:web-shop": {"member", "can_view"},
    }
    for subject, relations in may.items():
        for relation in ("owner", "admin", "member", "can_manage", "can_view"):
            expected = ALLOWED if relation in relations else DENIED
            assert world.decision(subject, relation, "organization:acme") == expected, (subject, relation)
    assert world.members("acme") == {
        (ana, "owner"),
        (ben, "admin"),
        ("group:eng#member", "member"),
        ("service:web-shop", "member"),
    }
    # To what the group belongs is no member of it.
    assert world.members("acme", group_id="eng") == {(eve, "member")}
    assert world.members("acme", role="admin") == {(ben, "admin")}
    assert world.members("acme", role="unknown") == set()


def test_members_are_listed_by_subject_page_by_page(world: World, sql):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, admin=[ana, ben], member=[ben, ana])
    for name in ("a", "a-b", "b"):
        world.add("acme", f"group:{world.group('acme', name)}#member")
    everybody = world.members("acme")
    assert len(everybody) == 8
    for size in (1, 2, 3, 7, 8):
        assert world.members("acme", page_size=size) == everybody
    assert world.members("acme", page_size=1, role="member") == {item for item in everybody if item[1] == "member"}
    # What is no member: expired, everybody, and what only an application's model knows.
    sql(
        "insert into relationships (object, relation, subject, subject_relation, expire_time) values "
        "('organization:acme', 'member', 'user:old', '', now() - interval '1 day'), "
        "('organization:acme', 'member', 'user:*', '', null), "
        "('organization:acme', 'parent', 'organization:x', '', null)"
    )
    assert world.members("acme") == everybody


def test_giving_a_role_again_changes_nothing(world: World, new_events, sql):
    ana = world.user("ana")
    world.organization("acme", ana)
    new_events()
    world.add("acme", ana, "admin")
    assert len(new_events()) == 1
    world.add("acme", ana, "admin")
    assert new_events() == []
    # But what was given for a time is now given for good.
    sql("update relationships set expire_time = now() + interval '1 hour' where relation = 'admin'")
    world.add("acme", ana, "admin")
    assert sql("select expire_time from relationships where relation = 'admin'") == [{"expire_time": None}]


NO_MEMBERS = f"""
    ana user: user:ana user:* user:{NOBODY.upper()} user:{NOBODY}#member service:* service:web-shop#member
    group:eng group:eng#admin group:*#member organization:acme organization:acme#member session:1
"""


@pytest.mark.parametrize("subject", NO_MEMBERS.split())
def test_only_accounts_and_groups_can_be_members(world: World, subject):
    world.organization("acme")
    for request in (pb.AddMemberRequest, pb.RemoveMemberRequest):
        refused = world.refused(request(organization_id="acme", subject=subject))
        assert (refused.reason, refused.fields) == ("INVALID_FIELD", ["subject"])


def test_a_member_must_be_there(world: World):
    world.organization("acme")
    world.organization("other")
    world.group("other", "theirs")
    world.group("acme", "gone")
    world.call(pb.DeleteGroupRequest(organization_id="acme", group_id="gone"))
    world.watchword.service_accounts.create("left")
    world.watchword.service_accounts.delete("left")
    gone = world.user("gone")
    world.watchword.users.delete(gone.removeprefix("user:"))
    for subject in (f"user:{NOBODY}", "service:none", "group:none#member", "group:theirs#member"):
        with pytest.raises(Refused) as refused:
            world.add("acme", subject)
        assert (refused.value.code, refused.value.reason) == ("NOT_FOUND", "NOT_FOUND"), subject
    for subject in (gone, "service:left", "group:gone#member"):
        with pytest.raises(Refused) as refused:
            world.add("acme", subject)
        assert refused.value.reason == "WRONG_STATUS", subject
    ana = world.user("ana")
    for organization_id, group_id in (("none", ""), ("acme", "none"), ("acme", "theirs"), ("none", "theirs")):
        for call in (world.add, world.remove):
            with pytest.raises(Refused) as refused:
                call(organization_id, ana, group_id=group_id)
            assert refused.value.reason == "NOT_FOUND"
        listing = pb.ListMembersRequest(organization_id=organization_id, group_id=group_id)
        assert world.refused(listing).reason == "NOT_FOUND"
    with pytest.raises(Refused) as refused:
        world.add("acme", ana, group_id="gone")
    assert refused.value.reason == "WRONG_STATUS"


def test_a_suspended_account_can_be_a_member(world: World):
    ana = world.user("ana")
    world.watchword.users.suspend(ana.removeprefix("user:"))
    world.organization("acme", ana)
    assert world.members("acme") == {(ana, "owner")}


def test_a_role_must_be_one_that_the_model_gives(world: World):
    ana = world.user("ana")
    world.organization("acme", ana)
    world.group("acme", "eng")
    world.watchword.service_accounts.create("web-shop")
    for subject, role, field in [
        (ana, "can_manage", "role"),
        ("group:eng#member", "owner", "role"),
        ("service:web-shop", "owner", "role"),
        (ana, "no role", "role"),
        (ana, "member#x", "role"),
    ]:
        with pytest.raises(Refused) as refused:
            world.add("acme", subject, role)
        assert (refused.value.code, refused.value.fields) == ("INVALID_ARGUMENT", [field])
    with pytest.raises(Refused) as refused:
        world.add("acme", "group:eng#member", group_id="eng")
    assert refused.value.fields == ["subject"]
    # What ties a group to its organization is no role.
    with pytest.raises(Refused) as refused:
        world.add("acme", ana, "organization", group_id="eng")
    assert refused.value.fields == ["role"]
    with pytest.raises(Refused) as refused:
        world.add("acme", ana, "gardener")
    assert (refused.value.reason, refused.value.metadata["relation"]) == ("MODEL_LACKS_RELATION", "gardener")


def test_roles_are_taken_away(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, admin=[ben], member=[ben])
    world.organization("other", ana, admin=[ben])
    world.group("acme", "eng", ben)
    world.group("acme", "ops", ben, ana)
    world.group("other", "theirs", ben)
    assert world.remove("acme", ben, "admin").removed_count == 1
    assert world.remove("acme", ben, "admin").removed_count == 0
    assert world.remove("acme", ben, "gardener").removed_count == 0
    assert world.remove("acme", ben, group_id="eng").removed_count == 1
    assert world.members("acme", group_id="eng") == set()
    # Without a group: there, and in all groups of the organization, and of no other.
    assert world.remove("acme", ben).removed_count == 2
    assert world.members("acme") == {(ana, "owner")}
    assert world.members("acme", group_id="ops") == {(ana, "member")}
    assert world.members("other") == {(ana, "owner"), (ben, "admin")}
    assert world.members("other", group_id="theirs") == {(ben, "member")}
    # A group still belongs to its organization.
    assert world.decision("organization:acme", "organization", "group:eng") == ALLOWED
    assert world.remove("acme", f"user:{NOBODY}").removed_count == 0


def test_the_last_owner_stays(world: World, sql):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, owner=[ben], admin=[ben])
    assert world.remove("acme", ana).removed_count == 1
    for role in ("owner", ""):
        with pytest.raises(Refused) as refused:
            world.remove("acme", ben, role)
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "LAST_OWNER")
    assert world.members("acme") == {(ben, "owner"), (ben, "admin")}
    # One whose time is over is none.
    world.add("acme", ana, "owner")
    sql("update relationships set expire_time = now() - interval '1 hour' where subject = %s", ana)
    with pytest.raises(Refused) as refused:
        world.remove("acme", ben, "owner")
    assert refused.value.reason == "LAST_OWNER"
    assert world.remove("acme", ana, "owner").removed_count == 1


# ----- groups ---------------------------------------------------------------------------------------------------------


def test_life_of_a_group(world: World):
    ana = world.user("ana")
    world.organization("acme")
    world.organization("other")
    given = pb.Group(organization_id="acme", group_id="eng", display_name="Engineering")
    created = world.call(pb.CreateGroupRequest(group=given)).group
    assert (created.display_name, created.status) == ("Engineering", pb.ORGANIZATION_STATUS_ACTIVE)
    assert world.call(pb.GetGroupRequest(organization_id="acme", group_id="eng")).group == created
    taken = world.refused(pb.CreateGroupRequest(group=pb.Group(organization_id="other", group_id="eng")))
    assert (taken.reason, taken.metadata["field"]) == ("ALREADY_EXISTS", "group.group_id")
    nowhere = pb.CreateGroupRequest(group=pb.Group(organization_id="none", group_id="x"))
    assert world.refused(nowhere).reason == "NOT_FOUND"
    world.add("acme", ana, group_id="eng")
    world.add("acme", "group:eng#member", "admin")
    assert world.decision(ana, "can_manage", "organization:acme") == ALLOWED
    world.write("group:eng#member@user:somebody")

    update = pb.UpdateGroupRequest(group=pb.Group(organization_id="acme", group_id="eng", display_name="E", etag="1"))
    assert world.call(update).group.display_name == "E"
    assert world.refused(update).reason == "ETAG_MISMATCH"
    for path in ("group_id", "organization_id"):
        moved = pb.UpdateGroupRequest(group=pb.Group(organization_id="acme", group_id="eng"))
        moved.update_mask.paths.append(path)
        assert world.refused(moved).fields == ["update_mask"]
    nameless = pb.UpdateGroupRequest(group=pb.Group(organization_id="acme"))
    assert world.refused(nameless).fields == ["group.group_id"]

    for foreign in (
        pb.GetGroupRequest(organization_id="other", group_id="eng"),
        pb.DeleteGroupRequest(organization_id="other", group_id="eng"),
        pb.UpdateGroupRequest(group=pb.Group(organization_id="other", group_id="eng", display_name="x")),
    ):
        assert world.refused(foreign).reason == "NOT_FOUND"

    delete = pb.DeleteGroupRequest(organization_id="acme", group_id="eng", etag="2")
    deleted = world.call(delete).group
    assert (deleted.status, deleted.display_name) == (pb.ORGANIZATION_STATUS_DELETED, "")
    delete.etag = ""
    assert world.call(delete).group == deleted
    assert world.decision(ana, "member", "group:eng") == DENIED
    assert world.decision(ana, "can_manage", "organization:acme") == DENIED
    assert world.members("acme") == set()
    update.group.etag = ""
    assert world.refused(update).reason == "WRONG_STATUS"
    again = pb.CreateGroupRequest(group=pb.Group(organization_id="acme", group_id="eng"))
    assert world.refused(again).reason == "ALREADY_EXISTS"


def test_groups_are_listed_by_organization(world: World):
    world.organization("acme")
    world.organization("other")
    names = ["a", "b", "c", "d"]
    for name in names:
        world.group("acme", name)
    world.group("other", "e")
    world.call(pb.DeleteGroupRequest(organization_id="acme", group_id="b"))

    def listed(organization_id: str, **more: Any) -> list[str]:
        found: list[str] = []
        request = pb.ListGroupsRequest(organization_id=organization_id, page_size=1, **more)
        while True:
            page = world.call(request)
            found += [item.group_id for item in page.groups]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    assert listed("acme") == ["a", "c", "d"]
    assert listed("acme", include_deleted=True) == names
    assert listed("other") == ["e"]
    assert world.refused(pb.ListGroupsRequest(organization_id="none")).reason == "NOT_FOUND"


# ----- deletion -------------------------------------------------------------------------------------------------------


def test_a_deleted_organization_leaves_nothing_behind(world: World, sql):
    ana, ben = world.user("ana"), world.user("ben")
    for name in ("acme", "other"):
        world.organization(name, ana, admin=[ben])
        world.group(name, f"{name}-eng", ben)
        world.invite(name, email="eve@example.com")
    before = sql("select * from relationships where object ~ 'other' or subject ~ 'other'")
    # Also what an application's own objects have to do with them.
    sql(
        "insert into relationships (object, relation, subject, subject_relation) values "
        "('document:1', 'owner', 'organization:acme', ''), ('document:1', 'viewer', 'group:acme-eng', 'member')"
    )
    world.call(pb.DeleteOrganizationRequest(organization_id="acme"))
    assert sql("select * from relationships where object ~ 'acme' or subject ~ 'acme'") == []
    assert sql("select * from relationships") == before
    assert sql("select status from groups order by group_id") == [{"status": "deleted"}, {"status": "active"}]
    ended = sql("select organization_id, email, end_time is null as living from invitations order by organization_id")
    assert [tuple(row.values()) for row in ended] == [("acme", "", False), ("other", "eve@example.com", True)]
    assert world.decision(ben, "can_manage", "organization:acme") == DENIED
    for request in (
        pb.AddMemberRequest(organization_id="acme", subject=ana),
        pb.CreateGroupRequest(group=pb.Group(organization_id="acme", group_id="new")),
        pb.CreateInvitationRequest(organization_id="acme"),
    ):
        assert world.refused(request).reason == "WRONG_STATUS"
    assert world.remove("acme", ana).removed_count == 0
    assert world.call(pb.ListGroupsRequest(organization_id="acme")).groups == []


def test_a_large_organization_goes_in_bulk(world: World, sql, new_events):
    """A hundred thousand members: no event that grows with them, no statement and no call that runs into its limit."""
    world.organization("acme")
    world.group("acme", "eng")
    sql(
        "insert into relationships (object, relation, subject, subject_relation) "
        "select 'organization:acme', 'member', 'user:' || n, '' from generate_series(1, 100000) n"
    )
    sql(
        "insert into relationships (object, relation, subject, subject_relation) "
        "select 'document:' || n, 'viewer', 'group:eng', 'member' from generate_series(1, 2000) n"
    )
    new_events()
    world.call(pb.DeleteOrganizationRequest(organization_id="acme"))
    assert sql("select count(*) from relationships") == [{"count": 0}]
    events = new_events()
    told = [row for event in events for row in event["payload"].get("deleted", ())]
    assert len(told) == len(set(told)) == 102_001
    for event in events:
        assert len(event["objects"]) <= 100
        assert len(event["nodes"]) <= 2_000
        assert len(event["payload"].get("deleted", ())) <= 1_000
    changes = [event for event in events if event["type"] == "relationships-changed"]
    assert any(node("organization#member") in event["nodes"] for event in changes)
    assert all(
        node("organization:*#member") in event["nodes"] for event in changes if "organization:acme" in event["objects"]
    )
