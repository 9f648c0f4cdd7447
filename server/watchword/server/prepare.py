"""What must be there before a server can start: a data folder, the master key, a database that answers.

With no database configured everything is made at the first start, in one folder; with one, nothing is: the keys of a
deployment of several servers must come from where all of them find the same.
"""

import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from watchword.server.config import Config, ConfigError
from watchword.server.identifiers import Randomness
from watchword.server.sealing import Keyring, KeyringError
from watchword.server.storage.embedded import EmbeddedPostgres


class PreparationError(Exception):
    """Something is missing that only the operator can provide; the text says what and how."""


@dataclass(frozen=True, slots=True, repr=False)
class Prepared:
    """What a server is started with."""

    database_url: str
    keyring: Keyring


@contextmanager
def prepare(config: Config, *, randomness: Randomness = secrets.token_bytes) -> Iterator[Prepared]:
    """Get the master key and the database ready, for as long as the context lasts.

    The embedded database is started, or shared with a server that runs on the same folder. The schema is not looked
    at, and a configured database is not asked anything.

    Raises:
        ConfigError: the database's URL is none.
        PreparationError: the master key is missing or unreadable, or the data folder cannot be made.
        EmbeddedPostgresError: the embedded database does not start.

    """
    if config.database_url is not None:
        url = config.database_url.reveal()
        _refuse_malformed(url)
        yield Prepared(url, load_keyring(config, randomness=randomness))
        return
    try:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PreparationError(
            f"The data folder {config.data_dir} cannot be made: {error.strerror}. Set WATCHWORD_DATA_DIR to a folder "
            "that may be written."
        ) from None
    # The key comes first: a database whose key was never written would be lost.
    keyring = load_keyring(config, randomness=randomness)
    with EmbeddedPostgres.start(_database_folder(config)) as postgres:
        yield Prepared(postgres.url, keyring)


def load_keyring(config: Config, *, randomness: Randomness = secrets.token_bytes) -> Keyring:
    """Read the master keys; with the embedded database, make one at the first start.

    Raises:
        PreparationError: there is none, or it is not what it should be.

    """
    if config.master_key is not None:
        return _parse(config.master_key.reveal(), "WATCHWORD_MASTER_KEY", randomness)
    if config.master_key_file is not None:
        return _parse(
            _read(config.master_key_file, "WATCHWORD_MASTER_KEY_FILE"), str(config.master_key_file), randomness
        )
    if config.database_url is not None:
        raise PreparationError(
            "With WATCHWORD_DATABASE_URL a master key is needed, which seals secrets in that database: make one with "
            "`watchword generate-master-key`, keep it where only servers and backups reach it, and set "
            "WATCHWORD_MASTER_KEY_FILE or WATCHWORD_MASTER_KEY."
        )
    file = config.data_dir / "master.key"
    if not file.exists():
        if (_database_folder(config) / "data").exists():
            # A new key would open nothing of what this database has sealed, and would hide that until it is too late.
            raise PreparationError(
                f"{file} is missing, without which the database beside it cannot be read. Restore it from a backup, "
                f"or give up the data: delete {config.data_dir}."
            )
        with suppress(FileExistsError):
            write_secret(file, Keyring.generate(randomness), replace=False)
    return _parse(_read(file, "the data folder"), str(file), randomness)


def write_secret(file: Path, text: str, *, replace: bool) -> None:
    """Write a file that only its owner can read, whole or not at all, to the disk.

    Raises:
        FileExistsError: it exists and is not to be replaced.
        OSError: it cannot be written.

    """
    # mkstemp makes it 0600, so that at no moment anybody else could have opened it.
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w") as temporary:
            temporary.write(text + "\n")
            temporary.flush()
            os.fsync(temporary.fileno())
        if replace:
            Path(name).replace(file)
        else:
            file.hardlink_to(name)
    finally:
        Path(name).unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _database_folder(config: Config) -> Path:
    return config.data_dir / "postgres"


def _refuse_malformed(url: str) -> None:
    """Refuse a URL that libpq would take apart in the wrong places.

    Threat: a password with a "/" or "@" that was not escaped. Its rest is taken for a host or port, and the error of
    the connection shows it.
    """
    try:
        parts = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {"host": "@"}
    if "@" in str(parts.get("host", "")) or not re.fullmatch(r"[0-9,]*", str(parts.get("port", ""))):
        raise ConfigError(
            "WATCHWORD_DATABASE_URL is not what it should be: postgresql://user:password@host:5432/database, with "
            "special characters in the password written as %XX."
        )


def _read(file: Path, setting: str) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise PreparationError(f"The master keys in {file} ({setting}) cannot be read: {reason}.") from None


def _parse(text: str, source: str, randomness: Randomness) -> Keyring:
    try:
        return Keyring.parse(text, randomness=randomness)
    except KeyringError as error:
        raise PreparationError(f"{source}: {error} `watchword generate-master-key` makes a good one.") from None
