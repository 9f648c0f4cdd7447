"""The parts that statements of `Database.write_at_once` have in common, beside the change that each makes.

They select from what the change gives, so that they are written if it came about. Events and answers come as JSON, any
number of them: the writes of several calls may share a statement, and one text is sent in less time than the columns.
"""

from typing import Final

import orjson

EVENTS: Final = """
    INSERT INTO events (
        event_time, type, outcome, actor, intermediary, organization, objects, nodes, request_id, source, payload,
        person_id, personal_sealed
    )
    SELECT event.event_time, event.type, event.outcome, event.actor, event.intermediary, event.organization,
        event.objects, event.nodes, event.request_id, event.source, {payload}, event.person_id, event.personal_sealed
    FROM {change} CROSS JOIN jsonb_to_recordset(CAST(:events AS jsonb)) AS event (
        number int, event_time timestamptz, type text, outcome text, actor text, intermediary text, organization text,
        objects text[], nodes bigint[], request_id text, source text, payload jsonb, person_id uuid,
        personal_sealed bytea
    )
"""
ANSWERS: Final = """
    INSERT INTO answers (request_key, request_mac, answer_sealed, create_time, xid)
    SELECT answer.request_key, answer.request_mac, answer.answer_sealed, answer.create_time, pg_current_xact_id()
    FROM {change} CROSS JOIN jsonb_to_recordset(CAST(:answers AS jsonb)) AS answer (
        number int, request_key bytea, request_mac bytea, answer_sealed bytea, create_time timestamptz
    )
"""
RESULT: Final = "SELECT epoch, CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
"""The beginning of what is selected in the end. What was done, and `FROM deployment`, follow: true if all was, false if
nothing, or the numbers of what was."""


def as_json(columns: object) -> str:
    """Write columns as JSON from which PostgreSQL makes rows."""
    return orjson.dumps(columns, default=_text).decode()


def _text(value: object) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
