"""Calls that must type-check, in mypy's and pyright's strict modes."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from watchword.client import (
    TLS,
    UNSET,
    AsyncClient,
    Client,
    CreatedKey,
    Credential,
    Device,
    Introspection,
    Key,
    NotFoundError,
    Page,
    Principal,
    Session,
    SessionTokens,
    User,
    UserStatus,
    WatchwordError,
)


def sync_calls(client: Client) -> None:
    with Client("localhost:7420", api_key="x", timeout=1, tls=TLS(root_certificates=b"")) as opened:
        assert_type(opened, Client)
    assert_type(Client.from_environment(timeout=2), Client)
    assert_type(client.on_behalf_of("t").with_timeout(1), Client)
    user = client.users.create(email="ana@example.com", attributes={"plan": ["a", 1, None]})
    assert_type(user, User)
    assert_type(user.email, str | None)
    assert_type(client.users.list(statuses=[UserStatus.ACTIVE], create_time_from=datetime.now(UTC)), Iterator[User])
    assert_type(client.users.list_page(page_size=3), Page[User])
    assert_type(client.users.update("u", display_name=None, email=UNSET, locale="de"), User)
    assert_type(client.sign_in("ana", password="x", device=Device(user_agent="y")), SessionTokens)
    assert_type(client.verify("t", audience="shop"), Principal)
    assert_type(client.tokens.introspect("t"), Introspection)
    assert_type(client.service_accounts.create_key("a", permissions={"read_users"}), CreatedKey)
    assert_type(client.service_accounts.list_keys("a"), Iterator[Key])
    client.service_accounts.rotate_key("k", overlap=timedelta(hours=1))
    assert_type(client.credentials.list("u"), tuple[Credential, ...])
    assert_type(client.sessions.revoke_all("u", except_session_id=None), int)


async def async_calls(client: AsyncClient) -> None:
    async with AsyncClient(api_key="x") as opened:
        assert_type(opened, AsyncClient)
    assert_type(await client.users.get("u"), User)
    assert_type(client.sessions.list("u"), AsyncIterator[Session])
    async for session in client.sessions.list("u"):
        assert_type(session, Session)
    assert_type(await client.verify("t"), Principal)


def errors(client: Client) -> str:
    try:
        return client.users.get("u").user_id
    except NotFoundError as error:
        assert_type(error.metadata, dict[str, str])
        return error.reason
    except WatchwordError as error:
        assert_type(error.retryable, bool)
        assert_type(error.retry_after, timedelta | None)
        return error.request_id


def attributes(user: User) -> Any:
    return user.attributes["plan"]
