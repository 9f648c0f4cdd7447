"""The PostgreSQL that Watchword brings along."""

import os
import pwd
import select
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from watchword.server.storage.embedded import EmbeddedPostgres, EmbeddedPostgresError

ROOT = os.geteuid() == 0

# Another process that uses the folder: says which server it found, and leaves when its stdin ends.
OTHER = """
import sys
from pathlib import Path
from watchword.server.storage.embedded import EmbeddedPostgres
with EmbeddedPostgres.start(Path(sys.argv[1]), durable=False) as postgres:
    print(postgres.postmaster_pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own: each run of pytest by root closes that to the account of PostgreSQL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def _alive(pid: int) -> bool:
    return not _ends(pid, within=0)


def _ends(pid: int, *, within: float = 10) -> bool:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(process) as end:
        return bool(select.select([end], [], [], within)[0])


def _ask(postgres: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(postgres.url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def _socket_folder(postgres: EmbeddedPostgres) -> Path:
    return Path(parse_qs(urlsplit(postgres.url).query)["host"][0])


@contextmanager
def _other_process(folder: Path, **options) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        yield process, int(process.stdout.readline())


def test_it_makes_the_database_and_keeps_it(tmp_path):
    with EmbeddedPostgres.start(tmp_path / "a" / "postgres", durable=False) as postgres:
        with psycopg.connect(postgres.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
        assert _ask(postgres, "SELECT current_database()") == "watchword"
        assert _ask(postgres, "SELECT current_setting('max_connections')") == "100"
        assert _ask(postgres, "SELECT current_setting('listen_addresses')") == ""
        pid = postgres.postmaster_pid
    assert _ends(pid)
    with EmbeddedPostgres.start(tmp_path / "a" / "postgres", durable=False) as postgres:
        assert _ask(postgres, "SELECT value FROM kept") == 42


@pytest.mark.parametrize(("durable", "expected"), [(True, "on"), (False, "off")])
def test_durability(tmp_path, durable, expected):
    with EmbeddedPostgres.start(tmp_path, durable=durable) as postgres:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert _ask(postgres, f"SELECT current_setting('{setting}')") == expected


def test_it_is_silent_and_leaves_nothing_in_the_working_folder(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", OTHER, str(tmp_path / "postgres")],
        check=True,
        cwd=here,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"},
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert list(here.iterdir()) == []


def test_the_environment_does_not_reach_postgres(tmp_path, monkeypatch):
    monkeypatch.setenv("PGPORT", "7777")
    monkeypatch.setenv("PGDATA", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("WATCHWORD_MASTER_KEY", "a secret")
    with EmbeddedPostgres.start(tmp_path / "postgres", durable=False) as postgres:
        assert _ask(postgres, "SELECT 1") == 1
        assert "a secret" not in Path(f"/proc/{postgres.postmaster_pid}/environ").read_text()


def test_the_last_user_stops_it(tmp_path):
    with _other_process(tmp_path) as (other, pid):
        with EmbeddedPostgres.start(tmp_path) as postgres:
            assert postgres.postmaster_pid == pid
            other.communicate()
            assert other.returncode == 0
            assert _ask(postgres, "SELECT 1") == 1
        assert _ends(pid)


def test_the_first_user_may_leave_while_others_stay(tmp_path):
    with EmbeddedPostgres.start(tmp_path, durable=False) as first:
        second = EmbeddedPostgres.start(tmp_path)
        first.stop()
        assert _ask(second, "SELECT 1") == 1
        pid = second.postmaster_pid
        second.stop()
        second.stop()
        assert _ends(pid)
    with pytest.raises(EmbeddedPostgresError, match="does not run"):
        _ = second.url


def test_a_killed_user_is_forgotten(tmp_path):
    with _other_process(tmp_path) as (other, pid):
        other.kill()
        other.wait()
        assert _alive(pid)
        with EmbeddedPostgres.start(tmp_path) as postgres:
            assert postgres.postmaster_pid == pid
        assert _ends(pid)


def test_a_killed_postgres_comes_back_with_all_that_was_committed(tmp_path):
    with EmbeddedPostgres.start(tmp_path) as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (value int)")
            for value in range(20):
                connection.execute("INSERT INTO kept VALUES (%s)", [value])
            killed = postgres.postmaster_pid
            # A session is open: its process must have gone before the next server may start.
            os.kill(killed, signal.SIGKILL)
            postgres.restart()
        assert postgres.postmaster_pid != killed
        assert _ask(postgres, "SELECT count(*) FROM kept") == 20


def test_processes_that_outlive_a_killed_postgres_are_waited_for(tmp_path):
    with EmbeddedPostgres.start(tmp_path, durable=False) as postgres, psycopg.connect(postgres.url) as connection:
        straggler = connection.info.backend_pid
        log = tmp_path / "data" / "log"
        before = log.stat().st_size
        os.kill(straggler, signal.SIGSTOP)
        killed = postgres.postmaster_pid
        os.kill(killed, signal.SIGKILL)
        assert _ends(killed)
        restart = threading.Thread(target=postgres.restart)
        restart.start()
        while b"pre-existing shared memory block" not in log.read_bytes()[before:] and restart.is_alive():
            restart.join(0.01)
        os.kill(straggler, signal.SIGCONT)
        restart.join()
        assert _ask(postgres, "SELECT 1") == 1


def test_stop_after_postgres_was_killed(tmp_path):
    postgres = EmbeddedPostgres.start(tmp_path, durable=False)
    os.kill(postgres.postmaster_pid, signal.SIGKILL)
    postgres.stop()
    with EmbeddedPostgres.start(tmp_path, durable=False) as again:
        assert _ask(again, "SELECT 1") == 1


def test_restart_serves_those_who_share_the_folder(tmp_path):
    with EmbeddedPostgres.start(tmp_path, durable=False) as one, EmbeddedPostgres.start(tmp_path) as two:
        before = one.postmaster_pid
        two.restart()
        assert one.postmaster_pid == two.postmaster_pid != before
        assert _ask(one, "SELECT 1") == 1


def test_a_process_id_that_belongs_to_somebody_else_by_now(tmp_path):
    postgres = EmbeddedPostgres.start(tmp_path, durable=False)
    locks = [tmp_path / "data" / name for name in ("postmaster.pid", ".s.PGSQL.5432.lock")]
    killed = postgres.postmaster_pid
    os.kill(killed, signal.SIGKILL)
    assert _ends(killed)
    postgres.stop()
    owner = tmp_path.joinpath("data").stat().st_uid if ROOT else None
    with subprocess.Popen(["sleep", "60"], user=owner) as somebody:
        for lock in locks:
            lock.write_text("\n".join([str(somebody.pid), *lock.read_text().splitlines()[1:]]))
        with EmbeddedPostgres.start(tmp_path, durable=False) as again:
            assert _ask(again, "SELECT 1") == 1
        assert somebody.poll() is None
        somebody.kill()


@pytest.mark.parametrize("name", ["x" * 120, "with space, $HOME `id` \"and\" 'quotes'"], ids=["long", "odd"])
def test_paths_that_no_socket_can_have(tmp_path, name):
    with EmbeddedPostgres.start(tmp_path / name, durable=False) as postgres:
        socket_folder = _socket_folder(postgres)
        assert tmp_path not in socket_folder.parents
        # Nobody but the database's own account may knock: there is no password.
        assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
        assert _ask(postgres, "SELECT 1") == 1
        postgres.restart()
        assert _ask(postgres, "SELECT 1") == 1
    assert not socket_folder.exists()


def test_somebody_elses_socket_folder_is_refused(tmp_path):
    folder = tmp_path / ("x" * 120)
    with EmbeddedPostgres.start(folder, durable=False) as postgres:
        socket_folder = _socket_folder(postgres)
    socket_folder.mkdir()
    socket_folder.chmod(0o777)
    try:
        with pytest.raises(EmbeddedPostgresError, match="somebody else"):
            EmbeddedPostgres.start(folder, durable=False)
    finally:
        socket_folder.rmdir()


def test_a_first_start_that_was_killed_is_begun_anew(tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "PG_VERSION").write_text("18")
    with EmbeddedPostgres.start(tmp_path, durable=False) as postgres:
        assert _ask(postgres, "SELECT 1") == 1


def test_data_of_another_version_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 17, this Watchword brings PostgreSQL 18"):
        EmbeddedPostgres.start(tmp_path)


def test_a_start_that_fails_says_what_postgres_said(tmp_path):
    EmbeddedPostgres.start(tmp_path, durable=False).stop()
    with (tmp_path / "data" / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres.start(tmp_path)


def test_a_folder_that_cannot_be_is_an_error_to_act_on(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match="file"):
        EmbeddedPostgres.start(tmp_path / "file" / "postgres")


def test_values_in_failing_statements_are_not_logged(tmp_path):
    with EmbeddedPostgres.start(tmp_path, durable=False) as postgres, suppress(psycopg.DataError):
        _ask(postgres, "SELECT 'ana@example.com'::int")
    assert "ana" not in (tmp_path / "data" / "log").read_text()


@pytest.mark.skipif(not ROOT, reason="only root has to share folders with another account")
def test_as_root_nothing_but_search_is_opened(tmp_path):
    data_dir = tmp_path / "home" / ".watchword"
    data_dir.mkdir(parents=True)
    (tmp_path / "home").chmod(0o700)
    data_dir.chmod(0o700)
    secret = data_dir / "master.key"
    secret.touch(mode=0o600)
    with EmbeddedPostgres.start(data_dir / "postgres", durable=False):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [secret, data_dir, data_dir.parent]}
        assert modes == {"master.key": 0o600, ".watchword": 0o701, "home": 0o701}
        assert stat.S_IMODE((data_dir / "postgres" / "data").stat().st_mode) == 0o700


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_as_an_ordinary_user(tmp_path):
    nobody = pwd.getpwnam("nobody")
    folder = tmp_path / "nobody"
    tmp_path.chmod(0o711)
    folder.mkdir()
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)

    def start_and_stop():
        with EmbeddedPostgres.start(folder / "postgres", durable=False) as postgres:
            assert _ask(postgres, "SELECT 1") == 1
            assert Path(f"/proc/{postgres.postmaster_pid}").stat().st_uid == nobody.pw_uid

    _become(nobody, start_and_stop)
    # Root takes over what belongs to somebody else without changing its owner.
    start_and_stop()
    _become(nobody, start_and_stop)


@pytest.mark.skipif(not ROOT, reason="needs root to become somebody else")
def test_somebody_elses_data_are_refused(tmp_path):
    EmbeddedPostgres.start(tmp_path, durable=False).stop()

    def refused():
        with pytest.raises(EmbeddedPostgresError, match="must belong to the user who runs Watchword"):
            EmbeddedPostgres.start(tmp_path)

    _become(pwd.getpwnam("nobody"), refused)


def _become(account: pwd.struct_passwd, work: Callable[[], None]) -> None:
    """Do some work as another account, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            work()
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
