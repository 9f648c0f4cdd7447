"""Users in bulk: who is there already, and all rows of a thousand new ones in one statement."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import text

from watchword.server.call import Call
from watchword.server.storage.events import EventType
from watchword.server.storage.statement import Statement, array

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

# One index each.
_KNOWN = Statement(
    text("""
SELECT 'external_id' AS field, external_id AS key, user_id FROM users
WHERE external_id = ANY(CAST(:external_id AS text[]))
UNION ALL
SELECT 'email', email_key, user_id FROM users WHERE email_key = ANY(CAST(:email_key AS text[]))
UNION ALL
SELECT 'username', username_key, user_id FROM users WHERE username_key = ANY(CAST(:username_key AS text[]))
""")
)
# Of users whom somebody else creates at the same moment nothing is written; they are not among those returned.
_ADD = Statement(
    text("""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:user_id AS uuid[]), CAST(:email AS text[]), CAST(:email_key AS text[]), CAST(:username AS text[]),
        CAST(:username_key AS text[]), CAST(:display_name AS text[]), CAST(:locale AS text[]),
        CAST(:external_id AS text[]), CAST(:attributes AS jsonb[]), CAST(:status AS text[]),
        CAST(:create_time AS timestamptz[]), CAST(:key_sealed AS text[]), CAST(:credential_id AS uuid[]),
        CAST(:password_hash AS text[]), CAST(:last_used_time AS timestamptz[]), CAST(:payload AS jsonb[]),
        CAST(:personal_sealed AS text[])
    ) AS given (
        user_id, email, email_key, username, username_key, display_name, locale, external_id, attributes, status,
        create_time, key_sealed, credential_id, password_hash, last_used_time, payload, personal_sealed
    )
),
made AS (
    INSERT INTO users (
        user_id, email, email_key, username, username_key, display_name, locale, external_id, attributes, status,
        create_time, update_time
    )
    SELECT user_id, email, email_key, username, username_key, display_name, locale, external_id, attributes, status,
        create_time, CAST(:now AS timestamptz)
    FROM given
    ON CONFLICT DO NOTHING
    RETURNING user_id
),
keys AS (
    INSERT INTO person_keys (user_id, key_sealed)
    SELECT user_id, decode(key_sealed, 'hex') FROM given JOIN made USING (user_id)
),
passwords AS (
    INSERT INTO credentials (credential_id, user_id, kind, password_hash, create_time, update_time, last_used_time)
    SELECT credential_id, user_id, 'password', password_hash, CAST(:now AS timestamptz), CAST(:now AS timestamptz),
        last_used_time
    FROM given JOIN made USING (user_id) WHERE password_hash IS NOT NULL
),
told AS (
    INSERT INTO events (
        event_time, type, outcome, actor, intermediary, objects, nodes, request_id, source, payload, person_id,
        personal_sealed
    )
    SELECT CAST(:now AS timestamptz), :type, 'success', :actor, CAST(:intermediary AS text),
        ARRAY['user:' || CAST(user_id AS text)], CAST('{}' AS bigint[]), :request_id, :source, payload, user_id,
        decode(personal_sealed, 'hex')
    FROM given JOIN made USING (user_id)
)
SELECT user_id FROM made
""")
)
_TOLD = ("attributes", "display_name", "email", "external_id", "locale", "username")
_IDENTIFIERS = {"external_id": "external_id", "email": "email_key", "username": "username_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A user to be created, as its columns and its password's."""

    external_id: str = field(repr=False)
    email: str | None = field(repr=False)
    email_key: str | None = field(repr=False)
    username: str | None = field(repr=False)
    username_key: str | None = field(repr=False)
    display_name: str = field(repr=False)
    locale: str = field(repr=False)
    attributes: Mapping[str, Any] = field(repr=False)
    status: str
    create_time: datetime
    password_hash: str | None = field(repr=False)
    last_used_time: datetime | None

    def identifiers(self) -> Sequence[tuple[str, str]]:
        """Give the names that must be unique, each with its field, the external id first."""
        return [(name, key) for name, column in _IDENTIFIERS.items() if (key := getattr(self, column))]

    def personal(self) -> Mapping[str, str]:
        """What the event of the creation says of the person."""
        names = {
            "email": self.email,
            "username": self.username,
            "display_name": self.display_name,
            "external_id": self.external_id,
        }
        return {name: value for name, value in names.items() if value}

    def payload(self) -> str:
        """What the event says besides, as JSON."""
        return _payload(tuple(name for name in _TOLD if getattr(self, name)), self.status)


@cache  # a few for a million users
def _payload(fields: tuple[str, ...], status: str) -> str:
    return json.dumps({"fields": fields, "status": status, "imported": True})


@dataclass(frozen=True, slots=True, repr=False)
class _Known:
    field: str
    key: str
    user_id: UUID


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is made for a new user: the id, the user's key, and what their event says, both sealed."""

    user_id: UUID
    name: str
    """The id, written."""
    key: bytes = field(repr=False)
    personal: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Created:
    user_id: UUID


class UserImports:
    """Users of a database, many at a time."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def known(self, users: Sequence[NewUser]) -> dict[tuple[str, str], UUID]:
        """Find who has the names of users already: by field and key."""
        values = {
            column: array(key for user in users if (key := getattr(user, column))) for column in _IDENTIFIERS.values()
        }
        return {(row.field, row.key): row.user_id for row in await self._reader.all(_Known, _KNOWN, **values)}

    async def add(self, users: Sequence[NewUser], sealed: Sequence[Sealed], call: Call) -> set[UUID]:
        """Create users with their keys, passwords and events; give the ids of those who could be created."""
        columns: dict[str, Iterable[str | None]] = {
            name: [getattr(user, name) for user in users]
            for name in ("email", "email_key", "username", "username_key", "display_name", "locale", "external_id")
        }
        columns |= {
            "user_id": (row.name for row in sealed),
            "attributes": (
                json.dumps(user.attributes, ensure_ascii=False) if user.attributes else "{}" for user in users
            ),
            "status": (user.status for user in users),
            "create_time": (user.create_time.isoformat() for user in users),
            "key_sealed": (row.key.hex() for row in sealed),
            "credential_id": (str(self._reader.new_id()) if user.password_hash else None for user in users),
            "password_hash": (user.password_hash for user in users),
            "last_used_time": (time.isoformat() if (time := user.last_used_time) else None for user in users),
            "payload": (user.payload() for user in users),
            "personal_sealed": (row.personal.hex() for row in sealed),
        }
        about = {
            "now": self._reader.now,
            "type": EventType.USER_CREATED.value,
            "actor": call.actor,
            "intermediary": call.intermediary,
            "request_id": call.request_id,
            "source": call.source,
        }
        values = {name: array(column) for name, column in columns.items()}
        return {row.user_id for row in await self._reader.all(_Created, _ADD, **values, **about)}
