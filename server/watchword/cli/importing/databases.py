"""The database of another application, opened for reading only.

All users are read by one statement, so in one snapshot, and as a stream: a million take no more memory than a few.
Values come as the driver has them, for a text where a time should be must spoil one row and not the import.

Threats:
- Names of tables and columns are whatever somebody wrote after an option. SQLAlchemy quotes them, and a name that the
  database does not have ends the command before.
- The URL holds a password. What goes wrong is told in the driver's words without the URL, and not at all if they hold
  the password.
- An application's live database must not be changed by mistake: the transaction is read-only, SQLite's file too.
"""

import json
import sqlite3
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Select,
    Text,
    cast,
    column,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    table,
    text,
)
from sqlalchemy.exc import NoSuchTableError, SAWarning, SQLAlchemyError
from sqlalchemy.sql import ColumnElement
from sqlalchemy.types import Date, DateTime, Interval, Time

from watchword.cli.failures import Code, Failure
from watchword.cli.importing.layouts import Framework, Groups, Layout

_DRIVERS: Final = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
    "sqlite": "sqlite+pysqlite",
}
_LISTS: Final = {"postgresql": "json_agg", "mysql": "json_arrayagg", "sqlite": "json_group_array"}
_BATCH: Final = 1_000
_SECONDS_TO_CONNECT: Final = 10
_FORMS: Final = "postgresql://user:password@host/name, mysql://user:password@host/name or sqlite:///file"


@contextmanager
def opened(address: str) -> "Iterator[Source]":
    """Open a database for the time of a block."""
    url = _url(address)
    with _telling(url):
        engine = _engine(url)
        try:
            with _telling(url, code=Code.UNREACHABLE):
                connection = engine.connect()
            with connection:
                if url.get_backend_name() == "postgresql":
                    connection.execute(
                        text("SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true)")
                    )
                yield Source(connection)
        finally:
            engine.dispose()


class Source:
    """An open database."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inspector = inspect(connection)
        self._backend = connection.dialect.name

    def fit(self, framework: Framework, layout: Layout) -> Layout:
        """Adapt the layout of a framework to the columns that there are, and to the primary key, whatever its name."""
        present = self._columns(layout.table, layout.schema)
        if present is None:
            raise Failure(self._no_table(layout, framework), code=Code.NOT_FOUND)
        asked_for = set(layout.columns()) - set(framework.layout.columns())
        layout = replace(layout, id=self._primary_key(layout) or layout.id)
        missing = sorted((framework.needed | {layout.id} | asked_for) - present.keys())
        if missing:
            raise Failure(
                f"The table {layout.table} does not hold these users of {framework.name}: it lacks {_listed(missing)}. "
                f"It has {_listed(present)}. `watchword import table` reads tables of any shape.",
                code=Code.USAGE,
            )
        groups = layout.groups and self._fit_groups(layout.groups, layout.schema)
        return replace(layout.within(present), groups=groups)

    def require(self, layout: Layout) -> None:
        """Fail if a column of a layout is not there."""
        present = self._columns(layout.table, layout.schema)
        if present is None:
            raise Failure(f"The database has no table {layout.table}.", code=Code.NOT_FOUND)
        missing = [name for name in layout.columns() if name not in present]
        if missing:
            raise Failure(
                f"The table {layout.table} has no {_listed(missing)}. It has {_listed(present)}.", code=Code.USAGE
            )

    def count(self, layout: Layout) -> int:
        """Count the users."""
        users = table(layout.table, schema=layout.schema)
        return int(self._connection.execute(select(func.count()).select_from(users)).scalar_one())

    def rows(self, layout: Layout) -> Generator[Mapping[str, Any]]:
        """Read the users: each the values of its columns by their names, and the names of its groups under ""."""
        names = layout.columns()
        statement = self._statement(layout, names)
        with self._connection.execute(statement, execution_options={"yield_per": _BATCH}) as result:
            for row in result:
                values = dict(zip(names, row, strict=False))
                if layout.groups is not None:
                    listed = row[-1]
                    values[""] = json.loads(listed) if isinstance(listed, str | bytes) else listed
                yield values

    def _statement(self, layout: Layout, names: Sequence[str]) -> Select[Any]:
        types = self._columns(layout.table, layout.schema) or {}
        users = table(layout.table, *map(column, names), schema=layout.schema).alias("users")
        chosen: list[ColumnElement[Any]] = []
        for number, name in enumerate(names):
            found: ColumnElement[Any] = users.c[name]
            # Threat: an infinite time, or one of the year 10,000, would end the stream in the driver.
            if self._backend == "postgresql" and isinstance(types[name], DateTime | Date | Time | Interval):
                found = cast(found, Text)
            chosen.append(found.label(f"column_{number}"))
        if layout.groups is not None:
            chosen.append(self._group_names(layout.groups, layout.schema, users.c[layout.id]).label("groups"))
        # Of two with one address the same comes first every time.
        return select(*chosen).select_from(users).order_by(users.c[layout.id])

    def _group_names(self, groups: Groups, schema: str | None, user: ColumnElement[Any]) -> ColumnElement[Any]:
        link = table(groups.link, column(groups.link_user), column(groups.link_group), schema=schema).alias("links")
        named = table(groups.table, column(groups.key), column(groups.name), schema=schema).alias("named")
        listed = getattr(func, _LISTS[self._backend])(named.c[groups.name])
        return (
            select(listed)
            .select_from(link.join(named, link.c[groups.link_group] == named.c[groups.key]))
            .where(link.c[groups.link_user] == user)
            .scalar_subquery()
        )

    def _fit_groups(self, groups: Groups, schema: str | None) -> Groups | None:
        links, named = self._columns(groups.link, schema), self._columns(groups.table, schema)
        if links is None or named is None:
            return None
        others = [name for name in links if name not in {"id", groups.link_group}]
        user = groups.link_user or (others[0] if len(others) == 1 else "")
        if user not in links or groups.link_group not in links or not {groups.key, groups.name} <= named.keys():
            return None
        return replace(groups, link_user=user)

    def _columns(self, name: str, schema: str | None) -> dict[str, Any] | None:
        with warnings.catch_warnings():
            # A type that SQLAlchemy does not know is read all the same.
            warnings.simplefilter("ignore", SAWarning)
            try:
                return {found["name"]: found["type"] for found in self._inspector.get_columns(name, schema)}
            except NoSuchTableError:
                return None

    def _primary_key(self, layout: Layout) -> str | None:
        """Find the primary key of a table, if that is one column; a view has none."""
        columns = self._inspector.get_pk_constraint(layout.table, layout.schema)["constrained_columns"]
        return columns[0] if len(columns) == 1 else None

    def _no_table(self, layout: Layout, framework: Framework) -> str:
        alike = [
            name
            for name in self._inspector.get_table_names(layout.schema)
            if framework.needed <= (self._columns(name, layout.schema) or {}).keys()
        ]
        advice = (
            f"Name the table of users by --table: {_listed(alike)} {'looks' if len(alike) == 1 else 'look'} like it."
            if alike
            else f"No table looks like users of {framework.name} either; is it another database, or another --schema?"
        )
        return f"The database has no table {layout.table}. {advice}"


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))


# ----- connecting -----------------------------------------------------------------------------------------------------


def _url(address: str) -> URL:
    try:
        url = make_url(address)
        driver = _DRIVERS.get(url.get_backend_name())
    except (SQLAlchemyError, ValueError):
        raise Failure(
            f"The address of the database is no URL such as {_FORMS}; other signs than letters and digits in a "
            "password are written %XX.",
            code=Code.USAGE,
        ) from None
    if driver is None:
        raise Failure(f"Databases are read at {_FORMS}.", code=Code.USAGE)
    return url.set(drivername=driver)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        return create_engine(url, creator=lambda: _open_sqlite(url.database or ""))
    timeout = {} if "connect_timeout" in url.query else {"connect_timeout": _SECONDS_TO_CONNECT}
    if url.get_backend_name() == "postgresql":
        return create_engine(
            url,
            connect_args={**timeout, "client_encoding": "utf8"},
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
        )
    charset = {} if "charset" in url.query else {"charset": "utf8mb4"}
    engine = create_engine(url, connect_args={**timeout, **charset})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # The server may have to wait for Watchword, longer than the usual minute.
            cursor.execute("SET SESSION time_zone = '+00:00', net_write_timeout = 3600")

    return engine


def _open_sqlite(path: str) -> sqlite3.Connection:
    if not Path(path).is_file():
        raise Failure(f"There is no file {path or '(no path)'}: a path is written sqlite:///folder/file, and "
                      "sqlite:////folder/file from the root.", code=Code.NOT_FOUND)  # fmt: skip
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=_SECONDS_TO_CONNECT)
    # What is not UTF-8 must spoil one row and not the import.
    connection.text_factory = lambda content: content.decode("utf-8", "surrogateescape")
    return connection


@contextmanager
def _telling(url: URL, *, code: Code = Code.FAILED) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        # A statement is not shown, nor the values beside it.
        said = str(getattr(error, "orig", None) or type(error).__name__).strip().partition("\n")[0]
        if any(secret in said for secret in _secrets(url)):
            said = "why is not shown, for it names the password"
        doing = "be reached" if code is Code.UNREACHABLE else "be read"
        shown = url.set(query={}).render_as_string(hide_password=True)
        raise Failure(f"The database {shown} cannot {doing}: {said}.", code=code) from None


def _secrets(url: URL) -> Iterator[str]:
    for name, values in url.normalized_query.items():
        if "pass" in name:
            yield from filter(None, values)
    if url.password:
        yield str(url.password)
