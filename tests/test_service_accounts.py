"""ServiceAccountService and API keys, on the real server."""

from datetime import UTC, datetime, timedelta

import pytest
from conftest import PASSWORD

from watchword.client import (
    AlreadyExistsError,
    ApiKeyInvalidError,
    Client,
    EtagMismatchError,
    InactiveReason,
    InvalidArgumentError,
    KeyEndedError,
    NotFoundError,
    PermissionDeniedError,
    ServiceAccountStatus,
    TokenKind,
    WrongStatusError,
)


@pytest.fixture
def billing(watchword: Client) -> str:
    return watchword.service_accounts.create("billing", display_name="Billing").service_account_id


def works(address: str, api_key: str) -> bool:
    with Client(address, api_key=api_key) as client:
        try:
            client.tokens.get_signing_keys()
        except ApiKeyInvalidError:
            return False
        return True


def test_life_of_an_account(watchword: Client, watchword_server, billing):
    key = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"])
    assert works(watchword_server.address, key.api_key)
    account = watchword.service_accounts.get(billing)
    with pytest.raises(AlreadyExistsError):
        watchword.service_accounts.create(billing)
    with pytest.raises(EtagMismatchError):
        watchword.service_accounts.suspend(billing, etag="99")
    suspended = watchword.service_accounts.suspend(billing, etag=account.etag, reason="rotation drill")
    assert suspended.status is ServiceAccountStatus.SUSPENDED
    assert not works(watchword_server.address, key.api_key)
    assert watchword.tokens.introspect(key.api_key).inactive_reason is InactiveReason.ACCOUNT_DISABLED
    watchword.service_accounts.reinstate(billing)
    assert works(watchword_server.address, key.api_key)
    assert watchword.service_accounts.delete(billing).status is ServiceAccountStatus.DELETED
    assert not works(watchword_server.address, key.api_key)
    with pytest.raises(WrongStatusError):
        watchword.service_accounts.reinstate(billing)
    with pytest.raises(WrongStatusError):
        watchword.service_accounts.create_key(billing, permissions=["verify_tokens"])
    with pytest.raises(AlreadyExistsError):
        watchword.service_accounts.create(billing)
    assert billing not in {account.service_account_id for account in watchword.service_accounts.list()}
    assert billing in {a.service_account_id for a in watchword.service_accounts.list(include_deleted=True, page_size=1)}


def test_a_key_is_shown_once_and_stored_hashed(watchword: Client, billing, sql):
    created = watchword.service_accounts.create_key(billing, permissions=["read_users", "read_users", "sign_in"])
    assert created.api_key.startswith("wwk_")
    assert created.api_key not in repr(created)
    assert list(created.key.permissions) == ["read_users", "sign_in"]
    secret = created.api_key.rpartition("_")[2]
    for table in ("api_keys", "events", "answers"):
        assert secret not in str(sql(f"select * from {table}"))
    introspection = watchword.tokens.introspect(created.api_key)
    assert (introspection.kind, introspection.subject) == (TokenKind.API_KEY, "service:billing")
    assert list(introspection.permissions) == ["read_users", "sign_in"]
    other = created.api_key[:-1] + ("E" if created.api_key.endswith("A") else "A")
    assert watchword.tokens.introspect(other).inactive_reason is InactiveReason.NOT_RECOGNIZED


def test_a_key_does_what_it_names_and_no_more(watchword: Client, watchword_server, billing):
    key = watchword.service_accounts.create_key(billing, permissions=["read_users"])
    with Client(watchword_server.address, api_key=key.api_key) as client:
        assert list(client.users.list()) == []
        with pytest.raises(PermissionDeniedError) as caught:
            client.users.create(username="ana")
        assert caught.value.metadata["permission"] == "write_users"


def test_nobody_hands_out_more_than_they_have(watchword: Client, watchword_server, billing):
    strong = watchword.service_accounts.create_key(billing, permissions=["administrator"])
    weak = watchword.service_accounts.create_key(billing, permissions=["write_service_accounts", "sign_in"])
    with Client(watchword_server.address, api_key=weak.api_key) as client:
        assert client.service_accounts.create_key(billing, permissions=["sign_in"]).api_key
        for permissions in (["administrator"], ["read_users"], ["sign_in", "read_users"]):
            with pytest.raises(PermissionDeniedError):
                client.service_accounts.create_key(billing, permissions=permissions)
        with pytest.raises(PermissionDeniedError):
            client.service_accounts.rotate_key(strong.key.key_id)


@pytest.mark.parametrize("permissions", [[], ["root"], ["read_users", "write_everything"]])
def test_permissions_must_exist(watchword: Client, billing, permissions):
    with pytest.raises(InvalidArgumentError) as caught:
        watchword.service_accounts.create_key(billing, permissions=permissions)
    assert caught.value.field_violations[0].field == "permissions"


def test_a_key_expires(watchword: Client, watchword_server, billing):
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"], expire_time=soon)
    assert works(watchword_server.address, key.api_key)
    watchword_server.advance(3600)
    assert not works(watchword_server.address, key.api_key)
    assert watchword.tokens.introspect(key.api_key).inactive_reason is InactiveReason.EXPIRED
    assert list(watchword.service_accounts.list_keys(billing)) == []
    with pytest.raises(InvalidArgumentError):
        watchword.service_accounts.create_key(billing, permissions=["sign_in"], expire_time=soon)


def test_rotation_overlaps(watchword: Client, watchword_server, billing):
    old = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"], display_name="prod")
    new = watchword.service_accounts.rotate_key(old.key.key_id, overlap=timedelta(hours=2))
    assert new.previous_key.successor_key_id == new.key.key_id
    assert (new.key.display_name, new.key.permissions) == ("prod", old.key.permissions)
    assert works(watchword_server.address, old.api_key)
    assert works(watchword_server.address, new.api_key)
    with pytest.raises(KeyEndedError):
        watchword.service_accounts.rotate_key(old.key.key_id)
    watchword_server.advance(2 * 3600)
    assert not works(watchword_server.address, old.api_key)
    assert works(watchword_server.address, new.api_key)
    at_once = watchword.service_accounts.rotate_key(new.key.key_id, overlap=timedelta())
    assert not works(watchword_server.address, new.api_key)
    assert works(watchword_server.address, at_once.api_key)


@pytest.mark.parametrize("overlap", [timedelta(seconds=-1), timedelta(days=31)])
def test_overlap_is_bounded(watchword: Client, billing, overlap):
    key = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"])
    with pytest.raises(InvalidArgumentError):
        watchword.service_accounts.rotate_key(key.key.key_id, overlap=overlap)


def test_revocation_is_at_once_and_for_good(watchword: Client, watchword_server, billing):
    key = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"])
    revoked = watchword.service_accounts.revoke_key(key.key.key_id)
    assert revoked.revoke_time is not None
    assert not works(watchword_server.address, key.api_key)
    assert watchword.service_accounts.revoke_key(key.key.key_id) == revoked
    with pytest.raises(KeyEndedError):
        watchword.service_accounts.rotate_key(key.key.key_id)
    assert [k.key_id for k in watchword.service_accounts.list_keys(billing, include_ended=True)] == [key.key.key_id]
    with pytest.raises(NotFoundError):
        watchword.service_accounts.revoke_key("01890a5d-ac96-774b-bcce-b302099a8057")


def last_used(watchword: Client, account: str) -> datetime | None:
    return next(iter(watchword.service_accounts.list_keys(account))).last_used_time


def wait_for(condition, *, tries: int = 500):
    """Ask again until it holds: for what the server does beside the call that caused it."""
    for _ in range(tries):
        if condition():
            return
    raise AssertionError("it did not come to be")


def test_last_use_is_noted_once_a_minute(watchword: Client, watchword_server, billing):
    key = watchword.service_accounts.create_key(billing, permissions=["verify_tokens"])
    assert last_used(watchword, billing) is None
    assert works(watchword_server.address, key.api_key)
    wait_for(lambda: last_used(watchword, billing) is not None)
    first = last_used(watchword, billing)
    watchword_server.advance(30)
    assert works(watchword_server.address, key.api_key)
    watchword_server.advance(31)
    assert last_used(watchword, billing) == first
    assert works(watchword_server.address, key.api_key)
    wait_for(lambda: last_used(watchword, billing) != first)


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer wwk_x_y", "wwk_", "Bearer " + "x" * 5000, "Bearer eyJ.a.b"],
)
def test_what_is_no_key_lets_nobody_in(channel, given):
    import grpc

    from watchword.v1 import users_pb2, users_pb2_grpc

    with pytest.raises(grpc.RpcError) as caught:
        users_pb2_grpc.UserServiceStub(channel).ListUsers(
            users_pb2.ListUsersRequest(), metadata=(("authorization", given),)
        )
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_on_behalf_of_makes_the_user_the_actor(watchword: Client, watchword_server, billing, sql):
    from watchword.client import OnBehalfOfInvalidError

    user = watchword.users.create(username="ana", password=PASSWORD)
    ours = watchword.sign_in("ana", password=PASSWORD)
    theirs = watchword.sign_in("ana", password=PASSWORD, audiences=["shop"])
    for_billing = watchword.sign_in("ana", password=PASSWORD, audiences=["billing"])
    key = watchword.service_accounts.create_key(billing, permissions=["write_users", "write_sessions"])
    with Client(watchword_server.address, api_key=key.api_key) as client:
        client.on_behalf_of(for_billing.access_token).users.update(user.user_id, display_name="Ana")
        event = sql("select * from events order by event_id desc limit 1")[0]
        assert (event["actor"], event["intermediary"]) == (f"user:{user.user_id}", "service:billing")
        client.on_behalf_of(ours.access_token).users.update(user.user_id, display_name="Ana L.")
        client.users.update(user.user_id, display_name="Ana Lo.")
        event = sql("select * from events order by event_id desc limit 1")[0]
        assert (event["actor"], event["intermediary"]) == ("service:billing", None)
        with pytest.raises(OnBehalfOfInvalidError):
            client.on_behalf_of(theirs.access_token).users.update(user.user_id, display_name="A")
        client.sessions.revoke(ours.session.session_id)
        for token in (ours.access_token, ours.refresh_token, "x", for_billing.access_token[:-1]):
            with pytest.raises(OnBehalfOfInvalidError):
                client.on_behalf_of(token).users.update(user.user_id, display_name="A")


def test_nobody_closes_out_who_may_do_more(watchword: Client, watchword_server, billing):
    weak = watchword.service_accounts.create_key(billing, permissions=["write_service_accounts"]).api_key
    (administrators,) = watchword.service_accounts.list_keys("administrator")
    with Client(watchword_server.address, api_key=weak) as client:
        for attempt in (
            lambda: client.service_accounts.suspend("administrator"),
            lambda: client.service_accounts.delete("administrator"),
            lambda: client.service_accounts.revoke_key(administrators.key_id),
        ):
            with pytest.raises(PermissionDeniedError):
                attempt()
        assert client.service_accounts.create("shop")
        assert client.service_accounts.delete("shop")
    assert watchword.service_accounts.get("administrator").status is ServiceAccountStatus.ACTIVE


def test_the_servers_own_name_is_not_to_be_had(watchword: Client):
    with pytest.raises(InvalidArgumentError):
        watchword.service_accounts.create("watchword")


def test_why_an_account_was_suspended_is_sealed(watchword: Client, billing, sql):
    watchword.service_accounts.suspend(billing, reason="ana@example.com left the firm")
    (event,) = sql("select * from events where type = 'account-disabled'")
    assert event["personal_sealed"]
    assert "ana" not in str(event)


def test_a_retry_gives_nobody_what_they_could_not_have_asked_for(watchword: Client, watchword_server):
    """The first answer is for who may ask the question: not for a weaker key of the same account."""
    request_id = "0b7f4f5e-6a4e-4c39-9d0e-2f6c8a1d3b57"

    def create(client: Client):
        return client.service_accounts.create_key("administrator", permissions=["administrator"], request_id=request_id)

    first = create(watchword)
    assert create(watchword) == first
    weak = watchword.service_accounts.create_key("administrator", permissions=["write_service_accounts"]).api_key
    with Client(watchword_server.address, api_key=weak) as client, pytest.raises(PermissionDeniedError):
        create(client)
