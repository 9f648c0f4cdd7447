"""Accounts of programs."""

from typing import Annotated

import typer

from watchword.cli.command import LIMIT, YES, Call, confirm, group, remote

app = group("service-accounts", "Accounts of programs.")

_ID = Annotated[str, typer.Argument(metavar="ID", help="The service account's id, such as billing.")]
_ETAG = Annotated[str | None, typer.Option(help="Refuse if it has changed since this etag was read.")]


@remote(app)
def create(
    call: Call,
    *,
    service_account_id: _ID,
    display_name: Annotated[str | None, typer.Option(help="The name to show to people.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is for and who looks after it.")] = None,
) -> None:
    """Create a service account. It gets its keys by `watchword keys create`."""
    account = call.client.service_accounts.create(
        service_account_id, display_name=display_name, description=description
    )
    call.output.one(account)


@remote(app)
def get(call: Call, *, service_account_id: _ID) -> None:
    """Show a service account."""
    call.output.one(call.client.service_accounts.get(service_account_id))


@remote(app, "list")
def list_accounts(
    call: Call,
    *,
    include_deleted: Annotated[bool, typer.Option("--include-deleted", help="Deleted ones too.")] = False,
    limit: LIMIT = 100,
) -> None:
    """List service accounts by id."""
    accounts = call.client.service_accounts.list(include_deleted=include_deleted, page_size=min(limit + 1, 500))
    call.output.many(
        accounts, columns=("service_account_id", "status", "display_name", "description", "create_time"), limit=limit
    )


@remote(app)
def suspend(
    call: Call,
    *,
    service_account_id: _ID,
    reason: Annotated[str | None, typer.Option(help="Why, for the event log.")] = None,
    etag: _ETAG = None,
) -> None:
    """Suspend a service account: its keys are refused at once."""
    call.output.one(call.client.service_accounts.suspend(service_account_id, reason=reason, etag=etag))


@remote(app)
def reinstate(call: Call, *, service_account_id: _ID, etag: _ETAG = None) -> None:
    """Let the keys of a suspended service account work again."""
    call.output.one(call.client.service_accounts.reinstate(service_account_id, etag=etag))


@remote(app)
def delete(call: Call, *, service_account_id: _ID, etag: _ETAG = None, yes: YES = False) -> None:
    """Delete a service account for good: its keys are refused at once, its id is not used again."""
    confirm(f"Delete service account {service_account_id} for good?", yes=yes)
    call.output.one(call.client.service_accounts.delete(service_account_id, etag=etag))
