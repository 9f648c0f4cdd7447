"""The usual sign-in: what it rests on, and all that it writes, in a statement each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import and_, bindparam, literal_column, select, text

from watchword.server.storage import tables as t
from watchword.server.storage.at_once import ANSWERS, EVENTS, RESULT, as_json
from watchword.server.storage.credentials import LAST_USED_RESOLUTION, Credential
from watchword.server.storage.sign_in_counters import SUCCEED, Counter, values_of
from watchword.server.storage.signing_keys import CURRENT_KID
from watchword.server.storage.snapshot import EPOCH, HORIZON
from watchword.server.storage.statement import Statement

_FACTS: Final = (t.person_keys.c.key_sealed, CURRENT_KID, EPOCH, HORIZON)
NAMED: Final = {
    column.name: Statement(
        select(*(t.credentials.c[each.name] for each in fields(Credential)), *_FACTS).select_from(
            t.deployment.outerjoin(t.users, column == bindparam("key"))
            .outerjoin(
                t.credentials,
                and_(
                    t.credentials.c.user_id == t.users.c.user_id, t.credentials.c.kind == literal_column("'password'")
                ),
            )
            .outerjoin(t.person_keys, t.person_keys.c.user_id == t.users.c.user_id)
        )
    )
    for column in (t.users.c.email_key, t.users.c.username_key)
}
"""The password of who is named by a column, and what a session of theirs and a token for it are made with.

One row for whoever is named, so that the time does not tell whether they exist or have a password; and before the
password is verified, so that there need not be another statement after it. What may have changed when it is, BEGIN
looks at again.
"""

_PROVED: Final = """
    SELECT u.user_id, c.credential_id FROM users u JOIN credentials c ON c.user_id = u.user_id AND c.kind = 'password'
    WHERE u.user_id = CAST(:user_id AS uuid) AND u.status = 'active' AND c.password_hash = CAST(:password_hash AS text)
        AND EXISTS (
            SELECT FROM signing_keys k
            WHERE k.kid = CAST(:kid AS text) AND k.revoke_time IS NULL
                AND (k.retire_time IS NULL OR k.retire_time > CAST(:now AS timestamptz))
        )
    FOR SHARE OF u FOR NO KEY UPDATE OF c
"""
# Nothing happens if the user is not active, the password another one than was verified, or the key that signed not
# one that signs. The rows of the first two are locked, so what counts is how they are when whoever is changing them has
# committed: a password that is being replaced begins no session, and neither does a user who is being suspended. The
# counters are locked last, as by whoever changes a password.
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
{SUCCEED.format(when="EXISTS (SELECT FROM begun)")},
event AS ({EVENTS.format(change="begun", payload="event.payload")}),
answer AS ({ANSWERS.format(change="begun")})
{RESULT}, EXISTS (SELECT FROM begun) FROM deployment
""")  # noqa: S608 - constants
)
"""Begin a session of a user whose password was verified, with the event and the answer of the call.

The attempt counts no longer then."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a session is made with, at a snapshot; without the user's key if there is none any more."""

    key_sealed: bytes | None = field(repr=False)
    kid: str | None
    epoch: str
    horizon: int


@dataclass(frozen=True, slots=True)
class Named:
    """Who was named: a row of NAMED."""

    credential: Credential
    ground: Ground

    @classmethod
    def of(cls, row: Sequence[Any]) -> Self | None:
        """Read it; None if nobody is named so, or has no password."""
        if row[0] is None:
            return None
        return cls(Credential(*row[: -len(_FACTS)]), Ground(*row[-len(_FACTS) :]))


def begin_values(
    credential: Credential, kid: str, session: Mapping[str, Any], counters: Sequence[Counter], now: datetime
) -> dict[str, Any]:
    """The parameters of BEGIN: for who proved a credential, with the columns of the session."""
    return {
        "user_id": credential.user_id,
        "password_hash": credential.password_hash,
        "kid": kid,
        "now": now,
        "touched_before": now - LAST_USED_RESOLUTION,
        "session": as_json(session),
        **values_of(counters),
    }
