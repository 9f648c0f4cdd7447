"""Calls that must type-check, in mypy's and pyright's strict modes."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from watchword.client import (
    TLS,
    UNSET,
    AddedMember,
    AsyncClient,
    CheckAnswer,
    CheckError,
    CheckItem,
    Client,
    Consistency,
    CreatedKey,
    Credential,
    Decision,
    DeletedRelationships,
    Device,
    Explanation,
    ImportedRelationships,
    ImportedUser,
    ImportedUsers,
    Introspection,
    Key,
    NotFoundError,
    ObjectsPage,
    Organization,
    Page,
    PermissionModel,
    Precondition,
    Principal,
    Relationship,
    RelationshipFilter,
    RelationshipKey,
    Session,
    SessionTokens,
    User,
    UserStatus,
    WatchwordError,
    WrittenModel,
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


def permissions(client: Client) -> None:
    answer = client.permissions.check("user:ana", "viewer", "document:1", context={"hour": 9, "tags": ["a"]})
    assert_type(answer, CheckAnswer)
    assert_type(answer.decision, Decision)
    assert_type(answer.allowed, bool)
    answers = client.permissions.batch_check([CheckItem("a:b", "c", "d:e")], consistency=Consistency.full())
    assert_type(answers, list[CheckAnswer | CheckError])
    assert_type(client.permissions.list_objects("user:ana", "viewer", "document"), Iterator[str])
    assert_type(client.permissions.list_objects_page("user:ana", "viewer", "document"), ObjectsPage)
    assert_type(client.permissions.list_subjects("document:1", "viewer", ["user"]), Iterator[str])
    assert_type(client.permissions.explain("user:ana", "viewer", "document:1"), Explanation)
    assert_type(client.permissions.write_model(dsl="model"), WrittenModel)
    assert_type(client.permissions.list_models(), Iterator[PermissionModel])


def relationships(client: Client) -> None:
    granted = Relationship("user:ana", "viewer", "document:1", condition="c", context={"a": 1})
    selected = RelationshipFilter(object_type="document")
    revision = client.relationships.write(
        [granted],
        [granted, RelationshipKey("user:eve", "viewer", "document:1")],
        preconditions=[Precondition(must_exist=False, filter=selected)],
    )
    assert_type(revision, str)
    assert_type(client.relationships.list(selected), Iterator[Relationship])
    assert_type(client.relationships.delete(selected, limit=10), DeletedRelationships)
    assert_type(client.relationships.import_(iter([granted]), on_progress=print), ImportedRelationships)
    assert_type(client.users.import_(iter([ImportedUser(external_id="1")]), on_result=print), ImportedUsers)
    assert_type(client.relationships.export(), Iterator[Relationship])


def organizations(client: Client) -> None:
    assert_type(client.organizations.create("acme"), Organization)
    assert_type(client.organizations.update("acme", display_name=None), Organization)
    assert_type(client.organizations.add_member("acme", "user:ana", role="admin"), AddedMember)
    assert_type(client.organizations.create_invitation("acme").invitation_token, str)


async def async_permissions(client: AsyncClient) -> None:
    if await client.permissions.check("user:ana", "viewer", "document:1"):
        pass
    async for name in client.permissions.list_objects("user:ana", "viewer", "document"):
        assert_type(name, str)
    assert_type(client.relationships.export(), AsyncIterator[Relationship])
    assert_type(await client.relationships.import_(client.relationships.export()), ImportedRelationships)
    assert_type(await client.relationships.import_([]), ImportedRelationships)
    assert_type(await client.users.import_([ImportedUser(external_id="1")], validate_only=True), ImportedUsers)


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
