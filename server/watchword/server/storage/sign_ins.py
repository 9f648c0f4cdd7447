"""The usual sign-in: what it rests on, and all that it writes, in a statement each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select, text

from watchword.server.storage import tables as t
from watchword.server.storage.at_once import ANSWERS, EVENTS, RESULT, as_json
from watchword.server.storage.credentials import LAST_USED_RESOLUTION, Credential
from watchword.server.storage.signing_keys import CURRENT_KID
from watchword.server.storage.snapshot import EPOCH, HORIZON
from watchword.server.storage.statement import Statement
from watchword.server.storage.users import ACTIVE

GROUND = Statement(
    select(t.person_keys.c.key_sealed, CURRENT_KID, EPOCH, HORIZON)
    .join_from(t.users, t.person_keys)
    .where(t.users.c.user_id == bindparam("id"), t.users.c.status == ACTIVE)
)
"""What a session of an active user, and a token for it, are made with; the columns of `Ground`."""

_PROVED: Final = """
    SELECT u.user_id, c.credential_id FROM users u JOIN credentials c ON c.user_id = u.user_id AND c.kind = 'password'
    WHERE u.user_id = CAST(:user_id AS uuid) AND u.status = 'active' AND c.password_hash = CAST(:password_hash AS text)
    FOR SHARE OF u FOR NO KEY UPDATE OF c
"""
# Nothing happens if the user is not active, or the password another one than was verified. Both rows are locked, so
# what counts is how they are when whoever is changing them has committed: a password that is being replaced begins no
# session, and neither does a user who is being suspended.
BEGIN = Statement(
    text(f"""
WITH proved AS MATERIALIZED ({_PROVED}),
touched AS (
    UPDATE credentials SET last_used_time = CAST(:now AS timestamptz)
    WHERE credential_id = (SELECT credential_id FROM proved)
        AND (last_used_time IS NULL OR last_used_time <= CAST(:touched_before AS timestamptz))
),
begun AS (
    INSERT INTO sessions
    SELECT session.* FROM proved CROSS JOIN jsonb_populate_record(NULL::sessions, CAST(:session AS jsonb)) AS session
    RETURNING session_id
),
event AS ({EVENTS.format(change="begun", payload="event.payload")}),
answer AS ({ANSWERS.format(change="begun")})
{RESULT}, EXISTS (SELECT FROM begun) FROM deployment
""")  # noqa: S608 - constants
)
"""Begin a session of a user whose password was verified, with the event and the answer of the call."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session is made with, at a snapshot."""

    key_sealed: bytes = field(repr=False)
    kid: str | None
    epoch: str
    horizon: int


def begin_values(credential: Credential, session: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The parameters of BEGIN: for who proved a credential, with the columns of the session."""
    return {
        "user_id": credential.user_id,
        "password_hash": credential.password_hash,
        "now": now,
        "touched_before": now - LAST_USED_RESOLUTION,
        "session": as_json(session),
    }
