"""Calls that must not type-check: an ignore below that hides no error is an error itself, in mypy and pyright."""

from watchword.client import AsyncClient, Client, RelationshipKey, User, UserStatus


def sync_calls(client: Client, user: User) -> None:
    Client("localhost:7420")  # type: ignore[call-arg]
    Client("localhost:7420", "x")  # type: ignore[call-arg]
    client.users.create("ana@example.com")  # type: ignore[call-arg]
    client.users.get(1)  # type: ignore[arg-type]
    client.users.update("u", status=UserStatus.ACTIVE)  # type: ignore[call-arg]
    client.users.list(statuses=["active"])  # type: ignore[list-item]
    client.users.list(create_time_from=1.5)  # type: ignore[arg-type]
    client.sign_in("ana")  # type: ignore[call-arg]
    client.sign_in("ana", "password")  # type: ignore[call-arg]
    client.service_accounts.create_key("a")  # type: ignore[call-arg]
    client.service_accounts.rotate_key("k", overlap=60)  # type: ignore[arg-type]
    client.groups.create("x")  # type: ignore[attr-defined]
    user.email.lower()  # type: ignore[union-attr]
    user.email = "x"  # type: ignore[misc]
    client.permissions.check("user:ana", "viewer", "document:1", {})  # type: ignore[call-arg]
    client.permissions.batch_check([("a:b", "c", "d:e")])  # type: ignore[list-item]
    client.relationships.write([RelationshipKey("a:b", "c", "d:e")])  # type: ignore[list-item]
    client.relationships.delete()  # type: ignore[call-arg]
    _: User = client.verify("t")  # type: ignore[assignment]


async def async_calls(client: AsyncClient) -> None:
    with AsyncClient(api_key="x"):  # type: ignore[attr-defined]
        pass
    for _ in client.users.list():  # type: ignore[attr-defined]
        pass
    (await client.users.list())  # type: ignore[misc]
    str(client.verify("t").subject)  # type: ignore[attr-defined]
