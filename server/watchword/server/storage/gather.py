"""One statement that reads all that a question about permissions needs: the subgraph it can reach.

A query for each edge, as other systems have it, costs a check dozens of transactions. Here PostgreSQL itself follows
the relationships, led by the steps of the model (permissions/reach.py), and gives them back with the snapshot that it
read them on, the model in force there and the accounts that are disabled: one round trip, one snapshot.

Written as text and not in Core: recursion over laterals over arrays would be longer there and no clearer. No text from
a caller is part of it; everything travels in parameters. Three things make it fast, each measured on a million
relationships (PostgreSQL's CPU for a check that visits nine nodes):

- generic plans, for which the pool of these statements is set: 200 µs; planning each anew: 500 µs;
- `OFFSET 0`, which keeps the planner from turning look-ups in an index into joins of the whole table;
- the members of a node are probed for the subject by the index from subjects, never read: a group with a million
  members costs no more than one with ten.
"""

from typing import Final

from sqlalchemy import text

from watchword.server.storage.statement import Statement

# The first rows tell about the snapshot (who = -1) and the disabled accounts among those asked about (who = -2).
_HEAD: Final = """
    SELECT -1, CAST(pg_current_snapshot() AS text), deployment.epoch,
        (SELECT CAST(model_id AS text) FROM permission_models ORDER BY sequence DESC LIMIT 1),
        NULL, NULL, NULL, CAST(NULL AS jsonb), CAST(NULL AS timestamptz)
    FROM deployment
  UNION ALL
    SELECT -2, 'user:' || CAST(user_id AS text), status, NULL, NULL, NULL, NULL, NULL, NULL
    FROM users WHERE user_id = ANY(CAST(:user_ids AS uuid[])) AND status <> 'active'
  UNION ALL
    SELECT -2, 'service:' || service_account_id, status, NULL, NULL, NULL, NULL, NULL, NULL
    FROM service_accounts WHERE service_account_id = ANY(CAST(:service_ids AS text[])) AND status <> 'active'
"""

# A node is `object` as entered by `at`, which is `type#relation`: the key of the steps to take from there.
_FORWARD: Final = """
WITH RECURSIVE
sets (at, stored) AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:sets_at AS text[]), CAST(:sets_stored AS text[]))
),
followed (at, stored, next) AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:followed_at AS text[]), CAST(:followed_stored AS text[]), CAST(:followed_next AS text[]))
),
probed (at, stored, public) AS MATERIALIZED (
    SELECT * FROM unnest(CAST(:probed_at AS text[]), CAST(:probed_stored AS text[]), CAST(:probed_public AS bool[]))
),
node (who, object, at) AS (
    SELECT who, object COLLATE "C", at COLLATE "C"
    FROM unnest(CAST(:who AS int[]), CAST(:object AS text[]), CAST(:at AS text[])) AS start (who, object, at)
  UNION
    SELECT n.who, reached.object, split_part(reached.object, ':', 1) || '#' || reached.relation
    FROM node n, LATERAL (
        SELECT r.subject, r.subject_relation
        FROM sets s, LATERAL (
            SELECT subject, subject_relation FROM relationships
            WHERE object = n.object AND relation = s.stored AND subject_relation > '' OFFSET 0
        ) r
        WHERE s.at = n.at
      UNION ALL
        SELECT r.subject, s.next COLLATE "C"
        FROM followed s, LATERAL (
            SELECT subject FROM relationships
            WHERE object = n.object AND relation = s.stored AND subject_relation = '' OFFSET 0
        ) r
        WHERE s.at = n.at
    ) reached (object, relation)
)
"""

_ROWS: Final = "SELECT r.relation, r.subject, r.subject_relation, r.condition, r.context, r.expire_time"

GATHER: Final = Statement(
    text(f"""{_FORWARD}
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT n.who, n.object, n.at, r.relation, r.subject, r.subject_relation, r.condition, r.context, r.expire_time
    FROM node n LEFT JOIN LATERAL (
        {_ROWS} FROM probed s, LATERAL (
            SELECT * FROM relationships
            WHERE object = n.object AND relation = s.stored AND subject_relation = '' AND subject = ANY(ARRAY[
                (CAST(:name AS text[]))[n.who + 1],
                CASE WHEN s.public THEN (CAST(:everybody AS text[]))[n.who + 1] END
            ]) OFFSET 0
        ) r WHERE s.at = n.at
      UNION ALL
        {_ROWS} FROM sets s, LATERAL (
            SELECT * FROM relationships
            WHERE object = n.object AND relation = s.stored AND subject_relation > '' OFFSET 0
        ) r WHERE s.at = n.at
      UNION ALL
        {_ROWS} FROM followed s, LATERAL (
            SELECT * FROM relationships WHERE object = n.object AND relation = s.stored OFFSET 0
        ) r WHERE s.at = n.at
    ) r ON true
) rows LIMIT :limit
""")  # noqa: S608 - constants of this module
)
"""All that checks read. Rows: who, object, how it was entered, then a relationship there, without its object."""

GATHER_MEMBERS: Final = Statement(
    text(f"""{_FORWARD}
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT n.who, n.object, n.at, r.relation, r.subject, r.subject_relation, r.condition, r.context, r.expire_time
    FROM node n LEFT JOIN LATERAL (
        SELECT DISTINCT r.*
        FROM (SELECT * FROM sets UNION SELECT at, stored FROM probed UNION SELECT at, stored FROM followed) s,
        LATERAL (SELECT * FROM relationships WHERE object = n.object AND relation = s.stored OFFSET 0) r
        WHERE s.at = n.at
    ) r ON true
) rows LIMIT :limit
""")  # noqa: S608 - constants of this module
)
"""All that lists of subjects read: the same, with every member of each node."""

_OF_NODE: Final = "s.type = split_part(n.object, ':', 1) AND s.entry = n.entry"

GATHER_OBJECTS: Final = Statement(
    text(f"""
WITH RECURSIVE
granted (type, entry, stored, low, high) AS MATERIALIZED (
    SELECT type, entry, stored, object_type || ':', object_type || ';'
    FROM unnest(
        CAST(:granted_type AS text[]), CAST(:granted_entry AS text[]), CAST(:granted_stored AS text[]),
        CAST(:granted_object_type AS text[])
    ) AS s (type, entry, stored, object_type)
),
computed (type, entry, next) AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:computed_type AS text[]), CAST(:computed_entry AS text[]), CAST(:computed_next AS text[])
    )
),
followed (type, entry, stored, low, high, next) AS MATERIALIZED (
    SELECT type, entry, stored, object_type || ':', object_type || ';', next
    FROM unnest(
        CAST(:followed_type AS text[]), CAST(:followed_entry AS text[]), CAST(:followed_stored AS text[]),
        CAST(:followed_object_type AS text[]), CAST(:followed_next AS text[])
    ) AS s (type, entry, stored, object_type, next)
),
node (object, entry) AS (
    SELECT object COLLATE "C", entry COLLATE "C"
    FROM unnest(CAST(:object AS text[]), CAST(:entry AS text[])) AS start (object, entry)
  UNION
    SELECT reached.object, reached.entry
    FROM node n, LATERAL (
        SELECT r.object, s.stored COLLATE "C"
        FROM granted s, LATERAL (
            SELECT object FROM relationships
            WHERE subject = n.object AND subject_relation = n.entry AND relation = s.stored
                AND object >= s.low COLLATE "C" AND object < s.high COLLATE "C" OFFSET 0
        ) r
        WHERE {_OF_NODE}
      UNION ALL
        SELECT n.object, s.next COLLATE "C" FROM computed s WHERE {_OF_NODE}
      UNION ALL
        SELECT r.object, s.next COLLATE "C"
        FROM followed s, LATERAL (
            SELECT object FROM relationships
            WHERE subject = n.object AND subject_relation = '' AND relation = s.stored
                AND object >= s.low COLLATE "C" AND object < s.high COLLATE "C" OFFSET 0
        ) r
        WHERE {_OF_NODE}
    ) reached (object, entry)
)
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT 0, n.object, n.entry, r.relation, r.object, r.name, r.condition, r.context, r.expire_time
    FROM node n LEFT JOIN LATERAL (
        SELECT r.*, CASE n.entry WHEN '' THEN n.object ELSE n.object || '#' || n.entry END AS name
        FROM granted s, LATERAL (
            SELECT * FROM relationships
            WHERE subject = n.object AND subject_relation = n.entry AND relation = s.stored
                AND object >= s.low COLLATE "C" AND object < s.high COLLATE "C" OFFSET 0
        ) r WHERE {_OF_NODE}
      UNION ALL
        SELECT r.*, n.object AS name FROM followed s, LATERAL (
            SELECT * FROM relationships
            WHERE subject = n.object AND subject_relation = '' AND relation = s.stored
                AND object >= s.low COLLATE "C" AND object < s.high COLLATE "C" OFFSET 0
        ) r WHERE {_OF_NODE}
    ) r ON true
) rows LIMIT :limit
""")  # noqa: S608 - constants of this module
)
"""All that lists of objects read, from the subject on.

Rows: 0, what was entered, by which relation, then a relationship of it: relation, object, the subject as the
relationship names it, condition, context, expiry.
"""
