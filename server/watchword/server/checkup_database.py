"""The part of a check-up that asks the database."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from watchword.server.checkup import Finding, Level
from watchword.server.config import Config
from watchword.server.prepare import Prepared
from watchword.server.sealing import Keyring, SealBroken, UnknownMasterKey
from watchword.server.storage import schema
from watchword.server.tokens import SKEW

_CONNECT_SECONDS: Final = 5
_OLDEST, _NEWEST = 140_000, 189_999
_SOME: Final = 100
_LONG: Final = timedelta(minutes=1)
_CLOCK_WARNING: Final = timedelta(seconds=2)
_LISTENING: Final = 1

_Connection = psycopg.Connection[Any]


def examine_database(config: Config, prepared: Prepared) -> Iterator[Finding]:
    """Check a database, and whether a server with these settings gets on with it."""
    try:
        connection = psycopg.connect(
            prepared.database_url,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            options="-c statement_timeout=10s -c timezone=UTC",
        )
    except psycopg.OperationalError as error:
        advice = "Is it running, and is WATCHWORD_DATABASE_URL right?"
        yield Finding("database", Level.PROBLEM, f"It does not answer: {_first_line(error)}", advice)
        return
    with connection:
        yield from _asked("database", lambda: _version(connection))
        yield from _asked("durability", lambda: _durability(connection))
        yield from _asked("clock", lambda: _clock(connection))
        yield from _asked("connections", lambda: _connections(connection, config))
        yield from _asked("transactions", lambda: _transactions(connection))
        try:
            schema.check(prepared.database_url)
        except schema.SchemaError as error:
            advice = "Nothing of what is in it can be checked until then."
            yield Finding("schema", Level.PROBLEM, str(error), advice)
            return
        yield Finding("schema", Level.OK, "It is that of this Watchword.")
        yield from _asked("signing keys", lambda: _signing_keys(connection, prepared.keyring))
        yield from _asked("master key", lambda: _sealed(connection, prepared.keyring))


def _asked(check: str, find: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Go on with the next check whatever PostgreSQL says to this one."""
    try:
        yield from find()
    except psycopg.Error as error:
        advice = "May the role of WATCHWORD_DATABASE_URL ask for it?"
        yield Finding(check, Level.PROBLEM, f"It could not be checked: {type(error).__name__}.", advice)


def _version(connection: _Connection) -> Iterator[Finding]:
    version = connection.info.server_version
    told = f"PostgreSQL {version // 10_000}.{version % 10_000}"
    ((standby,),) = connection.execute("SELECT pg_is_in_recovery()").fetchall()
    if standby:
        text = f"{told} answers, but it is a standby, which takes no writes."
        yield Finding("database", Level.PROBLEM, text, "Let WATCHWORD_DATABASE_URL lead to the primary.")
    elif version < _OLDEST:
        yield Finding("database", Level.PROBLEM, f"{told} is too old.", "Upgrade it to 14 to 18.")
    elif version > _NEWEST:
        text = f"{told} is newer than what this Watchword was tested with, which is 14 to 18."
        yield Finding("database", Level.WARNING, text, "Look for a newer Watchword.")
    else:
        yield Finding("database", Level.OK, f"{told} answers.")


def _durability(connection: _Connection) -> Iterator[Finding]:
    names = ("fsync", "full_page_writes", "synchronous_commit")
    off = [name for name in names if connection.execute("SELECT current_setting(%s)", [name]).fetchone() == ("off",)]
    if off:
        text = f"PostgreSQL runs with {', '.join(off)} off: after a crash a revocation may be undone, or all be lost."
        yield Finding("durability", Level.WARNING, text, "Turn it on, unless this database is for tests.")
    else:
        yield Finding("durability", Level.OK, "What is committed stays.")


def _clock(connection: _Connection) -> Iterator[Finding]:
    """Compare two clocks; they cannot be compared better than a round trip takes."""
    before = datetime.now(UTC)
    ((there,),) = connection.execute("SELECT clock_timestamp()").fetchall()
    after = datetime.now(UTC)
    apart = max(before - there, there - after, timedelta())
    text = f"This clock and the database's are {apart.total_seconds():.1f} s apart."
    advice = "Synchronize both (NTP). Servers whose clocks differ refuse each other's tokens."
    if apart > SKEW:
        yield Finding("clock", Level.PROBLEM, text, advice)
    elif apart > _CLOCK_WARNING:
        yield Finding("clock", Level.WARNING, text, advice)
    else:
        yield Finding("clock", Level.OK, text)


def _connections(connection: _Connection, config: Config) -> Iterator[Finding]:
    per_worker = config.pool_size - config.pool_size // 2 + max(2, config.pool_size // 2) + _LISTENING
    needed = per_worker * config.workers
    # On SIGHUP a new worker starts before an old one ends.
    at_most = needed + (per_worker if config.workers > 1 else 0)
    ((limit, others),) = connection.execute(
        "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true)::int, 0),"
        " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())"
    ).fetchall()
    ((of_role, of_database),) = connection.execute(
        "SELECT (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
        " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())"
    ).fetchall()
    limit = min([limit, *(each for each in (of_role, of_database) if each >= 0)])
    text = (
        f"A server with these settings (WATCHWORD_WORKERS {config.workers}, WATCHWORD_POOL_SIZE {config.pool_size}) "
        f"takes up to {at_most} connections; PostgreSQL allows {limit}, {others} are in use now."
    )
    advice = "Lower WATCHWORD_POOL_SIZE or WATCHWORD_WORKERS, or raise max_connections of PostgreSQL."
    if at_most > limit:
        yield Finding("connections", Level.PROBLEM, text, advice)
    elif 2 * at_most > limit:
        yield Finding("connections", Level.WARNING, text, f"A second server would not fit. {advice}")
    else:
        yield Finding("connections", Level.OK, text)


def _transactions(connection: _Connection) -> Iterator[Finding]:
    """Look for what holds back the horizon: changes reach callers all the same, but answers are not kept."""
    ((age,),) = connection.execute(
        "SELECT coalesce(max(age), interval '0') FROM ("
        " SELECT clock_timestamp() - xact_start AS age FROM pg_stat_activity"
        " WHERE backend_xid IS NOT NULL AND datname = current_database()"
        " UNION ALL SELECT clock_timestamp() - prepared FROM pg_prepared_xacts WHERE database = current_database()) t"
    ).fetchall()
    if age > _LONG:
        text = f"A transaction that writes is open for {age.total_seconds():.0f} s. Meanwhile few answers are cached."
        advice = "Find it in pg_stat_activity or pg_prepared_xacts; it is none of Watchword's, which end in time."
        yield Finding("transactions", Level.WARNING, text, advice)
    else:
        yield Finding("transactions", Level.OK, "None is open for long.")


def _signing_keys(connection: _Connection, keyring: Keyring) -> Iterator[Finding]:
    rows = connection.execute(
        "SELECT kid, public_key, private_key_sealed, activate_time FROM signing_keys"
        " WHERE revoke_time IS NULL AND retire_time IS NULL ORDER BY activate_time"
    ).fetchall()
    if not rows:
        yield Finding("signing keys", Level.OK, "There is none yet.", "The first server that starts makes one.")
        return
    sealer = keyring.sealer("signing_keys")
    for kid, public, sealed, _ in rows:
        try:
            raw = sealer.open(sealed, context=f"{kid}/private_key")
        except (UnknownMasterKey, SealBroken) as error:
            advice = "Set the master key with which this database was used; keys that were replaced stay in the list."
            yield Finding("signing keys", Level.PROBLEM, f"The key {kid} does not open. {error}", advice)
            return
        # Threat: a public key that somebody has put into the database, to sign tokens for anybody.
        if Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw() != public:
            text = f"The key {kid} was changed in the database: its public half is not that of its private half."
            yield Finding("signing keys", Level.PROBLEM, text, "`watchword signing-keys replace`; find out who did it.")
            return
    newest = rows[-1][3]
    yield Finding("signing keys", Level.OK, f"They open; the newest signs from {newest:%Y-%m-%d %H:%M} UTC on.")


def _sealed(connection: _Connection, keyring: Keyring) -> Iterator[Finding]:
    """Open some of the oldest and newest of what is sealed under the master keys, of users' keys."""
    rows = connection.execute(
        "(SELECT user_id, key_sealed FROM person_keys ORDER BY user_id LIMIT %(some)s) UNION ALL"
        " (SELECT user_id, key_sealed FROM person_keys ORDER BY user_id DESC LIMIT %(some)s)",
        {"some": _SOME},
    ).fetchall()
    sealer = keyring.sealer("person_keys")
    for user_id, sealed in rows:
        try:
            sealer.open(sealed, context=str(user_id))
        except (UnknownMasterKey, SealBroken) as error:
            advice = "Set the master key under which it was sealed, too: behind the others, if it was replaced."
            yield Finding("master key", Level.PROBLEM, f"Data of users do not open. {error}", advice)
            return
    yield Finding("master key", Level.OK, f"It opens what is sealed: all of {len(rows)} samples.")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
