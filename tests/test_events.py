"""The one log: what each RPC writes into it, in the same transaction, and what it must not hold."""

import json

import pytest
from conftest import PASSWORD

from watchword.client import Client, Device, RefreshTokenReusedError, SignInRefusedError
from watchword.server.identifiers import node

CANARY = "canary-7f3a"
ADDRESS = f"{CANARY}@example.com"
DEVICE = Device(display_name=f"{CANARY} phone", user_agent=f"{CANARY}/1.0", ip_address="203.0.113.77")


@pytest.fixture
def new_events(sql):
    """The events since the last time it was asked."""
    seen = [0]

    def events() -> list[dict]:
        rows = sql("select *, xid::text::bigint as xid from events where event_id > %s order by event_id", seen[0])
        if rows:
            seen[0] = rows[-1]["event_id"]
        return rows

    events()
    return events


def test_every_mutation_writes_its_events(watchword: Client, new_events):
    def kinds() -> list[str]:
        events = new_events()
        # One transaction for one call.
        assert len({event["xid"] for event in events}) <= 1
        return [event["type"] for event in events]

    users, accounts, sessions = watchword.users, watchword.service_accounts, watchword.sessions
    ana = users.create(email=ADDRESS, username="ana", password=PASSWORD)
    assert kinds() == ["user-created"]
    users.update(ana.user_id, display_name="Ana")
    assert kinds() == ["user-updated"]
    users.update(ana.user_id, email="b" + ADDRESS)
    assert kinds() == ["identifier-changed"]
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("ana", password="wrong horse battery")
    assert kinds() == ["sign-in-failed"]
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("nobody", password="wrong horse battery")
    assert kinds() == ["sign-in-failed"]
    tokens = watchword.sign_in("ana", password=PASSWORD)
    assert kinds() == ["session-established"]
    second = sessions.refresh(tokens.refresh_token)
    assert kinds() == ["session-presented"]
    sessions.refresh(second.refresh_token)
    assert kinds() == ["session-presented"]
    with pytest.raises(RefreshTokenReusedError):
        sessions.refresh(tokens.refresh_token)
    assert kinds() == ["refresh-token-reused", "session-revoked"]
    tokens = watchword.sign_in("ana", password=PASSWORD)
    kinds()
    sessions.revoke(tokens.session.session_id)
    assert kinds() == ["session-revoked"]
    sessions.revoke(tokens.session.session_id)
    assert kinds() == []
    watchword.sign_in("ana", password=PASSWORD)
    kinds()
    sessions.revoke_all(ana.user_id)
    assert kinds() == ["session-revoked"]
    watchword.sign_in("ana", password=PASSWORD)
    kinds()
    watchword.credentials.set_password(ana.user_id, new_password="another horse altogether")
    assert kinds() == ["credential-change", "session-revoked"]
    watchword.credentials.change_password(
        ana.user_id, current_password="another horse altogether", new_password=PASSWORD
    )
    assert kinds() == ["credential-change"]
    (credential,) = watchword.credentials.list(ana.user_id)
    watchword.credentials.remove(ana.user_id, credential_id=credential.credential_id)
    assert kinds() == ["credential-change"]
    users.suspend(ana.user_id)
    assert kinds() == ["account-disabled"]
    users.suspend(ana.user_id)
    assert kinds() == []
    users.reinstate(ana.user_id)
    assert kinds() == ["account-enabled"]
    users.delete(ana.user_id)
    assert kinds() == ["account-purged"]
    accounts.create("billing")
    assert kinds() == ["service-account-created"]
    key = accounts.create_key("billing", permissions=["read_users"])
    assert kinds() == ["key-created"]
    new = accounts.rotate_key(key.key.key_id)
    assert kinds() == ["key-created", "key-rotated"]
    accounts.revoke_key(new.key.key_id)
    assert kinds() == ["key-revoked"]
    accounts.suspend("billing")
    assert kinds() == ["account-disabled"]
    accounts.reinstate("billing")
    assert kinds() == ["account-enabled"]
    accounts.delete("billing")
    assert kinds() == ["account-purged", "key-revoked"]
    watchword.tokens.rotate_signing_key(revoke_current=True)
    assert set(kinds()) == {"signing-key-revoked", "signing-key-created"}


def test_an_event_says_who_what_when_from_where_and_in_which_call(watchword: Client, sql, channel, metadata):
    from watchword.v1 import users_pb2, users_pb2_grpc

    response = users_pb2_grpc.UserServiceStub(channel).CreateUser(
        users_pb2.CreateUserRequest(user={"username": "ana"}),
        metadata=(*metadata, ("x-request-id", "trace:7")),
    )
    (event,) = sql("select *, xid::text as xid from events where type = 'user-created'")
    name = f"user:{response.user.user_id}"
    assert (event["actor"], event["objects"], event["outcome"]) == ("service:administrator", [name], "success")
    assert event["request_id"] == "trace:7"
    assert event["source"].startswith("ipv4:127.0.0.1:")
    assert event["event_time"] is not None
    assert response.revision == f"{sql('select epoch from deployment')[0]['epoch']}.{event['xid']}"


def test_status_changes_name_the_accounts_node(watchword: Client, new_events):
    user = watchword.users.create(username="ana")
    watchword.service_accounts.create("billing")
    assert all(event["nodes"] == [] for event in new_events())
    watchword.users.suspend(user.user_id)
    watchword.users.reinstate(user.user_id)
    watchword.users.delete(user.user_id)
    assert [event["nodes"] for event in new_events()] == [[node(f"user:{user.user_id}")]] * 3
    watchword.service_accounts.suspend("billing")
    watchword.service_accounts.reinstate("billing")
    watchword.service_accounts.delete("billing")
    assert [event["nodes"] for event in new_events()] == [[node("service:billing")]] * 3


def test_personal_values_are_sealed(watchword: Client, watchword_server, sql):
    user = watchword.users.create(
        email=ADDRESS, username=CANARY, display_name=CANARY, external_id=CANARY, password=PASSWORD
    )
    watchword.users.update(user.user_id, display_name=CANARY + "2")
    watchword.sign_in(ADDRESS, password=PASSWORD, device=DEVICE)
    for identifier in (ADDRESS, CANARY + "-nobody"):
        with pytest.raises(SignInRefusedError):
            watchword.sign_in(identifier, password=CANARY, device=DEVICE)
    watchword.users.suspend(user.user_id, reason=CANARY)
    events = sql("select * from events")
    assert len([event for event in events if event["personal_sealed"]]) >= 5
    for table in ("events", "answers", "person_keys"):
        for row in sql(f"select * from {table}"):
            for value in row.values():
                text = value if isinstance(value, bytes) else json.dumps(value, default=str).encode()
                assert CANARY.encode() not in text, (table, row)
                assert b"203.0.113.77" not in text


def test_no_secret_and_no_personal_value_is_logged(watchword: Client, watchword_server):
    before = len(watchword_server.log())
    password = f"{CANARY} battery staple"
    user = watchword.users.create(email=ADDRESS, username=CANARY, password=password)
    tokens = watchword.sign_in(ADDRESS, password=password, device=DEVICE)
    refreshed = watchword.sessions.refresh(tokens.refresh_token)
    watchword.tokens.introspect(tokens.access_token)
    watchword.service_accounts.create("billing")
    key = watchword.service_accounts.create_key("billing", permissions=["read_users"])
    for call in (
        lambda: watchword.users.create(email=ADDRESS),
        lambda: watchword.users.create(username=CANARY + "\n" + CANARY),
        lambda: watchword.users.get_by_email(CANARY + "@nowhere.example"),
        lambda: watchword.sign_in(CANARY, password=CANARY),
        lambda: watchword.credentials.set_password(user.user_id, new_password=CANARY),
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call()
        # What the caller gets does not repeat what the caller sent either.
        assert CANARY not in str(caught.value)
        assert CANARY not in str(caught.value.metadata)
    log = watchword_server.log()[before:]
    assert "UserService/CreateUser" in log
    for secret in (
        CANARY,
        "203.0.113.77",
        tokens.access_token[-20:],
        tokens.refresh_token[4:],
        refreshed.refresh_token[4:],
        key.api_key[-20:],
        watchword_server.api_key[-20:],
    ):
        assert secret not in log
    for line in log.splitlines():
        assert json.loads(line)


def test_the_log_cannot_be_forged(watchword: Client, watchword_server, channel, metadata):
    import grpc

    from watchword.v1 import users_pb2, users_pb2_grpc

    before = len(watchword_server.log())
    stub = users_pb2_grpc.UserServiceStub(channel)
    for given in ('x","event":"forged', "a b", "x" * 129, "{}"):
        with pytest.raises(grpc.RpcError):
            stub.GetUser(users_pb2.GetUserRequest(user_id="x"), metadata=(*metadata, ("x-request-id", given)))
    for line in watchword_server.log()[before:].splitlines():
        entry = json.loads(line)
        assert entry["event"] != "forged"
        assert len(entry["request_id"]) == 24
