"""The parts that statements of `Database.write_at_once` have in common, beside the change that each makes.

They select from what the change gives, so that they are written if it came about, and once.
"""

from typing import Final

EVENT: Final = """
    INSERT INTO events (
        event_time, type, outcome, actor, intermediary, organization, objects, nodes, request_id, source, payload,
        person_id
    )
    SELECT CAST(:event_event_time AS timestamptz), CAST(:event_type AS text), CAST(:event_outcome AS text),
        CAST(:event_actor AS text), CAST(:event_intermediary AS text), CAST(:event_organization AS text),
        CAST(:event_objects AS text[]), CAST(:event_nodes AS bigint[]), CAST(:event_request_id AS text),
        CAST(:event_source AS text), CAST(:event_payload AS jsonb), CAST(:event_person_id AS uuid)
"""
ANSWER: Final = """
    INSERT INTO answers (request_key, request_mac, answer_sealed, create_time, xid)
    SELECT CAST(:request_key AS bytea), CAST(:request_mac AS bytea), CAST(:answer_sealed AS bytea),
        CAST(:create_time AS timestamptz), pg_current_xact_id()
"""
IS_KEPT: Final = "CAST(:request_key AS bytea) IS NOT NULL"
"""Whether the answer is: not if the call came without a request id."""
RESULT: Final = "SELECT epoch, CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
"""The beginning of what is selected in the end; whether anything was done, and `FROM deployment`, follow."""
