"""Accounts of people."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchword.cli.command import LIMIT, PASSWORD_STDIN, YES, Call, confirm, group, read_password, remote
from watchword.cli.failures import Code, Failure
from watchword.cli.values import json_object

if TYPE_CHECKING:
    from watchword.client import UserStatus

app = group("users", "Accounts of people.")

USER = Annotated[str, typer.Argument(metavar="USER", help="The user's id, e-mail address or username.")]
_EMAIL = Annotated[str | None, typer.Option(help="The e-mail address.")]
_USERNAME = Annotated[str | None, typer.Option(help="A name to sign in with.")]
_DISPLAY_NAME = Annotated[str | None, typer.Option(help="The name to show to people.")]
_LOCALE = Annotated[str | None, typer.Option(help="The language, such as de-CH.")]
_EXTERNAL_ID = Annotated[str | None, typer.Option(help="Your own id of the user.")]
_ATTRIBUTES = Annotated[str | None, typer.Option(metavar="JSON", help="Whatever else you keep: a JSON object.")]
_EXAMPLE = '{"team": "billing"}'
_ETAG = Annotated[str | None, typer.Option(help="Refuse if the user has changed since this etag was read.")]
OF_STATUS = Annotated[
    list[str] | None,
    typer.Option("--status", help="active, suspended or deleted; repeatable. Default: all but deleted."),
]
OF_EMAIL_PREFIX = Annotated[
    str | None, typer.Option("--email-prefix", help="Users whose address starts with this, whatever the case.")
]
_REASON = Annotated[str | None, typer.Option(help="Why, for the event log.")]


def user_id_of(call: Call, user: str) -> str:
    """Find the id of a user named in one of the ways that a command takes."""
    if _is_id(user):
        return user
    return str(_find(call, user).user_id)


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text.lower()) is not None


def _find(call: Call, user: str) -> Any:
    if _is_id(user):
        return call.client.users.get(user)
    return call.client.users.get_by_email(user) if "@" in user else call.client.users.get_by_username(user)


def statuses_of(names: list[str] | None) -> "list[UserStatus]":
    """Read the option --status."""
    from watchword.client import UserStatus  # noqa: PLC0415

    known = {value.value: value for value in UserStatus if value is not UserStatus.UNSPECIFIED}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise Failure(f"--status is one of {', '.join(known)}, not {unknown[0]!r}.", code=Code.USAGE)
    return [known[name] for name in names or []]


@remote(app)
def create(
    call: Call,
    *,
    email: _EMAIL = None,
    username: _USERNAME = None,
    display_name: _DISPLAY_NAME = None,
    locale: _LOCALE = None,
    external_id: _EXTERNAL_ID = None,
    attributes: _ATTRIBUTES = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Ask for a first password.")] = False,
    password_stdin: PASSWORD_STDIN = False,
) -> None:
    """Create a user, by default one without a password."""
    wanted = ask_password or password_stdin
    user = call.client.users.create(
        email=email,
        username=username,
        display_name=display_name,
        locale=locale,
        external_id=external_id,
        attributes=json_object(attributes, "--attributes", example=_EXAMPLE),
        password=read_password(from_stdin=password_stdin, confirm=True) if wanted else None,
    )
    call.output.one(user)


@remote(app)
def get(
    call: Call,
    *,
    user: USER,
    external_id: Annotated[bool, typer.Option("--external-id", help="USER is your own id of the user.")] = False,
) -> None:
    """Show a user."""
    call.output.one(call.client.users.get_by_external_id(user) if external_id else _find(call, user))


@remote(app, "list")
def list_users(
    call: Call,
    *,
    status: OF_STATUS = None,
    email_prefix: OF_EMAIL_PREFIX = None,
    limit: LIMIT = 100,
) -> None:
    """List users, oldest first, or by --email-prefix in the order of addresses."""
    users = call.client.users.list(
        statuses=statuses_of(status), email_prefix=email_prefix, page_size=min(limit + 1, 500)
    )
    call.output.many(
        users, columns=("user_id", "status", "email", "username", "display_name", "create_time"), limit=limit
    )


@remote(app)
def update(
    call: Call,
    *,
    user: USER,
    email: _EMAIL = None,
    username: _USERNAME = None,
    display_name: _DISPLAY_NAME = None,
    locale: _LOCALE = None,
    external_id: _EXTERNAL_ID = None,
    attributes: _ATTRIBUTES = None,
    etag: _ETAG = None,
) -> None:
    """Change fields of a user; an empty value clears one. Attributes are replaced as a whole."""
    texts = {
        "email": email,
        "username": username,
        "display_name": display_name,
        "locale": locale,
        "external_id": external_id,
    }
    changes: dict[str, Any] = {name: value or None for name, value in texts.items() if value is not None}
    if attributes is not None:
        changes["attributes"] = json_object(attributes or "{}", "--attributes", example=_EXAMPLE)
    if not changes:
        raise Failure("There is nothing to change: name a field, such as --display-name.", code=Code.USAGE)
    call.output.one(call.client.users.update(user_id_of(call, user), etag=etag, **changes))


@remote(app)
def suspend(call: Call, *, user: USER, reason: _REASON = None, etag: _ETAG = None) -> None:
    """Suspend a user: all sessions end at once, and nobody can sign in."""
    call.output.one(call.client.users.suspend(user_id_of(call, user), reason=reason, etag=etag))


@remote(app)
def reinstate(call: Call, *, user: USER, etag: _ETAG = None) -> None:
    """Let a suspended user sign in again."""
    call.output.one(call.client.users.reinstate(user_id_of(call, user), etag=etag))


@remote(app)
def delete(call: Call, *, user: USER, etag: _ETAG = None, yes: YES = False) -> None:
    """Delete a user for good: sessions end, credentials go, names become free."""
    user_id = user_id_of(call, user)
    confirm(f"Delete user {user_id} for good?", yes=yes)
    call.output.one(call.client.users.delete(user_id, etag=etag))
