"""Finds out what keeps a server from serving, or soon will, and says what to do about it.

It looks, and makes nothing: no data folder, no key, no schema. An embedded database that exists and does not run is
started for the time that it takes. What is told holds no secret and nothing personal.
"""

import shutil
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509

from watchword.server import config as settings
from watchword.server.config import Config, ConfigError, Tls
from watchword.server.prepare import PreparationError, prepare
from watchword.server.storage.embedded import EmbeddedPostgresError

_SOON: Final = timedelta(days=21)
_LITTLE_BYTES: Final = 2 * 1024**3
_TOO_LITTLE_BYTES: Final = 256 * 1024**2
_MEBIBYTE: Final = 1024**2


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, but should not stay so."""
    PROBLEM = "problem"
    """A server does not start, or does not do what it should."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to."""

    check: str
    level: Level
    text: str
    advice: str = ""
    """What to do."""


def examine(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check everything, one thing after the other, for a server with this environment."""
    try:
        config = settings.load(environment)
    except ConfigError as error:
        yield Finding("settings", Level.PROBLEM, str(error), "Correct it: `watchword settings` lists all settings.")
        return
    yield Finding("settings", Level.OK, f"The settings make sense; it serves on {config.listen}.")
    yield from _tls(config)
    embedded = config.database_url is None
    if embedded and not (config.data_dir / "postgres" / "data").exists():
        text = f"There is no database yet in {config.data_dir}."
        yield Finding("database", Level.OK, text, "`watchword serve` makes it; or set WATCHWORD_DATABASE_URL.")
        return
    if embedded:
        yield from _disk(config.data_dir)
    yield from _key_file(config)
    yield from _database(config)


def _database(config: Config) -> Iterator[Finding]:
    from watchword.server.checkup_database import examine_database  # noqa: PLC0415 - it needs what is defined here

    try:
        with prepare(config) as prepared:
            yield from examine_database(config, prepared)
    except ConfigError as error:
        yield Finding("database", Level.PROBLEM, str(error), "Correct WATCHWORD_DATABASE_URL.")
    except PreparationError as error:
        advice = "Until the master key is there nothing else can be checked."
        yield Finding("master key", Level.PROBLEM, str(error), advice)
    except EmbeddedPostgresError as error:
        yield Finding("database", Level.PROBLEM, str(error), "See its log, the file `log` beside its data.")


def _tls(config: Config) -> Iterator[Finding]:
    if config.tls is None:
        if config.insecure:
            text = f"API keys and tokens cross the network in clear (WATCHWORD_INSECURE), to {config.listen}."
            advice = "Set WATCHWORD_TLS_CERT_FILE and WATCHWORD_TLS_KEY_FILE, unless the network itself encrypts."
            yield Finding("tls", Level.WARNING, text, advice)
        else:
            yield Finding("tls", Level.OK, "There is none, and only this machine is served.")
        return
    yield from _pair(config.tls)
    if config.tls.client_ca_file is not None:
        yield from _certificates(config.tls.client_ca_file, "The authority of callers' certificates")


def _pair(tls: Tls) -> Iterator[Finding]:
    try:
        # Threat: a password for a protected key, asked for on the terminal. Servers take no such keys.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate_file, tls.key_file, lambda: "")
    except ssl.SSLError:
        text = f"{tls.certificate_file} and {tls.key_file} are no certificate and its private key in PEM."
        yield Finding("tls", Level.PROBLEM, text, "Set both to files that belong together; the key has no password.")
    except OSError as error:
        text = f"{tls.certificate_file} or {tls.key_file} cannot be read: {error.strerror}."
        yield Finding("tls", Level.PROBLEM, text, "Let the account that runs the server read both.")
    else:
        yield from _certificates(tls.certificate_file, "The certificate")


def _certificates(file: Path, what: str) -> Iterator[Finding]:
    """Check that certificates are valid now and for some time: of a chain the one that ends first."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        text = f"{file} cannot be read: {error.strerror}."
        yield Finding("tls", Level.PROBLEM, text, "Let the account that runs the server read it.")
        return
    except ValueError:
        yield Finding("tls", Level.PROBLEM, f"{file} holds no certificates in PEM.", "Set it to a file that does.")
        return
    now = datetime.now(UTC)
    begin, end = max(each.not_valid_before_utc for each in found), min(each.not_valid_after_utc for each in found)
    told = f"{what} in {file}"
    if end <= now:
        yield Finding("tls", Level.PROBLEM, f"{told} ended on {end:%Y-%m-%d}.", "Renew it, and restart the servers.")
    elif begin > now:
        text = f"{told} is not valid before {begin:%Y-%m-%d %H:%M} UTC."
        yield Finding("tls", Level.PROBLEM, text, "Use the one from before until then, or correct this clock.")
    elif end - now < _SOON:
        text = f"{told} ends on {end:%Y-%m-%d}, in {(end - now).days} days."
        yield Finding("tls", Level.WARNING, text, "Renew it, and restart the servers (SIGHUP, if there are workers).")
    else:
        yield Finding("tls", Level.OK, f"{told} is valid until {end:%Y-%m-%d}.")


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    text = f"{free // _MEBIBYTE:,} MiB are free for {folder}."
    advice = "Make room, or move the data folder (WATCHWORD_DATA_DIR): without room PostgreSQL stops."
    if free < _TOO_LITTLE_BYTES:
        yield Finding("disk", Level.PROBLEM, text, advice)
    elif free < _LITTLE_BYTES:
        yield Finding("disk", Level.WARNING, text, advice)
    else:
        yield Finding("disk", Level.OK, text)


def _key_file(config: Config) -> Iterator[Finding]:
    """Warn of a key that anybody on this machine can read. In a container the file may have to be so."""
    file = config.master_key_file
    if file is None and config.master_key is None:
        file = config.data_dir / "master.key"
    if file is None:
        return
    try:
        mode = file.stat().st_mode
    except OSError:
        return  # what reads it says why it cannot
    if mode & 0o007:
        text = f"Every account on this machine can read the master keys in {file}."
        yield Finding("master key", Level.WARNING, text, f"chmod o= {file}, unless only the server is there.")
