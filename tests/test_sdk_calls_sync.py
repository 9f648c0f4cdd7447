# Made by client/make_sync.py from tests/test_sdk_calls_async.py: do not edit.
"""The SDK against the real server: each group does what it says."""

import datetime as dt
import uuid

import pytest

from watchword.client import (
    Client,
    CredentialKind,
    Device,
    InactiveReason,
    SessionEndReason,
    TokenKind,
    User,
    UserStatus,
    errors,
)
from watchword.client.testing import LocalServer

PASSWORD = "correct horse battery staple"
ANA = "ana@example.com"


def user_with_password(client: Client, username: str = "ana") -> User:
    return client.users.create(username=username, email=f"{username}@example.com", password=PASSWORD)


def test_first_light(watchword: Client):
    user = user_with_password(watchword)
    device = Device(display_name="Ana's phone", user_agent="test/1", ip_address="192.0.2.1")
    tokens = watchword.sign_in(ANA.upper(), password=PASSWORD, device=device)
    assert tokens.session.device == device
    assert tokens.session.user_id == user.user_id
    assert tokens.session.end_time is None
    assert tokens.access_token not in repr(tokens)
    principal = watchword.verify(tokens.access_token)
    assert principal.user_id == user.user_id
    assert principal.session_id == tokens.session.session_id
    assert principal.authentication_methods == tokens.session.authentication_methods == ("pwd",)
    assert principal.audiences == tokens.session.audiences
    seen = watchword.tokens.introspect(tokens.access_token)
    assert (seen.active, seen.kind, seen.subject) == (True, TokenKind.ACCESS_TOKEN, principal.subject)
    assert dt.timedelta() < seen.remaining_lifetime <= tokens.access_token_lifetime

    ended = watchword.sessions.revoke(tokens.session.session_id)
    assert ended.end_reason is SessionEndReason.REVOKED
    seen = watchword.tokens.introspect(tokens.access_token)
    assert (seen.active, seen.inactive_reason) == (False, InactiveReason.REVOKED)
    with pytest.raises(errors.RefreshTokenInvalidError):
        watchword.sessions.refresh(tokens.refresh_token)
    # What the documentation of verify() says: it knows of the signature and the time only.
    assert watchword.verify(tokens.access_token) == principal


def test_verify_ends_with_the_token(watchword: Client, watchword_server: LocalServer):
    user_with_password(watchword)
    tokens = watchword.sign_in("ana", password=PASSWORD, audiences=["shop", "billing"])
    assert (watchword.verify(tokens.access_token, audience="shop")).audiences == ("shop", "billing")
    with pytest.raises(errors.TokenAudienceMismatchError):
        watchword.verify(tokens.access_token)
    watchword_server.advance(tokens.access_token_lifetime.total_seconds() + 11)
    with pytest.raises(errors.TokenExpiredError):
        watchword.verify(tokens.access_token, audience="shop")
    assert (watchword.tokens.introspect(tokens.access_token)).inactive_reason is InactiveReason.EXPIRED


def test_users(watchword: Client):
    users = watchword.users
    made = users.create(
        email=ANA,
        username="ana",
        display_name="Ana",
        locale="de-CH",
        external_id="x-1",
        attributes={"plan": {"seats": 3}},
    )
    assert made.status is UserStatus.ACTIVE
    assert made.create_time.tzinfo is dt.UTC
    assert made.attributes == {"plan": {"seats": 3}}
    for found in (
        users.get(made.user_id),
        users.get_by_email(ANA.upper()),
        users.get_by_username("ANA"),
        users.get_by_external_id("x-1"),
    ):
        assert found == made
    changed = users.update(made.user_id, display_name=None, locale="pt-BR", etag=made.etag)
    assert (changed.display_name, changed.locale, changed.email) == (None, "pt-BR", ANA)
    assert changed.attributes == made.attributes
    with pytest.raises(errors.EtagMismatchError):
        users.update(made.user_id, display_name="Eve", etag=made.etag)
    assert (users.update(made.user_id, attributes={})).attributes == {}
    assert (users.suspend(made.user_id, reason="a test")).status is UserStatus.SUSPENDED
    assert (users.reinstate(made.user_id)).status is UserStatus.ACTIVE
    gone = users.delete(made.user_id)
    assert (gone.status, gone.email) == (UserStatus.DELETED, None)
    assert gone.delete_time is not None
    with pytest.raises(errors.WrongStatusError):
        users.update(made.user_id, display_name="x")
    with pytest.raises(errors.NotFoundError) as caught:
        users.get_by_email(ANA)
    assert caught.value.metadata["type"] == "user"
    assert caught.value.request_id


def test_lists_of_users(watchword: Client):
    users = watchword.users
    made = [users.create(username=f"user-{number}", email=f"u{number}@example.com") for number in range(5)]
    users.suspend(made[1].user_id)
    users.delete(made[2].user_id)
    ids = [user.user_id for user in made]
    assert [user.user_id for user in users.list(page_size=2)] == [ids[0], ids[1], ids[3], ids[4]]
    assert [user.user_id for user in users.list(statuses=[UserStatus.DELETED])] == [ids[2]]
    assert [user.user_id for user in users.list(email_prefix="U3")] == [ids[3]]
    since = made[3].create_time
    assert [user.user_id for user in users.list(create_time_from=since)] == ids[3:]
    assert [user.user_id for user in users.list(create_time_until=since)] == ids[:2]
    page = users.list_page(page_size=4)
    assert page.next_page_token is None
    page = users.list_page(page_size=3)
    with pytest.raises(errors.InvalidPageTokenError):
        users.list_page(page_size=3, page_token=page.next_page_token, email_prefix="u")
    nobody = str(uuid.uuid4())
    batch = users.batch_get([ids[2], nobody, ids[0]])
    assert [user.user_id for user in batch.users] == [ids[2], ids[0]]
    assert batch.missing_user_ids == (nobody,)


def test_the_same_request_id_makes_one_user(watchword: Client):
    request_id = str(uuid.uuid4())
    first = watchword.users.create(username="ana", request_id=request_id)
    assert watchword.users.create(username="ana", request_id=request_id) == first
    with pytest.raises(errors.RequestIdReusedError):
        watchword.users.create(username="eve", request_id=request_id)
    with pytest.raises(errors.AlreadyExistsError) as caught:
        watchword.users.create(username="ANA")
    assert caught.value.metadata["field"] == "user.username"


def test_what_is_wrong_is_named(watchword: Client):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        watchword.users.create(email="no address", username="a@b")
    assert {violation.field for violation in caught.value.field_violations} == {"user.email", "user.username"}
    with pytest.raises(errors.PasswordRefusedError) as refused:
        watchword.users.create(username="ana", password="short")
    assert refused.value.metadata["rule"] == "too_short"
    with pytest.raises(errors.SignInRefusedError):
        watchword.sign_in("nobody", password=PASSWORD)


def test_credentials(watchword: Client):
    user = user_with_password(watchword)
    kept = watchword.sign_in("ana", password=PASSWORD)
    other = watchword.sign_in("ana", password=PASSWORD)
    new = "another horse, another battery"
    with pytest.raises(errors.CurrentPasswordWrongError):
        watchword.credentials.change_password(user.user_id, current_password=new, new_password=new)
    changed = watchword.credentials.change_password(
        user.user_id, current_password=PASSWORD, new_password=new, keep_session_id=kept.session.session_id
    )
    assert changed.kind is CredentialKind.PASSWORD
    assert (watchword.sessions.get(kept.session.session_id)).end_reason is None
    ended = watchword.sessions.get(other.session.session_id)
    assert ended.end_reason is SessionEndReason.CREDENTIAL_CHANGED
    (listed,) = watchword.credentials.list(user.user_id)
    assert listed.credential_id == changed.credential_id
    watchword.credentials.set_password(user.user_id, new_password=PASSWORD)
    watchword.sign_in("ana", password=PASSWORD)
    watchword.credentials.remove(user.user_id, credential_id=listed.credential_id)
    assert watchword.credentials.list(user.user_id) == ()
    with pytest.raises(errors.SignInRefusedError):
        watchword.sign_in("ana", password=PASSWORD)


def test_sessions(watchword: Client, watchword_server: LocalServer):
    user = user_with_password(watchword)
    tokens = [watchword.sign_in("ana", password=PASSWORD) for _ in range(3)]
    ids = [each.session.session_id for each in tokens]
    assert [session.session_id for session in watchword.sessions.list(user.user_id, page_size=2)] == ids[::-1]
    fresh = watchword.sessions.refresh(tokens[0].refresh_token, device=Device(user_agent="test/2"))
    assert fresh.session.session_id == ids[0]
    assert fresh.session.device == Device(user_agent="test/2")
    assert watchword.sessions.revoke_all(user.user_id, except_session_id=ids[0]) == 2
    assert [session.session_id for session in watchword.sessions.list(user.user_id)] == ids[:1]
    assert len(list(watchword.sessions.list(user.user_id, include_ended=True))) == 3
    watchword_server.advance(31)
    watchword.sessions.refresh(fresh.refresh_token)
    with pytest.raises(errors.RefreshTokenReusedError):
        watchword.sessions.refresh(tokens[0].refresh_token)
    ended = watchword.sessions.get(ids[0])
    assert ended.end_reason is SessionEndReason.REFRESH_TOKEN_REUSED


def test_service_accounts(watchword: Client, watchword_server: LocalServer):
    accounts = watchword.service_accounts
    made = accounts.create("billing", display_name="Billing")
    assert (made.display_name, made.description) == ("Billing", None)
    assert accounts.get("billing") == made
    assert "billing" in [account.service_account_id for account in accounts.list(page_size=1)]
    key = accounts.create_key("billing", permissions=["read_users"], display_name="first")
    assert key.api_key not in repr(key)
    with Client(watchword_server.address, api_key=key.api_key) as billing:
        assert list(billing.users.list()) == []
        with pytest.raises(errors.PermissionDeniedError) as denied:
            billing.users.create(username="ana")
        assert denied.value.metadata["permission"] == "write_users"
        expire_time = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        rotated = accounts.rotate_key(key.key.key_id, overlap=dt.timedelta(), expire_time=expire_time)
        assert abs(rotated.key.expire_time - expire_time) < dt.timedelta(milliseconds=1)
        assert rotated.previous_key.successor_key_id == rotated.key.key_id
        with pytest.raises(errors.ApiKeyInvalidError):
            billing.users.list_page()
    with pytest.raises(errors.KeyEndedError):
        accounts.rotate_key(key.key.key_id)
    assert [each.key_id for each in accounts.list_keys("billing")] == [rotated.key.key_id]
    assert len(list(accounts.list_keys("billing", include_ended=True, page_size=1))) == 2
    seen = watchword.tokens.introspect(rotated.api_key)
    assert (seen.kind, seen.subject, seen.permissions) == (TokenKind.API_KEY, "service:billing", ("read_users",))
    assert (accounts.revoke_key(rotated.key.key_id)).revoke_time is not None
    assert not (watchword.tokens.introspect(rotated.api_key)).active
    accounts.suspend("billing", reason="a test")
    accounts.reinstate("billing")
    assert (accounts.delete("billing")).delete_time is not None
    with pytest.raises(errors.AlreadyExistsError):
        accounts.create("billing")


def test_on_behalf_of(watchword: Client):
    user_with_password(watchword)
    tokens = watchword.sign_in("ana", password=PASSWORD)
    behalf = watchword.on_behalf_of(tokens.access_token)
    behalf.users.update(tokens.session.user_id, display_name="Ana")
    watchword.sessions.revoke(tokens.session.session_id)
    with pytest.raises(errors.OnBehalfOfInvalidError):
        behalf.users.get(tokens.session.user_id)


def test_signing_keys(watchword: Client):
    user_with_password(watchword)
    tokens = watchword.sign_in("ana", password=PASSWORD)
    watchword.verify(tokens.access_token)
    keys = watchword.tokens.get_signing_keys()
    assert keys.max_age > dt.timedelta()
    rotated = watchword.tokens.rotate_signing_key(revoke_current=True)
    assert rotated.signing_key_id in (watchword.tokens.get_signing_keys()).jwks
    renewed = watchword.sessions.refresh(tokens.refresh_token)
    # The unknown key makes the client ask; with the new set the leaked key is gone.
    assert watchword.verify(renewed.access_token)
    with pytest.raises(errors.TokenKeyUnknownError):
        watchword.verify(tokens.access_token)
    assert not (watchword.tokens.introspect(tokens.access_token)).active


def test_a_wrong_api_key(watchword_server: LocalServer):
    with Client(watchword_server.address, api_key="wwk_nonsense") as client:
        with pytest.raises(errors.ApiKeyInvalidError) as caught:
            client.users.list_page()
        with pytest.raises(errors.ApiKeyInvalidError):
            client.verify("x.y.z")
    assert "nonsense" not in f"{caught.value} {caught.value!r} {caught.value.metadata}"
