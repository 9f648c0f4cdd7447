"""The SDK against the real server: each group does what it says."""

import datetime as dt
import uuid

import pytest

from watchword.client import (
    AsyncClient,
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


async def user_with_password(client: AsyncClient, username: str = "ana") -> User:
    return await client.users.create(username=username, email=f"{username}@example.com", password=PASSWORD)


async def test_first_light(watchword_async: AsyncClient):
    user = await user_with_password(watchword_async)
    device = Device(display_name="Ana's phone", user_agent="test/1", ip_address="192.0.2.1")
    tokens = await watchword_async.sign_in(ANA.upper(), password=PASSWORD, device=device)
    assert tokens.session.device == device
    assert tokens.session.user_id == user.user_id
    assert tokens.session.end_time is None
    assert tokens.access_token not in repr(tokens)
    principal = await watchword_async.verify(tokens.access_token)
    assert principal.user_id == user.user_id
    assert principal.session_id == tokens.session.session_id
    assert principal.authentication_methods == tokens.session.authentication_methods == ("pwd",)
    assert principal.audiences == tokens.session.audiences
    seen = await watchword_async.tokens.introspect(tokens.access_token)
    assert (seen.active, seen.kind, seen.subject) == (True, TokenKind.ACCESS_TOKEN, principal.subject)
    assert dt.timedelta() < seen.remaining_lifetime <= tokens.access_token_lifetime

    ended = await watchword_async.sessions.revoke(tokens.session.session_id)
    assert ended.end_reason is SessionEndReason.REVOKED
    seen = await watchword_async.tokens.introspect(tokens.access_token)
    assert (seen.active, seen.inactive_reason) == (False, InactiveReason.REVOKED)
    with pytest.raises(errors.RefreshTokenInvalidError):
        await watchword_async.sessions.refresh(tokens.refresh_token)
    # What the documentation of verify() says: it knows of the signature and the time only.
    assert await watchword_async.verify(tokens.access_token) == principal


async def test_verify_ends_with_the_token(watchword_async: AsyncClient, watchword_server: LocalServer):
    await user_with_password(watchword_async)
    tokens = await watchword_async.sign_in("ana", password=PASSWORD, audiences=["shop", "billing"])
    assert (await watchword_async.verify(tokens.access_token, audience="shop")).audiences == ("shop", "billing")
    with pytest.raises(errors.TokenAudienceMismatchError):
        await watchword_async.verify(tokens.access_token)
    watchword_server.advance(tokens.access_token_lifetime.total_seconds() + 11)
    with pytest.raises(errors.TokenExpiredError):
        await watchword_async.verify(tokens.access_token, audience="shop")
    assert (await watchword_async.tokens.introspect(tokens.access_token)).inactive_reason is InactiveReason.EXPIRED


async def test_users(watchword_async: AsyncClient):
    users = watchword_async.users
    made = await users.create(
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
        await users.get(made.user_id),
        await users.get_by_email(ANA.upper()),
        await users.get_by_username("ANA"),
        await users.get_by_external_id("x-1"),
    ):
        assert found == made
    changed = await users.update(made.user_id, display_name=None, locale="pt-BR", etag=made.etag)
    assert (changed.display_name, changed.locale, changed.email) == (None, "pt-BR", ANA)
    assert changed.attributes == made.attributes
    with pytest.raises(errors.EtagMismatchError):
        await users.update(made.user_id, display_name="Eve", etag=made.etag)
    assert (await users.update(made.user_id, attributes={})).attributes == {}
    assert (await users.suspend(made.user_id, reason="a test")).status is UserStatus.SUSPENDED
    assert (await users.reinstate(made.user_id)).status is UserStatus.ACTIVE
    gone = await users.delete(made.user_id)
    assert (gone.status, gone.email) == (UserStatus.DELETED, None)
    assert gone.delete_time is not None
    with pytest.raises(errors.WrongStatusError):
        await users.update(made.user_id, display_name="x")
    with pytest.raises(errors.NotFoundError) as caught:
        await users.get_by_email(ANA)
    assert caught.value.metadata["type"] == "user"
    assert caught.value.request_id


async def test_lists_of_users(watchword_async: AsyncClient):
    users = watchword_async.users
    made = [await users.create(username=f"user-{number}", email=f"u{number}@example.com") for number in range(5)]
    await users.suspend(made[1].user_id)
    await users.delete(made[2].user_id)
    ids = [user.user_id for user in made]
    assert [user.user_id async for user in users.list(page_size=2)] == [ids[0], ids[1], ids[3], ids[4]]
    assert [user.user_id async for user in users.list(statuses=[UserStatus.DELETED])] == [ids[2]]
    assert [user.user_id async for user in users.list(email_prefix="U3")] == [ids[3]]
    since = made[3].create_time
    assert [user.user_id async for user in users.list(create_time_from=since)] == ids[3:]
    assert [user.user_id async for user in users.list(create_time_until=since)] == ids[:2]
    page = await users.list_page(page_size=4)
    assert page.next_page_token is None
    page = await users.list_page(page_size=3)
    with pytest.raises(errors.InvalidPageTokenError):
        await users.list_page(page_size=3, page_token=page.next_page_token, email_prefix="u")
    nobody = str(uuid.uuid4())
    batch = await users.batch_get([ids[2], nobody, ids[0]])
    assert [user.user_id for user in batch.users] == [ids[2], ids[0]]
    assert batch.missing_user_ids == (nobody,)


async def test_the_same_request_id_makes_one_user(watchword_async: AsyncClient):
    request_id = str(uuid.uuid4())
    first = await watchword_async.users.create(username="ana", request_id=request_id)
    assert await watchword_async.users.create(username="ana", request_id=request_id) == first
    with pytest.raises(errors.RequestIdReusedError):
        await watchword_async.users.create(username="eve", request_id=request_id)
    with pytest.raises(errors.AlreadyExistsError) as caught:
        await watchword_async.users.create(username="ANA")
    assert caught.value.metadata["field"] == "user.username"


async def test_what_is_wrong_is_named(watchword_async: AsyncClient):
    with pytest.raises(errors.InvalidArgumentError) as caught:
        await watchword_async.users.create(email="no address", username="a@b")
    assert {violation.field for violation in caught.value.field_violations} == {"user.email", "user.username"}
    with pytest.raises(errors.PasswordRefusedError) as refused:
        await watchword_async.users.create(username="ana", password="short")
    assert refused.value.metadata["rule"] == "too_short"
    with pytest.raises(errors.SignInRefusedError):
        await watchword_async.sign_in("nobody", password=PASSWORD)


async def test_credentials(watchword_async: AsyncClient):
    user = await user_with_password(watchword_async)
    kept = await watchword_async.sign_in("ana", password=PASSWORD)
    other = await watchword_async.sign_in("ana", password=PASSWORD)
    new = "another horse, another battery"
    with pytest.raises(errors.CurrentPasswordWrongError):
        await watchword_async.credentials.change_password(user.user_id, current_password=new, new_password=new)
    changed = await watchword_async.credentials.change_password(
        user.user_id, current_password=PASSWORD, new_password=new, keep_session_id=kept.session.session_id
    )
    assert changed.kind is CredentialKind.PASSWORD
    assert (await watchword_async.sessions.get(kept.session.session_id)).end_reason is None
    ended = await watchword_async.sessions.get(other.session.session_id)
    assert ended.end_reason is SessionEndReason.CREDENTIAL_CHANGED
    (listed,) = await watchword_async.credentials.list(user.user_id)
    assert listed.credential_id == changed.credential_id
    await watchword_async.credentials.set_password(user.user_id, new_password=PASSWORD)
    await watchword_async.sign_in("ana", password=PASSWORD)
    await watchword_async.credentials.remove(user.user_id, credential_id=listed.credential_id)
    assert await watchword_async.credentials.list(user.user_id) == ()
    with pytest.raises(errors.SignInRefusedError):
        await watchword_async.sign_in("ana", password=PASSWORD)


async def test_sessions(watchword_async: AsyncClient, watchword_server: LocalServer):
    user = await user_with_password(watchword_async)
    tokens = [await watchword_async.sign_in("ana", password=PASSWORD) for _ in range(3)]
    ids = [each.session.session_id for each in tokens]
    assert [session.session_id async for session in watchword_async.sessions.list(user.user_id, page_size=2)] == ids[
        ::-1
    ]
    fresh = await watchword_async.sessions.refresh(tokens[0].refresh_token, device=Device(user_agent="test/2"))
    assert fresh.session.session_id == ids[0]
    assert fresh.session.device == Device(user_agent="test/2")
    assert await watchword_async.sessions.revoke_all(user.user_id, except_session_id=ids[0]) == 2
    assert [session.session_id async for session in watchword_async.sessions.list(user.user_id)] == ids[:1]
    assert len([each async for each in watchword_async.sessions.list(user.user_id, include_ended=True)]) == 3
    watchword_server.advance(31)
    await watchword_async.sessions.refresh(fresh.refresh_token)
    with pytest.raises(errors.RefreshTokenReusedError):
        await watchword_async.sessions.refresh(tokens[0].refresh_token)
    ended = await watchword_async.sessions.get(ids[0])
    assert ended.end_reason is SessionEndReason.REFRESH_TOKEN_REUSED


async def test_service_accounts(watchword_async: AsyncClient, watchword_server: LocalServer):
    accounts = watchword_async.service_accounts
    made = await accounts.create("billing", display_name="Billing")
    assert (made.display_name, made.description) == ("Billing", None)
    assert await accounts.get("billing") == made
    assert "billing" in [account.service_account_id async for account in accounts.list(page_size=1)]
    key = await accounts.create_key("billing", permissions=["read_users"], display_name="first")
    assert key.api_key not in repr(key)
    async with AsyncClient(watchword_server.address, api_key=key.api_key) as billing:
        assert [user async for user in billing.users.list()] == []
        with pytest.raises(errors.PermissionDeniedError) as denied:
            await billing.users.create(username="ana")
        assert denied.value.metadata["permission"] == "write_users"
        expire_time = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        rotated = await accounts.rotate_key(key.key.key_id, overlap=dt.timedelta(), expire_time=expire_time)
        assert abs(rotated.key.expire_time - expire_time) < dt.timedelta(milliseconds=1)
        assert rotated.previous_key.successor_key_id == rotated.key.key_id
        with pytest.raises(errors.ApiKeyInvalidError):
            await billing.users.list_page()
    with pytest.raises(errors.KeyEndedError):
        await accounts.rotate_key(key.key.key_id)
    assert [each.key_id async for each in accounts.list_keys("billing")] == [rotated.key.key_id]
    assert len([each async for each in accounts.list_keys("billing", include_ended=True, page_size=1)]) == 2
    seen = await watchword_async.tokens.introspect(rotated.api_key)
    assert (seen.kind, seen.subject, seen.permissions) == (TokenKind.API_KEY, "service:billing", ("read_users",))
    assert (await accounts.revoke_key(rotated.key.key_id)).revoke_time is not None
    assert not (await watchword_async.tokens.introspect(rotated.api_key)).active
    await accounts.suspend("billing", reason="a test")
    await accounts.reinstate("billing")
    assert (await accounts.delete("billing")).delete_time is not None
    with pytest.raises(errors.AlreadyExistsError):
        await accounts.create("billing")


async def test_on_behalf_of(watchword_async: AsyncClient):
    await user_with_password(watchword_async)
    tokens = await watchword_async.sign_in("ana", password=PASSWORD)
    behalf = watchword_async.on_behalf_of(tokens.access_token)
    await behalf.users.update(tokens.session.user_id, display_name="Ana")
    await watchword_async.sessions.revoke(tokens.session.session_id)
    with pytest.raises(errors.OnBehalfOfInvalidError):
        await behalf.users.get(tokens.session.user_id)


async def test_signing_keys(watchword_async: AsyncClient):
    await user_with_password(watchword_async)
    tokens = await watchword_async.sign_in("ana", password=PASSWORD)
    await watchword_async.verify(tokens.access_token)
    keys = await watchword_async.tokens.get_signing_keys()
    assert keys.max_age > dt.timedelta()
    rotated = await watchword_async.tokens.rotate_signing_key(revoke_current=True)
    assert rotated.signing_key_id in (await watchword_async.tokens.get_signing_keys()).jwks
    renewed = await watchword_async.sessions.refresh(tokens.refresh_token)
    # The unknown key makes the client ask; with the new set the leaked key is gone.
    assert await watchword_async.verify(renewed.access_token)
    with pytest.raises(errors.TokenKeyUnknownError):
        await watchword_async.verify(tokens.access_token)
    assert not (await watchword_async.tokens.introspect(tokens.access_token)).active


async def test_a_wrong_api_key(watchword_server: LocalServer):
    async with AsyncClient(watchword_server.address, api_key="wwk_nonsense") as client:
        with pytest.raises(errors.ApiKeyInvalidError) as caught:
            await client.users.list_page()
        with pytest.raises(errors.ApiKeyInvalidError):
            await client.verify("x.y.z")
    assert "nonsense" not in f"{caught.value} {caught.value!r} {caught.value.metadata}"
