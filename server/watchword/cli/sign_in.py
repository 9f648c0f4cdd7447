"""Signing in, to try a deployment."""

from typing import Annotated

import typer

from watchword.cli.command import PASSWORD_STDIN, Call, read_password, remote


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    remote(app, "sign-in")(_sign_in)


def _sign_in(
    call: Call,
    *,
    identifier: Annotated[str, typer.Argument(metavar="IDENTIFIER", help="The user's e-mail address or username.")],
    audience: Annotated[
        list[str] | None,
        typer.Option(help="A service that the access token is for; repeatable. Default: the server's."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device's name, for the list of sessions.")] = None,
    password_stdin: PASSWORD_STDIN = False,
) -> None:
    """Sign a user in and show the tokens."""
    from watchword.client import Device  # noqa: PLC0415

    password = read_password(from_stdin=password_stdin, confirm=False)
    tokens = call.client.sign_in(
        identifier,
        password=password,
        audiences=audience or (),
        device=None if device is None else Device(display_name=device),
    )
    call.output.one(tokens)
