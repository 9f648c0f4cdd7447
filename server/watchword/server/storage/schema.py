"""The version of a database's schema: whether this Watchword fits it, and how it gets there.

Alembic applies the migrations of the folder beside this file. It is loaded only when one has to be applied: a server
that starts on a good schema asks one question, with psycopg alone. A migration's id is the number that its file
name begins with, so that what this Watchword knows can be told without running the files.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from watchword.server.identifiers import Randomness

_MIGRATIONS = Path(__file__).parent / "migrations"
# "watchword" in ASCII, cut to 8 bytes: whoever migrates holds this advisory lock.
_LOCK = int.from_bytes(b"watchwor")
_POLL_SECONDS = 0.1
# A migration that waits for a table makes everybody behind it wait too, so it gives up early and is run again.
_LOCK_TIMEOUT = "3s"


class SchemaError(Exception):
    """The schema does not fit; the text says which command mends it."""


class SchemaMissing(SchemaError):
    """There are no tables yet."""


class SchemaBehind(SchemaError):
    """The schema is older than this Watchword."""


class SchemaAhead(SchemaError):
    """The schema is newer than this Watchword."""


class MigrationError(SchemaError):
    """A migration could not be applied; those before it were."""


def check(url: str) -> None:
    """Find out whether this Watchword can work with a database.

    Args:
        url: a postgresql:// URL, as for psycopg.

    Raises:
        SchemaMissing, SchemaBehind, SchemaAhead: it cannot.
        psycopg.OperationalError: the database does not answer.

    """
    with psycopg.connect(url, autocommit=True) as connection:
        _check(_applied(connection))


def migrate(
    url: str, *, progress: Callable[[str], None] | None = None, randomness: Randomness = secrets.token_bytes
) -> list[str]:
    """Bring a database to this Watchword's schema, while servers of the version before go on working.

    Several may try at once: one migrates, the others wait for it. What was applied stays applied, whatever happens
    to the rest. The connection must be a session of its own: not through PgBouncer in transaction mode.

    Args:
        url: a postgresql:// URL of a role that may create tables.
        progress: is told each migration when it has been applied.
        randomness: makes the epoch of a new database.

    Returns:
        The ids of the migrations applied, oldest first; none if there was nothing to do.

    Raises:
        SchemaAhead: the database is newer than this Watchword.
        MigrationError: a table was in use for too long; running it again goes on where it stopped.
        psycopg.OperationalError: the database does not answer.

    """
    with psycopg.connect(url, autocommit=True) as connection, _alone(connection):
        with suppress(SchemaMissing, SchemaBehind):
            _check(_applied(connection))
            return []
        return _upgrade(connection, progress or (lambda _: None), randomness)


def _known() -> list[str]:
    names = (path.name for path in (_MIGRATIONS / "versions").glob("*.py"))
    return sorted(match[0] for name in names if (match := re.match(r"\d{4}", name)))


def _applied(connection: psycopg.Connection[Any]) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[0] if row else None


def _check(applied: str | None) -> None:
    known = _known()
    if applied is None:
        raise SchemaMissing("The database holds no Watchword tables yet. Run `watchword migrate`.")
    if applied not in known:
        raise SchemaAhead(
            f"The database's schema is at {applied}, this Watchword knows {known[-1]} as the newest: the database was "
            "migrated by a newer Watchword. Install that version or a later one."
        )
    if applied != known[-1]:
        raise SchemaBehind(
            f"The database's schema is at {applied}, this Watchword needs {known[-1]}. Run `watchword migrate`."
        )


@contextmanager
def _alone(connection: psycopg.Connection[Any]) -> Iterator[None]:
    # Asked again and again rather than waited for: a waiting statement holds a snapshot, and CREATE INDEX
    # CONCURRENTLY in the other migrator would wait for that in turn.
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
        if row is not None and row[0]:
            break
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _upgrade(connection: psycopg.Connection[Any], progress: Callable[[str], None], randomness: Randomness) -> list[str]:
    from alembic import command  # noqa: PLC0415 - a quarter of a second that a good schema does not need
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import OperationalError  # noqa: PLC0415

    done: list[str] = []

    def note(*, step: Any, **_context: Any) -> None:
        done.append(step.up_revision_id)
        progress(f"{step.up_revision_id}: {step.up_revision.doc}")

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes |= {"epoch": randomness(8).hex(), "on_version_apply": note}
    connection.execute(sql.SQL("SET lock_timeout = {}").format(_LOCK_TIMEOUT))
    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=NullPool)
    connection.autocommit = False
    try:
        with engine.connect() as config.attributes["connection"]:
            command.upgrade(config, "head")
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        raise MigrationError(
            "A table was in use for so long that the migration gave up, to let others work. Nothing is half done: "
            "run `watchword migrate` again, at a quieter time if need be."
        ) from error
    return done
