"""OrganizationService: models of applications, events, and retries."""

import uuid

import pytest
from organization_calls import Events, Refused, World

from watchword.server.identifiers import node
from watchword.v1 import organizations_pb2 as pb


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    return World(watchword, channel, metadata)


@pytest.fixture
def new_events(sql) -> Events:
    return Events(sql)


def organization(organization_id: str, **more: str) -> pb.Organization:
    return pb.Organization(organization_id=organization_id, **more)


# ----- models of applications -----------------------------------------------------------------------------------------

WITHOUT = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]\n"
OTHER = """model
  schema 1.1
type user
type organization
  relations
    define owner: [user]
    define auditor: [user]
    define can_view: auditor or owner
type group
  relations
    define member: [user]
"""


def test_a_model_without_organizations(world: World):
    ana = world.user("ana")
    world.organization("before", ana)
    world.model(WITHOUT)
    owned = pb.CreateOrganizationRequest(organization=organization("acme"), owner_user_id=ana.removeprefix("user:"))
    for request, type_, relation in [
        (owned, "organization", "owner"),
        (pb.AddMemberRequest(organization_id="before", subject=ana), "organization", "member"),
        (pb.CreateInvitationRequest(organization_id="before"), "organization", "member"),
        (pb.CreateGroupRequest(group=pb.Group(organization_id="before", group_id="eng")), "group", "organization"),
    ]:
        refused = world.refused(request)
        assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "MODEL_LACKS_RELATION")
        assert (refused.metadata["type"], refused.metadata["relation"]) == (type_, relation)
    assert world.refused(pb.GetOrganizationRequest(organization_id="acme")).reason == "NOT_FOUND"
    # What needs no relation goes on.
    world.organization("plain")
    assert world.members("before") == {(ana, "owner")}
    world.call(pb.DeleteOrganizationRequest(organization_id="before"))
    token = world.token("ana")
    listing = world.refused(pb.ListOrganizationsRequest(), user=token)
    assert (listing.reason, listing.metadata["relation"]) == ("MODEL_LACKS_RELATION", "can_view")
    getting = world.refused(pb.GetOrganizationRequest(organization_id="plain"), user=token)
    assert getting.reason == "MODEL_LACKS_RELATION"


def test_roles_are_those_of_the_model_in_force(world: World):
    ana = world.user("ana")
    world.organization("acme", ana)
    world.group("acme", "eng")
    world.model(OTHER)
    world.add("acme", ana, "auditor")
    assert world.members("acme") == {(ana, "owner"), (ana, "auditor")}
    for role in ("", "admin"):
        with pytest.raises(Refused) as refused:
            world.add("acme", ana, role)
        assert refused.value.reason == "MODEL_LACKS_RELATION"
    with pytest.raises(Refused) as refused:
        world.call(pb.CreateGroupRequest(group=pb.Group(organization_id="acme", group_id="new")))
    assert refused.value.metadata["relation"] == "organization"
    assert world.call(pb.ListGroupsRequest(organization_id="acme")).groups[0].group_id == "eng"


# ----- events and retries ---------------------------------------------------------------------------------------------


def test_every_mutation_writes_its_events(world: World, new_events):
    ana, ben = world.user("ana"), world.user("ben")
    new_events()

    def kinds() -> list[str]:
        events = new_events()
        assert len({event["xid"] for event in events}) <= 1
        assert {event["organization"] for event in events} <= {"organization:acme"}
        return [event["type"] for event in events]

    changed = "relationships-changed"
    world.organization("acme", ana)
    assert kinds() == ["organization-created", changed]
    world.call(pb.UpdateOrganizationRequest(organization=organization("acme", display_name="x")))
    assert kinds() == ["organization-updated"]
    world.call(pb.UpdateOrganizationRequest(organization=organization("acme", display_name="x")))
    assert kinds() == []
    world.add("acme", ben)
    assert kinds() == [changed]
    world.remove("acme", ben)
    assert kinds() == [changed]
    world.remove("acme", ben)
    assert kinds() == []
    world.group("acme", "eng")
    assert kinds() == ["group-created", changed]
    world.call(pb.UpdateGroupRequest(group=pb.Group(organization_id="acme", group_id="eng", display_name="x")))
    assert kinds() == ["group-updated"]
    world.call(pb.DeleteGroupRequest(organization_id="acme", group_id="eng"))
    assert kinds() == ["group-deleted", changed]
    invited = world.invite("acme")
    assert kinds() == ["invitation-created"]
    revoke = pb.RevokeInvitationRequest(organization_id="acme", invitation_id=invited.invitation.invitation_id)
    world.call(revoke)
    assert kinds() == ["invitation-revoked"]
    world.call(revoke)
    assert kinds() == []
    token = world.invite("acme").invitation_token
    kinds()
    world.call(pb.AcceptInvitationRequest(invitation_token=token, user_id=ben.removeprefix("user:")))
    assert kinds() == [changed, "invitation-accepted"]
    world.group("acme", "ops")
    world.invite("acme")
    new_events()
    world.call(pb.DeleteOrganizationRequest(organization_id="acme"))
    assert kinds() == ["organization-deleted", "invitation-revoked", "group-deleted", changed, changed]
    world.call(pb.DeleteOrganizationRequest(organization_id="acme"))
    assert kinds() == []


def test_events_name_what_changed(world: World, new_events):
    ana = world.user("ana")
    world.organization("acme")
    world.group("acme", "eng")
    new_events()
    revision = world.add("acme", ana, group_id="eng").revision
    (event,) = new_events()
    assert (event["objects"], event["actor"]) == (["group:eng"], "service:administrator")
    assert set(event["nodes"]) == {node("group:eng#member"), node("group:*#member")}
    assert event["payload"] == {"written": [f"group:eng#member@{ana}"]}
    assert revision.endswith(f".{event['xid']}")
    world.remove("acme", ana)
    (event,) = new_events()
    assert event["payload"] == {"deleted": [f"group:eng#member@{ana}"]}
    assert set(event["nodes"]) == {node("group:eng#member"), node("group:*#member")}


def test_a_retry_gets_the_first_answer(world: World, new_events):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, member=[ben])
    world.group("acme", "old")
    token = world.invite("acme").invitation_token
    revoked = world.invite("acme").invitation.invitation_id
    requests = [
        pb.CreateOrganizationRequest(organization=organization("new")),
        pb.UpdateOrganizationRequest(organization=organization("acme", display_name="x")),
        pb.AddMemberRequest(organization_id="acme", subject=ben, role="admin"),
        pb.RemoveMemberRequest(organization_id="acme", subject=ben),
        pb.CreateGroupRequest(group=pb.Group(organization_id="acme", group_id="eng")),
        pb.UpdateGroupRequest(group=pb.Group(organization_id="acme", group_id="old", display_name="x")),
        pb.DeleteGroupRequest(organization_id="acme", group_id="old"),
        pb.CreateInvitationRequest(organization_id="acme", role="admin", email="eve@example.com"),
        pb.RevokeInvitationRequest(organization_id="acme", invitation_id=revoked),
        pb.AcceptInvitationRequest(invitation_token=token, user_id=ben.removeprefix("user:")),
        pb.DeleteOrganizationRequest(organization_id="new"),
    ]
    mutations = {
        method.input_type.name
        for method in pb.DESCRIPTOR.services_by_name["OrganizationService"].methods
        if "request_id" in method.input_type.fields_by_name
    }
    assert {type(request).__name__ for request in requests} == mutations
    for request in requests:
        request.request_id = str(uuid.uuid4())
        first = world.call(request)
        assert first.revision
        new_events()
        assert world.call(request) == first
        assert new_events() == []
