"""The commands, gathered."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from watchword.cli import (
    bulk,
    credentials,
    doctor,
    events,
    keys,
    model,
    organizations,
    permissions,
    relationships,
    server,
    server_models,
    service_accounts,
    sessions,
    sign_in,
    tokens,
    user_export,
    users,
)
from watchword.cli.failures import EXIT_CODES
from watchword.cli.importing import commands as importing

app = typer.Typer(
    name="watchword",
    help="Watchword: who is calling, and may they?",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
server.add_to(app)
doctor.add_to(app)
for group in (
    users.app,
    importing.app,
    service_accounts.app,
    keys.app,
    sessions.app,
    credentials.app,
    tokens.tokens,
    tokens.signing_keys,
    model.app,
    relationships.app,
    organizations.app,
    organizations.groups,
    events.app,
):
    app.add_typer(group)
sign_in.add_to(app)
permissions.add_to(app)
server_models.add_to(model.app)
bulk.add_to(relationships.app)
user_export.add_to(users.app)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer's way of calling
    if wanted:
        sys.stdout.write(f"watchword {version('watchword')}\n")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    _traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where a mistake in Watchword itself happened.")
    ] = False,
) -> None:
    """Watchword: who is calling, and may they?"""  # noqa: D400


def run() -> None:
    """Run the command that the arguments name, and exit."""
    app(prog_name="watchword")
