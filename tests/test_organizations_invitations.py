"""Invitations to organizations: a secret that works once, for a time, and is kept nowhere."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from organization_calls import ALLOWED, Refused, World

from watchword.client.testing import LocalServer
from watchword.server.app import utc_now
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.v1 import organizations_pb2 as pb

NOBODY = "01890a5d-ac96-774b-bcce-b302099a8057"
ADDRESS = "canary-5c1d@example.com"
DAY = 24 * 3600


@pytest.fixture
def world(watchword, channel, metadata) -> World:
    world = World(watchword, channel, metadata)
    world.organization("acme")
    return world


def accept(token: str, subject: str = "") -> pb.AcceptInvitationRequest:
    return pb.AcceptInvitationRequest(invitation_token=token, user_id=subject.removeprefix("user:"))


def listed(world: World, organization_id: str = "acme", size: int = 0) -> list[pb.Invitation]:
    found: list[pb.Invitation] = []
    request = pb.ListInvitationsRequest(organization_id=organization_id, page_size=size)
    while True:
        page = world.call(request)
        found += page.invitations
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def assert_ended(world: World, sql, token: str) -> None:
    assert listed(world) == []
    assert [row["email"] for row in sql("select email from invitations")] == [""]
    refused = world.refused(accept(token, world.user("late")))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "INVITATION_INVALID")
    assert world.members("acme") == set() or world.members("acme", role="admin")


def test_an_invitation_makes_a_member(world: World, sql):
    ana = world.user("ana")
    created = world.invite("acme", "admin", email=ADDRESS)
    invitation = created.invitation
    assert (invitation.organization_id, invitation.role, invitation.email) == ("acme", "admin", ADDRESS)
    assert listed(world) == [invitation]
    lifetime = invitation.expire_time.ToSeconds() - invitation.create_time.ToSeconds()
    assert lifetime == 7 * DAY
    answer = world.call(accept(created.invitation_token, ana))
    assert (answer.organization_id, answer.role) == ("acme", "admin")
    assert world.members("acme") == {(ana, "admin")}
    assert world.decision(ana, "can_manage", "organization:acme") == ALLOWED
    assert_ended(world, sql, created.invitation_token)
    assert world.members("acme") == {(ana, "admin")}


def test_the_token_is_kept_nowhere_and_the_address_only_sealed(world: World, sql, watchword_server: LocalServer):
    created = world.invite("acme", email=ADDRESS)
    prefix, id_, secret = created.invitation_token.split("_", 2)
    assert (prefix, id_) == ("wwi", created.invitation.invitation_id.replace("-", ""))
    assert len(secret) == 43  # 32 bytes
    assert len({world.invite("acme").invitation_token for _ in range(20)}) == 20
    world.call(accept(created.invitation_token, world.user("ana")))
    (event,) = sql("select * from events where type = 'invitation-created' and personal_sealed is not null")
    assert event["payload"] == {"role": "member"}
    assert event["objects"] == [f"invitation:{created.invitation.invitation_id}", "organization:acme"]
    for table in ("invitations", "events", "answers", "relationships"):
        everything = str(sql(f"select * from {table}"))
        assert secret not in everything
        assert ADDRESS not in everything
    assert secret not in watchword_server.log()
    assert ADDRESS not in watchword_server.log()


def test_a_wrong_token_is_refused_whatever_is_wrong(world: World):
    ana = world.user("ana")
    token = world.invite("acme").invitation_token
    key = world.metadata[0][1].removeprefix("Bearer ")
    flipped = token[:-2] + ("BB" if token[-2:] != "BB" else "CC")
    texts = {world.refused(accept(wrong, ana)).message for wrong in (flipped, token[:-1], "wwi_x_y", "x", key)}
    assert len(texts) == 1
    assert world.members("acme") == set()


def test_an_invitation_expires_by_the_servers_clock(world: World, sql, watchword_server: LocalServer):
    ana = world.user("ana")
    token = world.invite("acme").invitation_token
    watchword_server.advance(7 * DAY - 60)
    kept = world.invite("acme").invitation
    assert len(listed(world)) == 2
    watchword_server.advance(61)
    assert listed(world) == [kept]
    assert world.refused(accept(token, ana)).reason == "INVITATION_INVALID"
    assert world.members("acme") == set()


async def end_expired(server: LocalServer, *, now: datetime) -> int:
    """What the server does every minute, at another time."""
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    database = Database(
        server.database_url, pool_size=2, keyring=keyring, clock=lambda: now, randomness=secrets.token_bytes
    )
    await database.open()
    try:
        async with database.read() as reader:
            return await reader.invitations.end_expired()
    finally:
        await database.close()


async def test_the_address_of_an_expired_invitation_is_forgotten(world: World, sql, watchword_server: LocalServer):
    world.invite("acme", email=ADDRESS)
    now = utc_now()
    assert await end_expired(watchword_server, now=now + timedelta(days=6)) == 0
    assert sql("select email from invitations") == [{"email": ADDRESS}]
    assert await end_expired(watchword_server, now=now + timedelta(days=8)) == 1
    assert sql("select email, end_time = expire_time as ended from invitations") == [{"email": "", "ended": True}]


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(0, False), (60, True), (30 * DAY - 60, True), (30 * DAY + 60, False)]
)
def test_an_invitation_lives_thirty_days_at_most(world: World, watchword_server: LocalServer, seconds, is_good):
    request = pb.CreateInvitationRequest(organization_id="acme")
    request.expire_time.FromSeconds(int(watchword_server.time() + seconds))
    if is_good:
        assert world.call(request).invitation.expire_time == request.expire_time
    else:
        assert world.refused(request).fields == ["expire_time"]


def test_a_revoked_invitation_is_over(world: World, sql):
    created = world.invite("acme", email=ADDRESS)
    request = pb.RevokeInvitationRequest(organization_id="acme", invitation_id=created.invitation.invitation_id)
    world.call(request)
    world.call(request)
    assert_ended(world, sql, created.invitation_token)
    world.organization("other")
    foreign = pb.RevokeInvitationRequest(organization_id="other", invitation_id=request.invitation_id)
    unknown = pb.RevokeInvitationRequest(organization_id="acme", invitation_id=NOBODY)
    assert world.refused(foreign).reason == world.refused(unknown).reason == "NOT_FOUND"


def test_an_accepted_invitation_is_not_revoked(world: World):
    ana = world.user("ana")
    created = world.invite("acme")
    world.call(accept(created.invitation_token, ana))
    id_ = created.invitation.invitation_id
    world.call(pb.RevokeInvitationRequest(organization_id="acme", invitation_id=id_))
    assert world.members("acme") == {(ana, "member")}


def test_an_invitation_ends_with_its_organization(world: World, sql):
    created = world.invite("acme", email=ADDRESS)
    world.call(pb.DeleteOrganizationRequest(organization_id="acme"))
    assert_ended(world, sql, created.invitation_token)


def test_who_accepts_must_be_an_active_user(world: World):
    token = world.invite("acme").invitation_token
    suspended, gone = world.user("suspended"), world.user("gone")
    world.watchword.users.suspend(suspended.removeprefix("user:"))
    world.watchword.users.delete(gone.removeprefix("user:"))
    assert world.refused(accept(token)).fields == ["user_id"]
    assert world.refused(accept(token, NOBODY)).reason == "NOT_FOUND"
    for subject in (suspended, gone):
        assert world.refused(accept(token, subject)).reason == "WRONG_STATUS"
    # None of these has used it up.
    world.call(accept(token, world.user("ana")))


def test_a_user_accepts_for_themselves(world: World):
    ana, ben = world.user("ana"), world.user("ben")
    token, of_ana = world.invite("acme").invitation_token, world.token("ana")
    assert world.refused(accept(token, ben), user=of_ana).fields == ["user_id"]
    assert world.call(accept(token), user=of_ana).role == "member"
    assert world.members("acme") == {(ana, "member")}
    world.call(accept(world.invite("acme", "admin").invitation_token, ana), user=of_ana)
    assert world.members("acme") == {(ana, "member"), (ana, "admin")}


def test_an_invitation_is_to_a_role_of_users(world: World):
    assert world.refused(pb.CreateInvitationRequest(organization_id="none")).reason == "NOT_FOUND"
    assert world.refused(pb.CreateInvitationRequest(organization_id="acme", role="can_view")).fields == ["role"]
    assert world.refused(pb.CreateInvitationRequest(organization_id="acme", role="no role")).fields == ["role"]
    unknown = world.refused(pb.CreateInvitationRequest(organization_id="acme", role="gardener"))
    assert unknown.reason == "MODEL_LACKS_RELATION"
    token = world.invite("acme", "owner").invitation_token
    # By the time that it is accepted, users can be no owners any more; then they can again.
    ana = world.user("ana")
    model = "model\n  schema 1.1\ntype user\ntype service\ntype organization\n  relations\n    define owner: [{}]\n"
    world.model(model.format("service"))
    assert world.refused(accept(token, ana)).reason == "INVITATION_INVALID"
    world.model(model.format("user"))
    assert world.call(accept(token, ana)).role == "owner"


def test_invitations_are_listed_page_by_page(world: World):
    created = [world.invite("acme", email=f"a{number}@example.com").invitation for number in range(5)]
    world.organization("other")
    world.invite("other")
    assert listed(world, size=2) == created
    assert world.refused(pb.ListInvitationsRequest(organization_id="none")).reason == "NOT_FOUND"


@pytest.mark.parametrize("round_", range(5))
def test_an_invitation_that_two_accept_at_once_makes_one_member(world: World, round_):
    subjects = [world.user(f"u{number}") for number in range(4)]
    token = world.invite("acme").invitation_token

    def try_(subject: str) -> str:
        try:
            return world.call(accept(token, subject)).role
        except Refused as refused:
            return refused.reason

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(try_, subjects))
    assert sorted(answers) == ["INVITATION_INVALID"] * 3 + ["member"]
    assert world.members("acme") == {(subjects[answers.index("member")], "member")}
