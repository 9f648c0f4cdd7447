"""API keys of service accounts."""

from typing import Annotated

import typer

from watchword.cli.command import LIMIT, Call, group, remote
from watchword.cli.values import expire_time, span

app = group("keys", "API keys of service accounts.")

_ACCOUNT = Annotated[str, typer.Argument(metavar="SERVICE_ACCOUNT", help="The service account's id.")]
_KEY = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, from `watchword keys list`.")]
_EXPIRES_IN = Annotated[
    str | None, typer.Option(metavar="SPAN", help="When it ends, such as 90d, 12h, 30m or 60s. Default: never.")
]
_ONCE = "The API key is shown this once and cannot be had again: keep it in a safe place."


@remote(app)
def create(
    call: Call,
    *,
    service_account_id: _ACCOUNT,
    permission: Annotated[list[str], typer.Option(help="What the key may do, such as sign_in; repeatable.")],
    display_name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    expires_in: _EXPIRES_IN = None,
) -> None:
    """Create an API key and show it, once."""
    created = call.client.service_accounts.create_key(
        service_account_id,
        permissions=permission,
        display_name=display_name,
        expire_time=expire_time(expires_in),
    )
    call.output.one(created)
    call.output.note(_ONCE)


@remote(app, "list")
def list_keys(
    call: Call,
    *,
    service_account_id: _ACCOUNT,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="Expired and revoked ones too.")] = False,
    limit: LIMIT = 100,
) -> None:
    """List the keys of a service account; never the keys themselves."""
    keys = call.client.service_accounts.list_keys(
        service_account_id, include_ended=include_ended, page_size=min(limit + 1, 500)
    )
    columns = ("key_id", "display_name", "permissions", "create_time", "expire_time", "last_used_time", "revoke_time")
    call.output.many(keys, columns=columns, limit=limit)


@remote(app)
def rotate(
    call: Call,
    *,
    key_id: _KEY,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="For how long the old key still works. Default: the server's.")
    ] = None,
    expires_in: _EXPIRES_IN = None,
) -> None:
    """Make a new key in place of an old one, which works a little longer, and show the new one, once."""
    rotated = call.client.service_accounts.rotate_key(
        key_id, overlap=None if overlap is None else span(overlap), expire_time=expire_time(expires_in)
    )
    call.output.one(rotated)
    call.output.note(_ONCE)


@remote(app)
def revoke(call: Call, *, key_id: _KEY) -> None:
    """Revoke a key: it is refused at once."""
    call.output.one(call.client.service_accounts.revoke_key(key_id))
