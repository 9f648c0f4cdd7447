"""What all commands have in common: their shared options, how they reach the server, how they end.

`local` and `remote` make a command of a function that takes an `Output` or a `Call` first. The options that come
with it are added here, so that they are spelled the same everywhere and stand after the command, where people type
them.
"""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from watchword.cli.failures import EXIT_CODES, Code, Failure
from watchword.cli.output import Output

if TYPE_CHECKING:
    from watchword.client import TLS, Client

_JSON = Annotated[bool, typer.Option("--json", help="Write the result as JSON.")]
_ADDRESS = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where the server is. Default: WATCHWORD_ADDRESS, or localhost:7420."),
]
_API_KEY_FILE = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file with the API key. Default: WATCHWORD_API_KEY; for a server on this machine also "
        "administrator.key in the data folder (.watchword).",
    ),
]
_CA_FILE = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The PEM certificates to trust. Default: WATCHWORD_CA_FILE, or public ones."),
]

_OPTIONS: Mapping[str, tuple[Any, Any]] = {
    "json": (_JSON, False),
    "address": (_ADDRESS, None),
    "api_key_file": (_API_KEY_FILE, None),
    "ca_file": (_CA_FILE, None),
}

LIMIT = Annotated[int, typer.Option(min=1, metavar="N", help="The most to show.")]
PASSWORD_STDIN = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking for it.")
]
YES = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

_UNREACHABLE = (
    "No Watchword answers at {address}. Is it running (`watchword serve`), and is this its address (--address, "
    "WATCHWORD_ADDRESS)? Other machines are asked by TLS only: WATCHWORD_CA_FILE names whom to trust."
)


@dataclass(frozen=True, slots=True)
class Target:
    """Which server, and how to be let in."""

    address: str
    ca_file: Path | None
    api_key: str
    api_key_source: str

    def tls(self) -> "TLS | None":
        """What to trust, if anything was said about it."""
        from watchword.client import TLS  # noqa: PLC0415

        return None if self.ca_file is None else TLS(root_certificates=_read(self.ca_file, "certificates").encode())


@dataclass(frozen=True, slots=True)
class Call:
    """What a command that asks the server works with."""

    client: "Client"
    output: Output


@dataclass(frozen=True, slots=True)
class Door:
    """What a command works with that asks the server only if it has to."""

    output: Output
    connect: "Callable[[], AbstractContextManager[Client]]"


def group(name: str, meaning: str) -> typer.Typer:
    """Make a group of commands."""
    return typer.Typer(name=name, help=meaning, no_args_is_help=True, epilog=EXIT_CODES, rich_markup_mode=None)


def local(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command that asks no server, or not by an API key."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(*, json: bool, **arguments: Any) -> None:
            output = Output(as_json=json)
            with _ending(output):
                function(output, **arguments)

        return _register(app, name, function, command, {"json": (_JSON, False)})

    return decorate


def remote(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command that asks the server, by an API key."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(
            *, json: bool, address: str | None, api_key_file: Path | None, ca_file: Path | None, **arguments: Any
        ) -> None:
            output = Output(as_json=json)
            with _ending(output):
                target = _target(os.environ, address=address, api_key_file=api_key_file, ca_file=ca_file)
                with _connection(target) as client:
                    function(Call(client, output), **arguments)

        return _register(app, name, function, command, _OPTIONS)

    return decorate


def sometimes_remote(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command that asks the server, by an API key, only if it has to."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(
            *, json: bool, address: str | None, api_key_file: Path | None, ca_file: Path | None, **arguments: Any
        ) -> None:
            output = Output(as_json=json)

            def connect() -> "AbstractContextManager[Client]":
                return _connection(_target(os.environ, address=address, api_key_file=api_key_file, ca_file=ca_file))

            with _ending(output):
                function(Door(output, connect), **arguments)

        return _register(app, name, function, command, _OPTIONS)

    return decorate


def address_of(environment: Mapping[str, str], address: str | None) -> str:
    """Tell where the server is."""
    from watchword.client._transport import DEFAULT_ADDRESS  # noqa: PLC0415

    return address or environment.get("WATCHWORD_ADDRESS") or DEFAULT_ADDRESS


def ca_file_of(environment: Mapping[str, str], ca_file: Path | None) -> Path | None:
    """Tell which certificates to trust."""
    named = environment.get("WATCHWORD_CA_FILE")
    return ca_file or (Path(named) if named else None)


def read_password(*, from_stdin: bool, confirm: bool) -> str:
    """Get a password from a person, unseen, or from a pipe. Never from an argument: everybody can list those."""
    if from_stdin:
        # One line end belongs to `echo`, everything else to the password.
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise Failure("There is no terminal to ask for the password: use --password-stdin.", code=Code.USAGE)
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("There is no terminal to ask for confirmation: use --yes.", code=Code.USAGE)
    if not typer.confirm(question, err=True):
        raise Failure("Nothing was done.")


def _register(
    app: typer.Typer,
    name: str | None,
    function: Callable[..., None],
    command: Callable[..., None],
    options: Mapping[str, tuple[Any, Any]],
) -> Callable[..., None]:
    own = list(inspect.signature(function).parameters.values())[1:]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for option, (annotation, default) in options.items()
    ]
    setattr(command, "__signature__", inspect.Signature(parameters))  # noqa: B010 - unknown to the type of functions
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    app.command(name or function.__name__.strip("_").replace("_", "-"), epilog=EXIT_CODES)(command)
    return function


@contextmanager
def _ending(output: Output) -> Iterator[None]:
    """Turn whatever ends a command into an exit code and a text; nobody is shown a traceback who did not ask."""
    try:
        yield
        sys.stdout.flush()
    except Failure as failure:
        output.failure(failure)
        raise typer.Exit(failure.code) from None
    except BrokenPipeError:
        # Whoever read our output has had enough, as `head` has. Python's own flush at the end must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Code.OK) from None
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - see above; `--traceback` shows it
        if "--traceback" in sys.argv:
            traceback.print_exc()
        mistake = Failure(
            f"A mistake in Watchword itself: {type(error).__name__}. Please report it, with what "
            "`watchword --traceback …` shows for the same command."
        )
        output.failure(mistake)
        raise typer.Exit(mistake.code) from None


def _target(
    environment: Mapping[str, str], *, address: str | None, api_key_file: Path | None, ca_file: Path | None
) -> Target:
    from watchword.client._transport import is_local  # noqa: PLC0415

    where = address_of(environment, address)
    data_dir = Path(environment.get("WATCHWORD_DATA_DIR") or ".watchword")
    if api_key_file is not None:
        api_key, source = _read(api_key_file, "API key"), str(api_key_file)
    elif environment.get("WATCHWORD_API_KEY"):
        api_key, source = environment["WATCHWORD_API_KEY"], "WATCHWORD_API_KEY"
    # Threat: the key of a server tried out here, sent to another server elsewhere.
    elif is_local(where) and (data_dir / "administrator.key").exists():
        api_key, source = _read(data_dir / "administrator.key", "API key"), str(data_dir / "administrator.key")
    else:
        raise Failure(
            "There is no API key: set WATCHWORD_API_KEY or use --api-key-file. The administrator's key was shown by "
            "the first `watchword serve` or by `watchword bootstrap`.",
            code=Code.NOT_PERMITTED,
        )
    return Target(where, ca_file_of(environment, ca_file), api_key.strip(), source)


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Failure(f"The {what} in {file} cannot be read: {reason}.", code=Code.USAGE) from None


@contextmanager
def _connection(target: Target) -> "Iterator[Client]":
    from watchword.client import (  # noqa: PLC0415 - gRPC takes its time, and `--help` should not
        ApiKeyInvalidError,
        Client,
        DeadlineExceededError,
        NotFoundError,
        PermissionDeniedError,
        UnavailableError,
        WatchwordError,
    )

    try:
        with Client(target.address, api_key=target.api_key, tls=target.tls()) as client:
            yield client
    except ValueError as error:
        raise Failure(
            f"{target.api_key_source} or --address is not what it should be: {error}", code=Code.USAGE
        ) from None
    except (UnavailableError, DeadlineExceededError) as error:
        # An answer that names a reason came from a server: it says itself what is wrong.
        message = error.message if error.reason else _UNREACHABLE.format(address=target.address)
        raise _failure(error, message, Code.UNREACHABLE) from None
    except ApiKeyInvalidError as error:
        message = (
            f"The API key from {target.api_key_source} is not accepted at {target.address}: it is unknown there, "
            "expired or revoked, or its service account is disabled."
        )
        raise _failure(error, message, Code.NOT_PERMITTED) from None
    except PermissionDeniedError as error:
        raise _failure(error, error.message, Code.NOT_PERMITTED) from None
    except NotFoundError as error:
        raise _failure(error, error.message, Code.NOT_FOUND) from None
    except WatchwordError as error:
        violations = [f"{violation.field}: {violation.description}" for violation in error.field_violations[1:]]
        raise _failure(error, "\n".join([error.message, *violations]), Code.FAILED) from None


def _failure(error: Any, message: str, code: Code) -> Failure:
    return Failure(
        message, code=code, reason=error.reason or error.code, request_id=error.request_id if error.reason else ""
    )
