"""The schema's version: getting there, and refusing what does not fit. On every PostgreSQL of this machine."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from watchword.server.storage import schema, tables
from watchword.server.storage.embedded import EmbeddedPostgres

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def _installed(programs: Path, folder: Path) -> Iterator[str]:
    """A PostgreSQL of the machine's own, in a folder for the purpose."""
    user = "postgres" if os.geteuid() == 0 else None
    data = folder / "data"
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
        for parent in data.parents:
            parent.chmod(stat.S_IMODE(parent.stat().st_mode) | stat.S_IXOTH)

    def run(program: str, *arguments: str) -> None:
        command = [programs / program, "-D", data, *arguments]
        account = {} if user is None else {"user": user, "group": user, "extra_groups": []}
        subprocess.run(command, check=True, cwd=data, stdout=subprocess.DEVNULL, **account)

    run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
    settings = f"-c listen_addresses= -c fsync=off -k {data}"
    run("pg_ctl", "start", "-w", "-s", "-l", "log", "-o", settings)
    try:
        yield f"postgresql://postgres@/postgres?host={data}"
    finally:
        run("pg_ctl", "stop", "-w", "-s", "-m", "fast")


@pytest.fixture(scope="module", params=["embedded", *(path.parent.name for path in INSTALLED)])
def postgres(request) -> Iterator[str]:
    with ExitStack() as stack:
        # Outside pytest's own folder: each run of pytest by root closes that to the account of PostgreSQL.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if request.param == "embedded":
            yield stack.enter_context(EmbeddedPostgres.start(folder, durable=False)).url
        else:
            yield stack.enter_context(_installed(Path("/usr/lib/postgresql") / request.param / "bin", folder))


@pytest.fixture
def url(postgres, request) -> str:
    """A new, empty database."""
    name = f"d{abs(hash(request.node.nodeid))}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres.replace("@/postgres?", f"@/{name}?").replace("@/watchword?", f"@/{name}?")


def _run(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_the_migrated_schema_is_that_of_tables_py(url, postgres):
    """As PostgreSQL itself describes the two, down to the texts of checks and the classes of operators.

    Alembic's own comparison sees less: no checks, no identity columns, no conditions of partial indexes.
    """
    schema.migrate(url)
    other = url.replace("@/", "@/other_")
    name = other.partition("@/")[2].partition("?")[0]
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(other))
    tables.metadata.create_all(engine)
    engine.dispose()
    described = """
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('c', 'f', 'p')
          AND connamespace = 'public'::regnamespace AND conname NOT LIKE 'alembic%'
        UNION ALL SELECT indexname, indexdef FROM pg_indexes
          WHERE schemaname = 'public' AND tablename <> 'alembic_version'
        UNION ALL SELECT table_name || '.' || column_name, concat_ws(' ', udt_name, is_nullable, is_identity,
          identity_generation, column_default, ordinal_position) FROM information_schema.columns
          WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        ORDER BY 1, 2"""
    assert _run(url, described) == _run(other, described)


def test_migrate_tells_what_it_did_and_does_it_once(url):
    told: list[str] = []
    applied = schema.migrate(url, progress=told.append, randomness=lambda count: bytes(range(count)))
    assert applied == schema._known()
    assert [line[:5] for line in told] == [f"{revision}:" for revision in applied]
    assert _run(url, "SELECT epoch, bootstrap_time FROM deployment") == [("0001020304050607", None)]
    assert schema.migrate(url) == []
    schema.check(url)
    assert _run(url, "SELECT epoch FROM deployment") == [("0001020304050607",)]


def test_each_database_has_an_epoch_of_its_own(url):
    epochs = set()
    for _ in range(2):
        _run(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        schema.migrate(url)
        ((epoch,),) = _run(url, "SELECT epoch FROM deployment")
        assert len(epoch) == 16
        epochs.add(epoch)
    assert len(epochs) == 2


def test_a_schema_that_is_missing_behind_or_ahead_is_refused(url):
    with pytest.raises(schema.SchemaMissing, match="`watchword migrate`"):
        schema.check(url)
    schema.migrate(url)
    _run(url, "UPDATE alembic_version SET version_num = '9999'")
    for refuse in (schema.check, schema.migrate):
        with pytest.raises(schema.SchemaAhead, match="Install that version"):
            refuse(url)


def test_a_schema_behind_is_refused_and_mended(url, tmp_path, monkeypatch):
    schema.migrate(url)
    migrations = tmp_path / "migrations"
    shutil.copytree(schema._MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    newest = schema._known()[-1]
    newer = f"{int(newest) + 1:04}"
    next_one = (migrations / "script.py.mako").read_text()
    for old, new in {
        "${message}": "Next",
        "${repr(up_revision)}": repr(newer),
        "${repr(down_revision)}": repr(newest),
        '${upgrades if upgrades else "pass"}': "op.execute(sa.text('CREATE TABLE next ()'))",
    }.items():
        next_one = next_one.replace(old, new)
    (migrations / "versions" / f"{newer}_next.py").write_text(next_one)
    monkeypatch.setattr(schema, "_MIGRATIONS", migrations)
    with pytest.raises(schema.SchemaBehind, match=rf"at {newest}, this Watchword needs {newer}.*`watchword migrate`"):
        schema.check(url)
    told: list[str] = []
    assert schema.migrate(url, progress=told.append) == [newer]
    assert told == [f"{newer}: Next."]
    schema.check(url)


def test_migrators_at_the_same_time_take_turns(url):
    results: list[list[str]] = []
    at_once = threading.Barrier(4)

    def migrate() -> None:
        at_once.wait()
        results.append(schema.migrate(url))

    _together([migrate] * 4)
    assert sorted(results) == [[], [], [], schema._known()]
    assert _run(url, "SELECT count(*) FROM deployment") == [(1,)]
    assert _run(url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


def test_a_migration_does_not_wait_long_for_a_table(url, monkeypatch):
    schema.migrate(url)
    _run(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE alembic_version (version_num text)")
    monkeypatch.setattr(schema, "_LOCK_TIMEOUT", "50ms")
    with psycopg.connect(url) as busy:
        busy.execute("LOCK alembic_version IN SHARE MODE")
        with pytest.raises(schema.MigrationError, match="run `watchword migrate` again"):
            schema.migrate(url)
    assert schema.migrate(url) == schema._known()


def test_a_server_on_a_good_schema_does_not_load_alembic(url):
    schema.migrate(url)
    program = (
        "import sys; from watchword.server.storage import schema; "
        "schema.check(sys.argv[1]); schema.migrate(sys.argv[1]); "
        "sys.exit('alembic' in sys.modules or 'sqlalchemy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, url], check=True)


def test_a_first_migration_takes_no_time_to_speak_of(url):
    start = time.perf_counter()
    schema.migrate(url)
    assert time.perf_counter() - start < 2  # 0.2 s when nothing else runs


def _together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
