"""Retries with the same request id: one change, one answer, and nothing to be read from what is kept for them."""

import base64
import secrets
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc
import pytest
from conftest import PASSWORD
from google.protobuf.message import Message

from watchword.client import (
    AlreadyExistsError,
    ApiKeyInvalidError,
    Client,
    RequestIdReusedError,
    SignInRefusedError,
    UserStatus,
)
from watchword.client._transport import path_of
from watchword.client.testing import LocalServer
from watchword.server.app import ANSWERS_ARE_KEPT, utc_now
from watchword.server.permissions.built_in import STARTER_DSL
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.v1 import (
    credentials_pb2,
    organizations_pb2,
    permissions_pb2,
    relationships_pb2,
    service_accounts_pb2,
    sessions_pb2,
    sign_in_pb2,
    users_pb2,
)

Raw = Callable[[Message], bytes]


@pytest.fixture
def raw(channel: grpc.Channel, metadata: tuple[tuple[str, str], ...]) -> Raw:
    """Send a request and get the bytes of the answer, as they came."""

    def send(request: Message) -> bytes:
        answer: bytes = channel.unary_unary(path_of(request), request_serializer=type(request).SerializeToString)(
            request, metadata=metadata, timeout=20
        )
        return answer

    return send


@dataclass(frozen=True)
class World:
    """What the mutations below are about."""

    user_id: str
    session_id: str
    refresh_token: str
    key_id: str
    organization_id: str
    etag: str
    invitation_id: str
    invitation_token: str


@pytest.fixture
def world(watchword: Client, raw: Raw) -> World:
    user = watchword.users.create(username="ana", password=PASSWORD)
    tokens = watchword.sign_in("ana", password=PASSWORD)
    watchword.service_accounts.create("billing")
    key = watchword.service_accounts.create_key("billing", permissions=["read_users"])
    request = organizations_pb2.CreateOrganizationRequest(owner_user_id=user.user_id)
    organization = organizations_pb2.CreateOrganizationResponse.FromString(raw(request)).organization
    organization_id = organization.organization_id
    raw(organizations_pb2.CreateGroupRequest(group={"organization_id": organization_id, "group_id": "devs"}))
    raw(organizations_pb2.AddMemberRequest(organization_id=organization_id, subject="service:billing"))
    invite = organizations_pb2.CreateInvitationRequest(organization_id=organization_id, role="admin")
    invited = organizations_pb2.CreateInvitationResponse.FromString(raw(invite))
    return World(
        user.user_id,
        tokens.session.session_id,
        tokens.refresh_token,
        key.key.key_id,
        organization_id,
        organization.etag,
        invited.invitation.invitation_id,
        invited.invitation_token,
    )


# Of each mutation the request, and how many events one change makes.
MUTATIONS: dict[str, tuple[Callable[[World], Message], int]] = {
    "CreateUser": (
        lambda _: users_pb2.CreateUserRequest(user=users_pb2.User(username="bob", email="bob@example.com")),
        1,
    ),
    "UpdateUser": (
        lambda w: users_pb2.UpdateUserRequest(user=users_pb2.User(user_id=w.user_id, display_name="Ana")),
        1,
    ),
    "SuspendUser": (lambda w: users_pb2.SuspendUserRequest(user_id=w.user_id), 2),
    "DeleteUser": (lambda w: users_pb2.DeleteUserRequest(user_id=w.user_id), 3),
    "StartSignIn": (lambda _: sign_in_pb2.StartSignInRequest(identifier="ana", password=PASSWORD), 1),
    "RefreshSession": (lambda w: sessions_pb2.RefreshSessionRequest(refresh_token=w.refresh_token), 1),
    "RevokeSession": (lambda w: sessions_pb2.RevokeSessionRequest(session_id=w.session_id), 1),
    "RevokeAllSessions": (lambda w: sessions_pb2.RevokeAllSessionsRequest(user_id=w.user_id), 1),
    "ChangePassword": (
        lambda w: credentials_pb2.ChangePasswordRequest(
            user_id=w.user_id, current_password=PASSWORD, new_password="another horse battery"
        ),
        2,
    ),
    "CreateKey": (
        lambda _: service_accounts_pb2.CreateKeyRequest(service_account_id="billing", permissions=["read_users"]),
        1,
    ),
    "RotateKey": (lambda w: service_accounts_pb2.RotateKeyRequest(key_id=w.key_id), 2),
    "RevokeKey": (lambda w: service_accounts_pb2.RevokeKeyRequest(key_id=w.key_id), 1),
    "DeleteServiceAccount": (
        lambda _: service_accounts_pb2.DeleteServiceAccountRequest(service_account_id="billing"),
        3,
    ),
    "CreateOrganization": (
        lambda w: organizations_pb2.CreateOrganizationRequest(
            organization={"organization_id": "acme", "display_name": "Acme"}, owner_user_id=w.user_id
        ),
        2,
    ),
    "UpdateOrganization": (
        lambda w: organizations_pb2.UpdateOrganizationRequest(
            organization={"organization_id": w.organization_id, "display_name": "Acme", "etag": w.etag}
        ),
        1,
    ),
    "DeleteOrganization": (
        lambda w: organizations_pb2.DeleteOrganizationRequest(organization_id=w.organization_id, etag=w.etag),
        5,
    ),
    "AddMember": (
        lambda w: organizations_pb2.AddMemberRequest(organization_id=w.organization_id, subject="group:devs#member"),
        1,
    ),
    "RemoveMember": (
        lambda w: organizations_pb2.RemoveMemberRequest(organization_id=w.organization_id, subject="service:billing"),
        1,
    ),
    "CreateGroup": (
        lambda w: organizations_pb2.CreateGroupRequest(group={"organization_id": w.organization_id}),
        2,
    ),
    "DeleteGroup": (
        lambda w: organizations_pb2.DeleteGroupRequest(organization_id=w.organization_id, group_id="devs"),
        2,
    ),
    "CreateInvitation": (
        lambda w: organizations_pb2.CreateInvitationRequest(organization_id=w.organization_id, role="member"),
        1,
    ),
    "RevokeInvitation": (
        lambda w: organizations_pb2.RevokeInvitationRequest(
            organization_id=w.organization_id, invitation_id=w.invitation_id
        ),
        1,
    ),
    "AcceptInvitation": (
        lambda w: organizations_pb2.AcceptInvitationRequest(invitation_token=w.invitation_token, user_id=w.user_id),
        2,
    ),
    "WriteModel": (lambda _: permissions_pb2.WriteModelRequest(dsl=STARTER_DSL), 1),
    "WriteRelationships": (lambda w: relationships_pb2.WriteRelationshipsRequest(writes=[owner(w)]), 1),
    "WriteRelationships if": (
        lambda w: relationships_pb2.WriteRelationshipsRequest(
            writes=[owner(w)],
            preconditions=[{"kind": "PRECONDITION_KIND_MUST_NOT_EXIST", "filter": {"object": "organization:acme"}}],
        ),
        1,
    ),
    "DeleteRelationships": (
        lambda w: relationships_pb2.DeleteRelationshipsRequest(filter={"subject": f"user:{w.user_id}"}),
        1,
    ),
}


def owner(world: World) -> relationships_pb2.Relationship:
    return relationships_pb2.Relationship(subject=f"user:{world.user_id}", relation="owner", object="organization:acme")


def request_of(name: str, world: World) -> Message:
    request = MUTATIONS[name][0](world)
    request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]  # every mutation has it
    return request


def events(sql: Any) -> int:
    return int(sql("select count(*) as n from events")[0]["n"])


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_retry_hears_the_first_answer_and_changes_nothing(watchword_server, raw: Raw, world: World, sql, name: str):
    request = request_of(name, world)
    before = events(sql)
    first = raw(request)
    assert events(sql) == before + MUTATIONS[name][1]
    watchword_server.advance(3600)
    assert raw(request) == first
    assert events(sql) == before + MUTATIONS[name][1]


@pytest.mark.parametrize("name", MUTATIONS)
def test_many_at_once_make_one_change_and_hear_one_answer(raw: Raw, world: World, sql, name: str):
    request = request_of(name, world)
    before = events(sql)
    with ThreadPoolExecutor(32) as pool:
        answers = set(pool.map(raw, [request] * 32))
    assert len(answers) == 1
    assert events(sql) == before + MUTATIONS[name][1]


def test_another_request_under_the_same_id_is_refused(watchword: Client, sql):
    request_id = str(uuid.uuid4())
    watchword.users.create(username="ana", request_id=request_id)
    with pytest.raises(RequestIdReusedError):
        watchword.users.create(username="bob", request_id=request_id)
    with pytest.raises(RequestIdReusedError):
        watchword.users.create(username="ana", display_name="Ana", request_id=request_id)
    assert len(sql("select * from users")) == 1


def test_of_different_requests_under_one_id_at_once_one_is_taken(watchword: Client, sql):
    request_id = str(uuid.uuid4())

    def create(number: int) -> bool:
        try:
            watchword.users.create(username=f"user{number}", request_id=request_id)
        except RequestIdReusedError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(16))) == 1
    assert len(sql("select * from users")) == 1


def test_an_id_belongs_to_its_method(watchword: Client):
    request_id = str(uuid.uuid4())
    user = watchword.users.create(username="ana", request_id=request_id)
    assert watchword.users.suspend(user.user_id, request_id=request_id).status is UserStatus.SUSPENDED
    assert watchword.users.delete(user.user_id, request_id=request_id).status is UserStatus.DELETED


def test_an_id_belongs_to_its_caller(watchword: Client, watchword_server, sql):
    """Threat: somebody else's tokens and keys for knowing, or guessing, a request id."""
    request_id = str(uuid.uuid4())
    watchword.service_accounts.create("other")
    key = watchword.service_accounts.create_key("other", permissions=["write_users", "sign_in"])
    watchword.users.create(username="ana", password=PASSWORD)
    mine = watchword.sign_in("ana", password=PASSWORD, request_id=request_id)
    with Client(watchword_server.address, api_key=key.api_key) as other:
        theirs = other.sign_in("ana", password=PASSWORD, request_id=request_id)
    on_behalf = watchword.on_behalf_of(mine.access_token).sign_in("ana", password=PASSWORD, request_id=request_id)
    assert len({mine.refresh_token, theirs.refresh_token, on_behalf.refresh_token}) == 3
    assert watchword.sign_in("ana", password=PASSWORD, request_id=request_id).refresh_token == mine.refresh_token
    assert len(sql("select * from sessions")) == 3


def test_a_retry_needs_the_permission_still(watchword: Client, watchword_server):
    watchword.service_accounts.create("other")
    key = watchword.service_accounts.create_key("other", permissions=["write_users"])
    request_id = str(uuid.uuid4())
    with Client(watchword_server.address, api_key=key.api_key) as other:
        other.users.create(username="ana", request_id=request_id)
        watchword.service_accounts.revoke_key(key.key.key_id)
        with pytest.raises(ApiKeyInvalidError):
            other.users.create(username="ana", request_id=request_id)


def test_a_failed_call_is_not_remembered(watchword: Client, sql):
    request_id, other_id = str(uuid.uuid4()), str(uuid.uuid4())
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password=PASSWORD, request_id=request_id)
    first = watchword.users.create(username="ana")
    with pytest.raises(AlreadyExistsError):
        watchword.users.create(username="ana", password=PASSWORD, request_id=other_id)
    assert len(sql("select * from answers")) == 1
    watchword.users.delete(first.user_id)
    assert watchword.users.create(username="ana", password=PASSWORD, request_id=other_id).username == "ana"
    assert watchword.sign_in("ana", password=PASSWORD, request_id=request_id).session


def test_a_sign_in_that_failed_may_succeed_under_the_same_id(watchword: Client):
    watchword.users.create(username="ana", password=PASSWORD)
    request_id = str(uuid.uuid4())
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password="not the password", request_id=request_id)
    assert watchword.sign_in("ana", password=PASSWORD, request_id=request_id).session


def test_nothing_kept_for_retries_can_be_read(watchword: Client, sql):
    """Threat: a copy of the database. Names, tokens and keys in answers, and the ids that would open them."""
    ids = [str(uuid.uuid4()) for _ in range(5)]
    user = watchword.users.create(
        username="canary-name", email="canary@example.com", display_name="Canary", password=PASSWORD, request_id=ids[0]
    )
    tokens = watchword.sign_in("canary-name", password=PASSWORD, request_id=ids[1])
    refreshed = watchword.sessions.refresh(tokens.refresh_token, request_id=ids[2])
    watchword.service_accounts.create("billing", request_id=ids[3])
    key = watchword.service_accounts.create_key("billing", permissions=["read_users"], request_id=ids[4])
    private = [PASSWORD, tokens.access_token, tokens.refresh_token, refreshed.access_token, refreshed.refresh_token]
    private += [key.api_key, user.email or "", "canary-name", "Canary", user.user_id, *ids]
    canaries = {spelling for text in private for spelling in _spellings(text)}
    rows = sql("select * from answers")
    assert len(rows) == 5
    for row in rows:
        kept = b"".join(value for value in row.values() if isinstance(value, bytes))
        assert not [canary for canary in canaries if canary in kept]
    # Nor does an id stand anywhere else: with it, and the master key, the answer would open.
    dump = "".join(map(str, sql("select to_jsonb(e) as row from events e")))
    assert not [request_id for request_id in ids if request_id in dump]


def _spellings(text: str) -> set[bytes]:
    plain = text.encode()
    parts = {part for part in plain.split(b".") if len(part) > 8}
    return {plain, base64.b64encode(plain), *parts, plain.replace(b"-", b"")}


def test_two_answers_with_the_same_content_look_different(watchword: Client, sql):
    user = watchword.users.create(username="ana")
    for _ in range(2):
        watchword.users.update(user.user_id, display_name="")
    rows = sql("select request_mac, answer_sealed from answers")
    assert len({row["request_mac"] for row in rows}) == len({row["answer_sealed"] for row in rows}) == 3


async def test_an_answer_is_kept_for_a_day(watchword_server, watchword: Client, sql):
    request_id = str(uuid.uuid4())
    user = watchword.users.create(username="ana", request_id=request_id)
    watchword_server.advance(ANSWERS_ARE_KEPT.total_seconds() - 60)
    assert await forget(watchword_server, now=utc_now() + ANSWERS_ARE_KEPT - timedelta(seconds=60)) == 0
    assert watchword.users.create(username="ana", request_id=request_id) == user
    assert await forget(watchword_server, now=utc_now() + ANSWERS_ARE_KEPT + timedelta(seconds=1)) == 1
    assert sql("select * from answers") == []
    with pytest.raises(AlreadyExistsError):
        watchword.users.create(username="ana", request_id=request_id)


async def forget(server: LocalServer, *, now: datetime) -> int:
    """What the server does every minute, at another time."""
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    database = Database(
        server.database_url, pool_size=2, keyring=keyring, clock=lambda: now, randomness=secrets.token_bytes
    )
    await database.open()
    try:
        return await database.drop_old_answers(ANSWERS_ARE_KEPT)
    finally:
        await database.close()
