"""Running a server and looking after its database."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from watchword.cli.command import YES, address_of, ca_file_of, confirm, group, local
from watchword.cli.failures import Code, Failure
from watchword.cli.output import Output

if TYPE_CHECKING:
    from watchword.server.config import Config
    from watchword.server.sealing import Keyring

_HEALTH_SECONDS = 5
# grpc.health.v1.HealthCheckResponse{status: SERVING} as bytes. The request is empty, so neither needs the package
# that has the messages, which is the server's and not the command line's.
_SERVING = b"\x08\x01"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, migrate, bootstrap, settings, generate_master_key, health):
        local(app)(command)
    database = group("database", "The server's database.")
    local(database)(restored)
    app.add_typer(database)


def serve(
    output: Output,
    *,
    workers: Annotated[
        int | None, typer.Option(metavar="N", help="Processes that share the port. Default: WATCHWORD_WORKERS, or 1.")
    ] = None,
) -> None:
    """Run a server until it is told to stop (SIGTERM, Ctrl-C). `watchword settings` lists what can be set.

    Without WATCHWORD_DATABASE_URL it brings its own PostgreSQL, in the data folder, and shows the administrator's
    API key when it starts for the first time.
    """
    # A server does not fork, and as root gRPC's care for that writes to the console when PostgreSQL is stopped.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    with server_failures():
        import uvloop  # noqa: PLC0415

        from watchword.server.app import serve as run  # noqa: PLC0415
        from watchword.server.prepare import prepare  # noqa: PLC0415
        from watchword.server.storage import schema  # noqa: PLC0415

        if workers is not None:
            os.environ["WATCHWORD_WORKERS"] = str(workers)
        config = _config()
        # Until the server has its own way of stopping, SIGTERM must still stop the embedded database in passing.
        signal.signal(signal.SIGTERM, _leave)
        if config.workers > 1:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are workers to replace
        with prepare(config) as prepared:
            if config.database_url is None:
                schema.migrate(prepared.database_url, progress=lambda text: output.note(f"Migrated to {text}"))
                _bootstrap(output, config, prepared.database_url, prepared.keyring)
            else:
                schema.check(prepared.database_url)
            if config.workers > 1:
                _run_workers(output, config, prepared.database_url)
                return
            uvloop.run(
                run(
                    config,
                    database_url=prepared.database_url,
                    keyring=prepared.keyring,
                    on_ready=lambda address: _ready(output, address),
                )
            )


def migrate(output: Output) -> None:
    """Bring the database to this version's schema. Servers of the version before go on working meanwhile."""
    with server_failures():
        from watchword.server.prepare import prepare  # noqa: PLC0415
        from watchword.server.storage import schema  # noqa: PLC0415

        with prepare(_config()) as prepared:
            applied = schema.migrate(prepared.database_url, progress=lambda text: output.note(f"Migrated to {text}"))
    if output.as_json:
        output.one({"applied": applied})
    elif not applied:
        output.note("The schema is up to date.")


def bootstrap(
    output: Output,
    *,
    again: Annotated[
        bool, typer.Option("--again", help="Make another administrator, because the key of the first is lost.")
    ] = False,
) -> None:
    """Make the administrator's API key and show it, once. The server of an embedded database does so by itself."""
    with server_failures():
        from watchword.server.prepare import prepare  # noqa: PLC0415
        from watchword.server.storage import schema  # noqa: PLC0415

        config = _config()
        with prepare(config) as prepared:
            schema.check(prepared.database_url)
            if not _bootstrap(output, config, prepared.database_url, prepared.keyring, again=again):
                raise Failure(
                    "The administrator's key was made before and cannot be shown again. If it is lost: "
                    "`watchword bootstrap --again` makes another administrator."
                )


def restored(output: Output, *, yes: YES = False) -> None:
    """Tell that the database was restored from a backup, so that nothing said before is taken for true now.

    A server notices by itself that a dump was loaded into another PostgreSQL, and a recovery to a point in time or a
    failover. Run this after every other restore: files of a backup put back as they were, or a service that does not
    let PostgreSQL tell. To run it once too often does no harm but what it says.

    All caches are emptied, here and in the SDKs. Revisions from before are refused. Access tokens from before are
    refused as revoked, and callers get new ones by their refresh tokens: sessions go on. What was revoked, suspended or
    deleted after the backup was made is as it was then, sessions and API keys too: do it again.
    """
    confirm("Empty all caches, and refuse every access token issued so far?", yes=yes)
    with server_failures():
        from watchword.server.prepare import prepare  # noqa: PLC0415
        from watchword.server.restore import database_restored  # noqa: PLC0415
        from watchword.server.storage import schema  # noqa: PLC0415

        with prepare(_config()) as prepared:
            schema.check(prepared.database_url)
            epoch = database_restored(prepared.database_url, prepared.keyring)
    output.one({"epoch": epoch})
    output.note("What was revoked, suspended or deleted after the backup was made is as it was then: do it again.")


def settings(output: Output) -> None:
    """List the server's settings, all of them environment variables."""
    with server_failures():
        from watchword.server.config import SETTINGS  # noqa: PLC0415

        rows = [{"name": name, "meaning": setting.meaning} for name, setting in SETTINGS.items()]
    output.many(rows, columns=("name", "meaning"))


def generate_master_key(output: Output) -> None:
    """Make a master key, for WATCHWORD_MASTER_KEY_FILE. Who loses it loses all that is sealed in the database."""
    with server_failures():
        from watchword.server.sealing import Keyring  # noqa: PLC0415

        output.text(Keyring.generate(secrets.token_bytes), name="master_key")


def health(
    output: Output,
    *,
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where the server is. Default: WATCHWORD_ADDRESS, or localhost:7420."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The PEM certificates to trust. Default: WATCHWORD_CA_FILE.")
    ] = None,
) -> None:
    """Ask a server whether it serves. Needs no API key. Exit code 0 if it does, 1 if it does not, 4 without answer."""
    import grpc  # noqa: PLC0415

    from watchword.client import TLS  # noqa: PLC0415
    from watchword.client._transport import is_local  # noqa: PLC0415

    where = address_of(os.environ, address)
    trusted = ca_file_of(os.environ, ca_file)
    if trusted is None and is_local(where):
        channel = grpc.insecure_channel(where)
    else:
        certificates = None if trusted is None else trusted.read_bytes()
        channel = grpc.secure_channel(where, TLS(root_certificates=certificates).channel_credentials())
    with channel:
        try:
            check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
            answer: bytes = check(b"", timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            raise Failure(f"No Watchword answers at {where}.", code=Code.UNREACHABLE) from None
    serving = answer == _SERVING
    output.one({"address": where, "status": "serving" if serving else "not serving"})
    if not serving:
        raise typer.Exit(Code.FAILED)


def _bootstrap(output: Output, config: "Config", database_url: str, keyring: "Keyring", *, again: bool = False) -> bool:
    """Make the administrator's key unless it was made before; show it, and keep it beside an embedded database."""
    from watchword.server.bootstrap import bootstrap as run  # noqa: PLC0415
    from watchword.server.prepare import write_secret  # noqa: PLC0415

    def keep(api_key: str) -> None:
        shown = {"administrator_api_key": api_key}
        if config.database_url is None:
            file = config.data_dir / "administrator.key"
            write_secret(file, api_key, replace=True)
            shown["kept_in"] = str(file)
        output.one(shown)

    if not run(database_url, keyring, keep=keep, again=again):
        return False
    output.note("This is the administrator's API key. It may do everything and is shown this once.")
    return True


def _run_workers(output: Output, config: "Config", database_url: str) -> None:
    from watchword.server.workers import WorkerFailed, Workers, held  # noqa: PLC0415

    environment = {**os.environ, "WATCHWORD_DATABASE_URL": database_url}
    if config.database_url is None and config.master_key is None and config.master_key_file is None:
        environment["WATCHWORD_MASTER_KEY_FILE"] = str(config.data_dir / "master.key")
    with held(config.listen) as address:
        environment["WATCHWORD_LISTEN"] = address
        with _page_of_workers(config, environment) as on_end:
            workers = Workers(
                environment, number=config.workers, grace=config.shutdown_grace.total_seconds(), on_end=on_end
            )
            try:
                asyncio.run(workers.run(lambda: _ready(output, address)))
            except WorkerFailed as error:
                raise Failure(str(error)) from None


@contextmanager
def _page_of_workers(config: "Config", environment: dict[str, str]) -> Iterator[Callable[[int], None]]:
    """Serve the workers' metrics, if that is asked for; give whom to tell of each worker that ends."""
    if config.metrics_listen is None:
        yield lambda _: None
        return
    from watchword.server.metrics_page import FOLDER_VARIABLE, page_of_workers  # noqa: PLC0415

    with page_of_workers(config.metrics_listen, number=config.workers) as page:
        environment[FOLDER_VARIABLE] = str(page.folder)
        yield page.ended


def _config() -> "Config":
    """Load the settings; log by them, so that nothing but results gets onto stdout."""
    from watchword.server import config, log  # noqa: PLC0415

    loaded = config.load(os.environ)
    log.configure(loaded)
    return loaded


def _ready(output: Output, address: str) -> None:
    if output.as_json:
        output.one({"address": address})
    else:
        output.note(f"Watchword serves on {address}")


def _leave(_signal: int, _frame: object) -> NoReturn:
    sys.exit(Code.OK)


@contextmanager
def server_failures() -> Iterator[None]:
    """Tell an operator what is wrong with the settings, the keys or the database."""
    try:
        import psycopg  # noqa: PLC0415

        from watchword.server.config import ConfigError  # noqa: PLC0415
        from watchword.server.errors import DatabaseUnavailable  # noqa: PLC0415
        from watchword.server.prepare import PreparationError  # noqa: PLC0415
        from watchword.server.sealing import SealBroken, UnknownMasterKey  # noqa: PLC0415
        from watchword.server.storage.embedded import EmbeddedPostgresError  # noqa: PLC0415
        from watchword.server.storage.schema import SchemaError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise Failure(f'This command needs {error.name}: run `pip install "watchword[server]"`.') from None
    try:
        yield
    except ConfigError as error:
        raise Failure(str(error), code=Code.USAGE) from None
    except (PreparationError, EmbeddedPostgresError, SchemaError, SealBroken, UnknownMasterKey, OSError) as error:
        raise Failure(str(error)) from None
    except (psycopg.OperationalError, DatabaseUnavailable) as error:
        raise Failure(
            f"The database does not answer: {error}\nIs it running, and is WATCHWORD_DATABASE_URL right?",
            code=Code.UNREACHABLE,
        ) from None
