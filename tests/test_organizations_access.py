"""Organizations on behalf of users: each sees and changes their own, and gives away no more than they have."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from organization_calls import Refused, World, eventually
from wire import RPCS, Rpc

from watchword.v1 import organizations_pb2 as pb

SOMEBODY = "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    return World(watchword, channel, metadata)


# ----- the walk: every RPC that takes the id of an organization, group or invitation ----------------------------------

ID = re.compile(r"(organization|group|invitation)_ids?")
# Not ids of what is there, but of what is to be made: that one is taken is said to whoever wants it (see the proto).
CHOSEN = {("CreateOrganizationRequest", "organization.organization_id"), ("CreateGroupRequest", "group.group_id")}


def id_paths(descriptor: Descriptor, *above: str) -> Iterator[str]:
    """The paths of all fields of a request that hold such an id, however deep."""
    for field in descriptor.fields:
        path = (*above, field.name)
        if ID.fullmatch(field.name):
            yield ".".join(path)
        elif field.message_type is not None and field.message_type.full_name.startswith("watchword.") and len(path) < 5:
            yield from id_paths(field.message_type, *path)


def places(rpc: Rpc) -> list[str]:
    return [path for path in id_paths(rpc.request.DESCRIPTOR) if (rpc.request.DESCRIPTOR.name, path) not in CHOSEN]


WALKED = [rpc for rpc in RPCS if places(rpc)]


def fill(request: Message, path: str, value: str) -> None:
    *above, name = path.split(".")
    for part in above:
        request = getattr(request, part)
    if request.DESCRIPTOR.fields_by_name[name].is_repeated:
        getattr(request, name).append(value)
    else:
        setattr(request, name, value)


def asking(rpc: Rpc, ids: dict[str, str], member: str) -> Message:
    """A request that is good but for its ids."""
    request = rpc.request()
    for path, value in ids.items():
        fill(request, path, value)
    for name, value in {"subject": member, "display_name": "changed"}.items():
        for message in (request, getattr(request, "organization", None), getattr(request, "group", None)):
            if isinstance(message, Message) and name in message.DESCRIPTOR.fields_by_name:
                setattr(message, name, value)
    return request


@pytest.fixture
def two(world: World) -> dict[str, Any]:
    """Two organizations, with everything; the ids by kind, of what is there and of what is not."""
    found: dict[str, Any] = {"x": {"organization": "org-x", "group": "team-x", "invitation": SOMEBODY}}
    for name in ("a", "b"):
        owner, admin, member = (world.user(f"{role}-{name}") for role in ("owner", "admin", "member"))
        organization_id, group_id = f"org-{name}", f"team-{name}"
        world.organization(organization_id, owner, admin=[admin], member=[member])
        world.group(organization_id, group_id, member, admin)
        world.add(organization_id, f"group:{group_id}#member")
        invitation_id = world.invite(organization_id, email=f"{name}@example.com").invitation.invitation_id
        found[name] = {"organization": organization_id, "group": group_id, "invitation": invitation_id}
    found["member"] = member
    return found


def kind(path: str) -> str:
    match = ID.fullmatch(path.rpartition(".")[2])
    assert match is not None
    return match[1]


def test_the_walk_finds_what_takes_ids():
    named = {method.input_type.name for method in pb.DESCRIPTOR.services_by_name["OrganizationService"].methods}
    # These name an organization by nothing, by a secret, or choose a new one's id.
    without = {"CreateOrganizationRequest", "ListOrganizationsRequest", "AcceptInvitationRequest"}
    assert {rpc.request.DESCRIPTOR.name for rpc in WALKED} >= named - without
    assert places(next(rpc for rpc in WALKED if rpc.name.endswith("UpdateGroup"))) == [
        "group.group_id",
        "group.organization_id",
    ]


@pytest.mark.parametrize("role", ["admin", "owner"])
@pytest.mark.parametrize("rpc", WALKED, ids=lambda rpc: rpc.name)
def test_ids_of_another_organization_are_like_ids_of_nothing(world: World, sql, two, rpc: Rpc, role: str):
    token = world.token(f"{role}-a")

    def state() -> list[Any]:
        tables = ("organizations", "groups", "invitations", "relationships")
        return [sql(f"select * from {table} order by 1, 2, 3") for table in tables]

    def outcome(whose: str, foreign: tuple[str, ...]) -> Refused:
        ids = {path: two[whose if path in foreign else "a"][kind(path)] for path in places(rpc)}
        refused = world.refused(asking(rpc, ids, two["member"]), user=token)
        for name, value in two[whose].items():
            refused.message = refused.message.replace(value, f"<{name}>")
            refused.metadata = {key: text.replace(value, f"<{name}>") for key, text in refused.metadata.items()}
        refused.metadata.pop("request_id")
        return refused

    before = state()
    for size in range(1, len(places(rpc)) + 1):
        for foreign in combinations(places(rpc), size):
            refused = outcome("b", foreign)
            # Anything else would be about the request itself, and would show nothing.
            assert refused.reason in {"ACCESS_DENIED", "NOT_FOUND"}, (foreign, refused)
            assert outcome("x", foreign) == refused, foreign
    assert state() == before
    # With ids of their own it is done: the refusals came from the ids.
    own = {path: two["a"][kind(path)] for path in places(rpc)}
    world.call(asking(rpc, own, two["member"]), user=world.token("owner-a"))


@pytest.mark.parametrize("request_type", [pb.AddMemberRequest, pb.RemoveMemberRequest])
def test_a_group_of_another_organization_is_no_subject(world: World, sql, two, request_type):
    for role in ("admin", "owner"):
        answers = []
        for group_id in ("team-b", "team-x"):
            request = request_type(organization_id="org-a", subject=f"group:{group_id}#member")
            try:
                world.call(request, user=world.token(f"{role}-a"))
                answers.append("")
            except Refused as refused:
                answers.append(refused.message.replace(group_id, ""))
        assert len(set(answers)) == 1
        assert bool(answers[0]) is (request_type is pb.AddMemberRequest)
    assert sql("select * from relationships where object = 'organization:org-a' and subject = 'group:team-b'") == []


def test_only_that_a_chosen_id_is_taken_is_said(world: World, two):
    token = world.token("owner-a")
    taken = world.refused(
        pb.CreateOrganizationRequest(organization=pb.Organization(organization_id="org-b")), user=token
    )
    assert taken.message == "organization.organization_id is taken."
    group = pb.Group(organization_id="org-a", group_id="team-b")
    assert world.refused(pb.CreateGroupRequest(group=group), user=token).message == "group.group_id is taken."


# ----- giving away no more than one's own -----------------------------------------------------------------------------


def test_an_admin_cannot_make_an_owner(world: World):
    ana, ben, eve = (world.user(name) for name in ("ana", "ben", "eve"))
    world.organization("acme", ana, admin=[ben])
    of_ben = world.token("ben")
    before = world.members("acme")
    for subject in (ben, eve):
        with pytest.raises(Refused) as refused:
            world.add("acme", subject, "owner", user=of_ben)
        assert (refused.value.code, refused.value.reason) == ("PERMISSION_DENIED", "ACCESS_DENIED")
        assert refused.value.metadata["relation"] == "owner"
    with pytest.raises(Refused) as refused:
        world.invite("acme", "owner", user=of_ben)
    assert refused.value.reason == "ACCESS_DENIED"
    # Nor take the owner's role away, alone or among others.
    world.add("acme", ana, "member")
    for role in ("owner", ""):
        with pytest.raises(Refused) as refused:
            world.remove("acme", ana, role, user=of_ben)
        assert refused.value.reason == "ACCESS_DENIED"
    assert world.members("acme") == before | {(ana, "member")}
    # What they have, they give and take.
    world.add("acme", eve, "admin", user=of_ben)
    world.add("acme", eve, user=of_ben)
    assert world.remove("acme", eve, user=of_ben).removed_count == 2
    assert world.invite("acme", "admin", user=of_ben).invitation.role == "admin"
    # An owner gives and takes everything.
    of_ana = world.token("ana")
    world.add("acme", eve, "owner", user=of_ana)
    world.remove("acme", ben, user=of_ana)
    assert world.members("acme") == {(ana, "owner"), (ana, "member"), (eve, "owner")}


def test_an_admin_does_not_join_a_group_that_they_are_not_in(world: World):
    """Threat: what was shared with the group, or is the group's to do, is not theirs."""
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, admin=[ben])
    world.group("acme", "board", ana)
    of_ben, of_ana = world.token("ben"), world.token("ana")
    with pytest.raises(Refused) as refused:
        world.add("acme", ben, group_id="board", user=of_ben)
    assert (refused.value.reason, refused.value.metadata["object"]) == ("ACCESS_DENIED", "group:board")
    with pytest.raises(Refused) as refused:
        world.remove("acme", ana, group_id="board", user=of_ben)
    assert refused.value.reason == "ACCESS_DENIED"
    # Nor by putting a group into it.
    world.group("acme", "mine", ben)
    with pytest.raises(Refused) as refused:
        world.add("acme", "group:mine#member", group_id="board", user=of_ben)
    assert refused.value.reason == "ACCESS_DENIED"
    world.add("acme", ben, group_id="board", user=of_ana)
    assert world.members("acme", group_id="board") == {(ana, "member"), (ben, "member")}


GROUPS_OWN = """model
  schema 1.1
type user
type service
type organization
  relations
    define owner: [user, group#member]
    define admin: [user] or owner
    define member: [user, group#member] or admin
    define can_manage: admin
    define can_view: member
type group
  relations
    define organization: [organization]
    define member: [user, group#member] or admin from organization
    define admin: [user]
"""


def test_an_admin_does_not_delete_a_group_that_may_more(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    world.model(GROUPS_OWN.replace(" or admin from organization", ""))
    world.organization("acme", "", admin=[ben])
    world.group("acme", "owners", ana)
    world.add("acme", "group:owners#member", "owner")
    request = pb.DeleteGroupRequest(organization_id="acme", group_id="owners")
    assert world.refused(request, user=world.token("ben")).reason == "ACCESS_DENIED"
    # The last owner stays, whoever asks.
    for user in ("", world.token("ana")):
        assert world.refused(request, user=user).reason == "LAST_OWNER"
    world.add("acme", ana, "owner")
    world.call(request, user=world.token("ana"))
    assert world.members("acme") == {(ben, "admin"), (ana, "owner")}


def test_a_model_may_let_admins_into_groups(world: World):
    ben, eve = world.user("ben"), world.user("eve")
    world.model(GROUPS_OWN)
    world.organization("acme", "", admin=[ben])
    world.group("acme", "eng")
    world.add("acme", eve, group_id="eng", user=world.token("ben"))
    assert world.members("acme", group_id="eng") == {(eve, "member")}


def test_members_see_and_outsiders_do_not(world: World):
    ana, ben, _ = (world.user(name) for name in ("ana", "ben", "eve"))
    world.organization("acme", ana)
    world.group("acme", "eng", ben)
    world.add("acme", "group:eng#member")
    reads = [
        pb.GetOrganizationRequest(organization_id="acme"),
        pb.ListMembersRequest(organization_id="acme"),
        pb.GetGroupRequest(organization_id="acme", group_id="eng"),
        pb.ListGroupsRequest(organization_id="acme"),
    ]
    of_ben, of_eve = world.token("ben"), world.token("eve")
    for request in reads:
        world.call(request, user=of_ben)
        assert world.refused(request, user=of_eve).reason == "ACCESS_DENIED"
    managing = [
        pb.AddMemberRequest(organization_id="acme", subject=ben, role="admin"),
        pb.RemoveMemberRequest(organization_id="acme", subject=ben),
        pb.CreateGroupRequest(group=pb.Group(organization_id="acme", group_id="ops")),
        pb.CreateInvitationRequest(organization_id="acme"),
        pb.ListInvitationsRequest(organization_id="acme"),
        pb.DeleteOrganizationRequest(organization_id="acme"),
    ]
    for request in managing:
        for token in (of_ben, of_eve):
            assert world.refused(request, user=token).reason == "ACCESS_DENIED"
    nameless = pb.UpdateOrganizationRequest(organization=pb.Organization(display_name="x"))
    assert world.refused(nameless, user=of_ben).reason == "ACCESS_DENIED"


def test_who_makes_an_organization_owns_it(world: World, sql):
    ana, ben = world.user("ana"), world.user("ben")
    of_ana = world.token("ana")
    other = pb.CreateOrganizationRequest(owner_user_id=ben.removeprefix("user:"))
    assert world.refused(other, user=of_ana).fields == ["owner_user_id"]
    for owner in ("", ana.removeprefix("user:")):
        made = world.call(pb.CreateOrganizationRequest(owner_user_id=owner), user=of_ana).organization
        assert world.members(made.organization_id) == {(ana, "owner")}
        (event,) = sql(
            "select * from events where type = 'organization-created' and organization = %s",
            f"organization:{made.organization_id}",
        )
        assert (event["actor"], event["intermediary"]) == (ana, "service:administrator")
        world.call(pb.DeleteOrganizationRequest(organization_id=made.organization_id), user=of_ana)


def test_a_user_lists_the_organizations_that_they_may_view(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    names = [f"org-{number}" for number in range(6)]
    world.organization(names[0], ana)
    world.organization(names[1], "", admin=[ana])
    world.organization(names[2], ben)
    world.organization(names[3], "", member=[ana])
    world.organization(names[4], ben)
    world.group(names[4], "eng", ana)
    world.add(names[4], "group:eng#member")
    world.organization(names[5], ana)
    world.call(pb.DeleteOrganizationRequest(organization_id=names[5]))
    # What is no organization is not listed, whatever the relationships say.
    world.write(f"organization:ghost#member@{ana}", f"organization:{names[5]}#member@{ana}")

    def listed(token: str, **more: Any) -> list[str]:
        found: list[str] = []
        request = pb.ListOrganizationsRequest(**more)
        while True:
            page = world.call(request, user=token)
            found += [item.organization_id for item in page.organizations]
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    of_ana = world.token("ana")
    mine = [names[0], names[1], names[3], names[4]]
    for size in (0, 1, 2, 3, 4):
        assert listed(of_ana, page_size=size) == mine
    assert listed(of_ana, page_size=1, include_deleted=True) == [*mine, names[5]]
    assert listed(world.token("ben")) == [names[2], names[4]]
    # What is taken away while they turn pages is on none that follows.
    request = pb.ListOrganizationsRequest(page_size=1)
    request.page_token = world.call(request, user=of_ana).next_page_token
    world.remove(names[1], ana)
    assert [item.organization_id for item in world.call(request, user=of_ana).organizations] == [names[3]]


def test_what_was_taken_away_is_gone_at_once(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    world.organization("acme", ana, admin=[ben])
    of_ben = world.token("ben")
    request = pb.UpdateOrganizationRequest(organization=pb.Organization(organization_id="acme", display_name="x"))
    world.call(request, user=of_ben)
    world.remove("acme", ben)

    def is_refused() -> bool:
        try:
            world.call(request, user=of_ben)
        except Refused as refused:
            return refused.reason == "ACCESS_DENIED"
        return False

    eventually(is_refused)
