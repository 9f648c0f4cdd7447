"""`watchword import`: users brought from the database of another application, with their passwords."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import typer

from watchword.cli.command import Door, group, sometimes_remote
from watchword.cli.failures import Code, Failure
from watchword.cli.importing import layouts
from watchword.cli.importing.layouts import Framework, Layout

app = group(
    "import",
    "Users brought from the database of another application, with the passwords they have. It is only read. Each "
    "user's id there becomes the external id here, so an import can be repeated and adds nobody twice. The API key "
    "needs the permission import_users.",
)

_SALT_VARIABLE: Final = "SECURITY_PASSWORD_SALT"

_FROM = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="URL",
        envvar="SOURCE_DATABASE_URL",
        help="The database: postgresql://user:password@host/name, mysql://…, or sqlite:///file. In the environment "
        "variable nobody else on this machine sees the password.",
    ),
]
_TABLE = Annotated[str | None, typer.Option(metavar="NAME", help="The table of users, if it is not the usual one.")]
_SCHEMA = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The schema of the table; for MySQL the database. Default: the usual."),
]
_ID_PREFIX = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Put before each id, such as shop/. Needed if users of two applications are imported, for a user with an "
        "id that is here already counts as imported.",
    ),
]
_DISPLAY_NAME = Annotated[
    list[str] | None,
    typer.Option(
        "--display-name-column", metavar="COLUMN", help="The name to show to people; repeatable, then joined by spaces."
    ),
]
_ATTRIBUTE = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute-column", metavar="COLUMN", help="Becomes an attribute of the user, by its own name; repeatable."
    ),
]
_TIME_ZONE = Annotated[
    str, typer.Option(metavar="ZONE", help="The time zone of times that do not tell theirs, such as Europe/Zurich.")
]
_DROP_HASHES = Annotated[
    bool,
    typer.Option(
        "--drop-bad-hashes",
        help="Import users whose password hash cannot be verified all the same, without a password.",
    ),
]
_DROP_EMAILS = Annotated[
    bool,
    typer.Option(
        "--drop-invalid-emails",
        help="Import users whose e-mail address is invalid all the same, with their usernames only.",
    ),
]
_DRY_RUN = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read everything, write nothing, and tell what would be refused. Asks no server, so names that somebody "
        "has there already are found by the import only.",
    ),
]
_REFUSED = Annotated[
    Path | None,
    typer.Option("--refused", metavar="FILE", help="Write everybody who is refused, and why: lines of JSON."),
]


@dataclass(frozen=True, slots=True)
class _Options:
    """What all the commands take."""

    address: str
    schema: str | None
    id_prefix: str
    time_zone: str
    drop_bad_hashes: bool
    drop_invalid_emails: bool
    dry_run: bool
    refused: Path | None


@sometimes_remote(app)
def django(
    door: Door,
    *,
    from_: _FROM,
    table: Annotated[
        str, typer.Option(metavar="NAME", help="The table of a user model of your own: accounts_user, say.")
    ] = "auth_user",
    schema: _SCHEMA = None,
    display_name_column: _DISPLAY_NAME = None,
    attribute_column: _ATTRIBUTE = None,
    id_prefix: _ID_PREFIX = "",
    time_zone: _TIME_ZONE = "UTC",
    drop_bad_hashes: _DROP_HASHES = False,
    drop_invalid_emails: _DROP_EMAILS = False,
    dry_run: _DRY_RUN = False,
    refused: _REFUSED = None,
) -> None:
    """Import the users of a Django application.

    E-mail address, username, first and last name, password, date of joining and last sign-in become the same here. Who
    is not active is suspended. is_staff and is_superuser, if set, and the names of the groups become attributes of the
    user, and give no rights here. Exit code 1 if a user is or would be refused.
    """
    options = _Options(from_, schema, id_prefix, time_zone, drop_bad_hashes, drop_invalid_emails, dry_run, refused)
    framework = layouts.django(_said("--table", table))
    layout = _with(framework.layout, display_name_column, attribute_column)
    _import(door, layout, framework, options)


@sometimes_remote(app)
def flask_security(
    door: Door,
    *,
    from_: _FROM,
    table: _TABLE = None,
    schema: _SCHEMA = None,
    salt_file: Annotated[
        Path | None,
        typer.Option(
            "--password-salt-file",
            metavar="FILE",
            help=f"A file with the application's {_SALT_VARIABLE}. Default: the environment variable {_SALT_VARIABLE}; "
            "else it is asked for.",
        ),
    ] = None,
    single_hash: Annotated[
        bool | None,
        typer.Option(
            help="The application's SECURITY_PASSWORD_SINGLE_HASH: True, which needs no salt, or False. Default: it is "
            "not set."
        ),
    ] = None,
    display_name_column: _DISPLAY_NAME = None,
    attribute_column: _ATTRIBUTE = None,
    id_prefix: _ID_PREFIX = "",
    time_zone: _TIME_ZONE = "UTC",
    drop_bad_hashes: _DROP_HASHES = False,
    drop_invalid_emails: _DROP_EMAILS = False,
    dry_run: _DRY_RUN = False,
    refused: _REFUSED = None,
) -> None:
    """Import the users of a Flask application with Flask-Security.

    E-mail address, username, password, time of creation and last sign-in become the same here. Who is not active is
    suspended. The names of the roles become the attribute "roles" of the user, and give no rights here. Exit code 1 if
    a user is or would be refused.

    Nobody can sign in with a wrong salt, or if SECURITY_PASSWORD_SINGLE_HASH is another than was said. No import can
    notice that, and to repeat it mends nothing: so import into a server for trying first, and sign in there. Without
    that setting, the salt is mixed into all passwords but those hashed in Django's formats; with False, into those too.
    """
    salt = "" if single_hash else _salt(salt_file)
    options = _Options(from_, schema, id_prefix, time_zone, drop_bad_hashes, drop_invalid_emails, dry_run, refused)
    framework = layouts.FLASK_SECURITY
    layout = _with(framework.layout, display_name_column, attribute_column, table=table)
    _import(door, layout, framework, options, salt=salt, salts_all=single_hash is False)


@sometimes_remote(app)
def fastapi_users(
    door: Door,
    *,
    from_: _FROM,
    table: _TABLE = None,
    schema: _SCHEMA = None,
    display_name_column: _DISPLAY_NAME = None,
    attribute_column: _ATTRIBUTE = None,
    id_prefix: _ID_PREFIX = "",
    time_zone: _TIME_ZONE = "UTC",
    drop_bad_hashes: _DROP_HASHES = False,
    drop_invalid_emails: _DROP_EMAILS = False,
    dry_run: _DRY_RUN = False,
    refused: _REFUSED = None,
) -> None:
    """Import the users of a FastAPI application with fastapi-users on SQLAlchemy.

    E-mail address and password become the same here, and a username if there is one. Who is not active is suspended.
    is_superuser and is_verified, if set, become attributes of the user, and give no rights here. Exit code 1 if a user
    is or would be refused.
    """
    options = _Options(from_, schema, id_prefix, time_zone, drop_bad_hashes, drop_invalid_emails, dry_run, refused)
    framework = layouts.FASTAPI_USERS
    layout = _with(framework.layout, display_name_column, attribute_column, table=table)
    _import(door, layout, framework, options)


def _with(
    layout: Layout, display_name: Sequence[str] | None, attributes: Sequence[str] | None, *, table: str | None = None
) -> Layout:
    """What somebody says of a layout prevails."""
    return replace(
        layout,
        table=layout.table if table is None else _said("--table", table),
        display_name=tuple(display_name or layout.display_name),
        attributes=tuple(attributes or ()),
    )


def _column(meaning: str) -> Any:
    return typer.Option(metavar="COLUMN", help=meaning)


@sometimes_remote(app)
def table(
    door: Door,
    *,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table of users.")],
    from_: _FROM,
    schema: _SCHEMA = None,
    id_column: Annotated[str, _column("The user's id.")] = "id",
    email_column: Annotated[str | None, _column("The e-mail address.")] = None,
    username_column: Annotated[str | None, _column("The name to sign in with.")] = None,
    display_name_column: _DISPLAY_NAME = None,
    locale_column: Annotated[str | None, _column("The language, such as de-CH.")] = None,
    password_column: Annotated[
        str | None, _column("The password hash: argon2, bcrypt, or as Django, Werkzeug, passlib or pwdlib write it.")
    ] = None,
    active_column: Annotated[str | None, _column("True for who may sign in; the others are suspended.")] = None,
    create_time_column: Annotated[str | None, _column("When the user was created.")] = None,
    last_sign_in_column: Annotated[str | None, _column("When the user last signed in.")] = None,
    attribute_column: _ATTRIBUTE = None,
    id_prefix: _ID_PREFIX = "",
    time_zone: _TIME_ZONE = "UTC",
    drop_bad_hashes: _DROP_HASHES = False,
    drop_invalid_emails: _DROP_EMAILS = False,
    dry_run: _DRY_RUN = False,
    refused: _REFUSED = None,
) -> None:
    """Import users from any table, or view, by saying which column holds what.

    Exit code 1 if a user is or would be refused.
    """
    layout = Layout(
        table=_said("TABLE", table),
        id=id_column,
        email=email_column,
        username=username_column,
        display_name=tuple(display_name_column or ()),
        locale=locale_column,
        password=password_column,
        active=active_column,
        create_time=create_time_column,
        last_sign_in=(last_sign_in_column,) if last_sign_in_column is not None else (),
        attributes=tuple(attribute_column or ()),
    )
    options = _Options(from_, schema, id_prefix, time_zone, drop_bad_hashes, drop_invalid_emails, dry_run, refused)
    _import(door, layout, None, options)


def _import(
    door: Door,
    layout: Layout,
    framework: Framework | None,
    options: _Options,
    *,
    salt: str = "",
    salts_all: bool = False,
) -> None:
    try:
        from watchword.cli.importing.rows import flask_security_prefix  # noqa: PLC0415 - see the package
        from watchword.cli.importing.run import Order, carry_out  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Failure(f'This command needs {error.name}: run `pip install "watchword[import]"`.') from None
    order = Order(
        address=options.address,
        layout=replace(layout, schema=options.schema),
        framework=framework,
        id_prefix=options.id_prefix,
        time_zone=_zone(options.time_zone),
        hash_prefix=flask_security_prefix(salt),
        prefixes_all=salts_all,
        drop_bad_hashes=options.drop_bad_hashes,
        drop_invalid_emails=options.drop_invalid_emails,
        dry_run=options.dry_run,
        refused=options.refused,
    )
    summary = carry_out(order, door.output, door.connect)
    if door.output.as_json:
        door.output.one(summary.members())
    else:
        door.output.lines(summary.lines())
    if summary.refused:
        raise typer.Exit(Code.FAILED)


def _said(option: str, value: str) -> str:
    if not value:
        raise Failure(f"{option} has no value.", code=Code.USAGE)
    return value


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise Failure(f"--time-zone is a name such as Europe/Zurich, not {name!r}.", code=Code.USAGE) from None


def _salt(file: Path | None) -> str:
    """Get SECURITY_PASSWORD_SALT. Never from an argument: everybody can list those."""
    if file is not None:
        try:
            salt = file.read_text().removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError):
            raise Failure(f"The salt in {file} cannot be read.", code=Code.USAGE) from None
    else:
        salt = os.environ.get(_SALT_VARIABLE, "")
        if not salt and sys.stdin.isatty():
            salt = str(typer.prompt(_SALT_VARIABLE, hide_input=True, err=True))
    if not salt:
        raise Failure(
            f"Flask-Security mixes the application's {_SALT_VARIABLE} into every password, so it is needed: in that "
            "environment variable, or by --password-salt-file. With --single-hash it is not.",
            code=Code.USAGE,
        )
    return salt
