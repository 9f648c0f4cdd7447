"""One statement that reads all that a question about permissions needs: the subgraph it can reach.

A query for each edge, as other systems have it, costs a check dozens of transactions. Here PostgreSQL itself follows
the relationships, led by the steps of the model (permissions/reach.py), and gives them back with the snapshot that it
read them on, the model in force there and the accounts that are disabled: one round trip, one snapshot.

Written as text and not in Core: recursion over laterals over arrays would be longer there and no clearer. No text from
a caller is part of it; everything travels in parameters. Five things make it fast:

- generic plans, for which the pool of these statements is set (of a check that visits nine nodes at a million
  relationships: 200 µs of PostgreSQL's CPU; planning each anew: 500 µs);
- `OFFSET 0`, which keeps the planner from turning look-ups in an index into joins of the whole table;
- the members of a node are probed for the subject by the index from subjects, never read: a group with a million
  members costs no more than one with ten;
- a node is read once for all who ask, and each of them is looked for at all nodes of a kind at once (a batch of 100
  checks at 100,000 relationships: 9 ms; when each asker had nodes of their own, and each node a probe: 35 ms);
- no statement is longer than 4,096 bytes, up to which psycopg remembers how to send one; so they go without their
  indents.
"""

from typing import Final

from sqlalchemy import text

from watchword.server.storage.statement import Statement


def _statement(sql: str) -> Statement:
    return Statement(text(" ".join(sql.split())))


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
_STEPS: Final = """
WITH RECURSIVE
step (at, probed, public, sets, followed) AS MATERIALIZED (
    SELECT at COLLATE "C", CAST(probed AS text[]), public, CAST(sets AS text[]), CAST(followed AS text[])
    FROM unnest(
        CAST(:step_at AS text[]), CAST(:step_probed AS text[]), CAST(:step_public AS bool[]),
        CAST(:step_sets AS text[]), CAST(:step_followed AS text[])
    ) AS s (at, probed, public, sets, followed)
),
following (at, stored, next) AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:following_at AS text[]), CAST(:following_stored AS text[]), CAST(:following_next AS text[])
    )
),
start (who, object, at) AS MATERIALIZED (
    SELECT who, object COLLATE "C", at COLLATE "C"
    FROM unnest(CAST(:who AS int[]), CAST(:object AS text[]), CAST(:at AS text[])) AS s (who, object, at)
)"""


def _walked(read: str) -> str:
    """The nodes that the steps come to, each once, as rows without a relation; and what is read there.

    `next`: how the subject is entered, if the relationship leads on.
    Two things in one recursion, or everything would have to be read twice.
    """
    return f""",
node (object, at, relation, subject, subject_relation, condition, context, expire_time, next) AS (
    SELECT object, at, CAST(NULL AS text) COLLATE "C", CAST(NULL AS text) COLLATE "C", CAST(NULL AS text) COLLATE "C",
        CAST(NULL AS text), CAST(NULL AS jsonb), CAST(NULL AS timestamptz), CAST(NULL AS text) COLLATE "C"
    FROM start
  UNION
    SELECT found.*
    FROM node n JOIN step s ON s.at = n.at, LATERAL (
        SELECT r.*, split_part(r.subject, ':', 1) || '#' || CASE
            WHEN r.subject_relation = '' THEN f.next WHEN r.relation = ANY(s.sets) THEN r.subject_relation
        END AS next
        FROM ({read}) r
        LEFT JOIN following f ON r.subject_relation = '' AND f.at = n.at AND f.stored = r.relation
    ) r, LATERAL (
        SELECT r.object, n.at, r.relation, r.subject, r.subject_relation, r.condition, r.context, r.expire_time, r.next
      UNION ALL
        SELECT r.subject, r.next, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE r.next IS NOT NULL
    ) found
    WHERE n.relation IS NULL
),
walked AS MATERIALIZED (SELECT * FROM node LIMIT :limit)"""  # noqa: S608 - constants of this module


# What is read for all who ask alike.
_ALIKE: Final = _walked("""
            (SELECT * FROM relationships
            WHERE object = n.object AND relation = ANY(s.sets) AND subject_relation > '' OFFSET 0)
          UNION ALL
            (SELECT * FROM relationships WHERE object = n.object AND relation = ANY(s.followed) OFFSET 0)
        """)
_ALL: Final = _walked("""
            SELECT * FROM relationships
            WHERE object = n.object AND relation = ANY(s.probed || s.sets || s.followed) OFFSET 0
        """)

# Who has to be looked for where. If several ask, at the nodes that the steps come to from what each of them asks about.
# The limits are for what grows in memory: nodes with the relationships between them, and askers times nodes.
_FOR_ONE: Final = """,
sought (who, at, objects) AS MATERIALIZED (
    SELECT 0, at, array_agg(object) FROM walked WHERE relation IS NULL GROUP BY at
)"""
_FOR_SEVERAL: Final = """,
reach (who, object, at) AS (
    SELECT who, object, at FROM start
  UNION
    SELECT w.who, n.subject, n.next
    FROM reach w JOIN walked n ON n.object = w.object AND n.at = w.at
    WHERE n.next IS NOT NULL
),
sought (who, at, objects) AS MATERIALIZED (
    SELECT who, at, array_agg(object) FROM (SELECT * FROM reach LIMIT :limit) AS r GROUP BY who, at
)"""


# One row for all that are alike but for their objects and subjects, which stand in the same order.
_READ: Final = """
    SELECT 0, string_agg(object, ' '), at, relation, string_agg(subject, ' '), subject_relation, condition, context,
        expire_time
    FROM walked WHERE relation IS NOT NULL GROUP BY at, relation, subject_relation, condition, context, expire_time
"""


def _gather(sought: str) -> Statement:
    return _statement(
        f"""{_STEPS}{_ALIKE}{sought}
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT who + 1, array_to_string(objects, ' '), at, NULL, NULL, NULL, NULL, NULL, NULL FROM sought
  UNION ALL
    {_READ}
  UNION ALL
    SELECT w.who + 1, r.object, w.at, r.relation, r.subject, '', r.condition, r.context, r.expire_time
    FROM sought w JOIN step s ON s.at = w.at, LATERAL (
        SELECT * FROM relationships
        WHERE subject = ANY(ARRAY[
            (CAST(:name AS text[]))[w.who + 1],
            CASE WHEN s.public THEN (CAST(:everybody AS text[]))[w.who + 1] END
        ]) AND subject_relation = '' AND relation = ANY(s.probed) AND object = ANY(w.objects) OFFSET 0
    ) r
) rows LIMIT :limit
"""  # noqa: S608 - constants of this module
    )


_GATHER: Final = _gather(_FOR_ONE), _gather(_FOR_SEVERAL)


def gather_for(askers: int) -> Statement:
    """The statement that reads all that checks for so many subjects need.

    Rows, beside the first ones, in this order:
        who + 1, objects, at: the nodes, as they were entered, where who asks was looked for; separated by blanks
        0, objects, at, and relationships there: the relation, and as many subjects; those that matter to all
        who + 1, object, at, and a relationship there without its object: one that names who asks, or everybody
    """
    return _GATHER[askers > 1]


GATHER_MEMBERS: Final = _statement(
    f"""{_STEPS}{_ALL}
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT 0, string_agg(object, ' '), at, NULL, NULL, NULL, NULL, NULL, NULL FROM walked WHERE relation IS NULL
    GROUP BY at
  UNION ALL
    {_READ}
) rows LIMIT :limit
"""  # noqa: S608 - constants of this module
)
"""All that lists of subjects read: the nodes, as above but of nobody (0), with every member of each."""

_OF_NODE: Final = "s.type = split_part(n.object, ':', 1) AND s.entry = n.entry"


def _named(subject_relation: str) -> str:
    """The relationships of a step that name a node as their subject."""
    return f"""
            SELECT * FROM relationships
            WHERE subject = n.object AND subject_relation = {subject_relation} AND relation = s.stored
                AND object >= s.low COLLATE "C" AND object < s.high COLLATE "C" OFFSET 0
        """  # noqa: S608 - constants of this module


# What leads nowhere is no node: the longest lists are of such objects. They are told by one row for all that are
# granted alike (10,000 of them: 10 ms of PostgreSQL's CPU; by a row for each, that was a node too: 53 ms).
GATHER_OBJECTS: Final = _statement(
    f"""
WITH RECURSIVE
granted (type, entry, stored, low, high, leads_on) AS MATERIALIZED (
    SELECT type, entry, stored, object_type || ':', object_type || ';', leads_on
    FROM unnest(
        CAST(:granted_type AS text[]), CAST(:granted_entry AS text[]), CAST(:granted_stored AS text[]),
        CAST(:granted_object_type AS text[]), CAST(:granted_leads_on AS bool[])
    ) AS s (type, entry, stored, object_type, leads_on)
),
computed (type, entry, next) AS MATERIALIZED (
    SELECT * FROM unnest(
        CAST(:computed_type AS text[]), CAST(:computed_entry AS text[]), CAST(:computed_next AS text[])
    )
),
followed (type, entry, stored, low, high, next, leads_on) AS MATERIALIZED (
    SELECT type, entry, stored, object_type || ':', object_type || ';', next, leads_on
    FROM unnest(
        CAST(:followed_type AS text[]), CAST(:followed_entry AS text[]), CAST(:followed_stored AS text[]),
        CAST(:followed_object_type AS text[]), CAST(:followed_next AS text[]), CAST(:followed_leads_on AS bool[])
    ) AS s (type, entry, stored, object_type, next, leads_on)
),
node (object, entry) AS (
    SELECT object COLLATE "C", entry COLLATE "C"
    FROM unnest(CAST(:object AS text[]), CAST(:entry AS text[])) AS start (object, entry)
  UNION
    SELECT reached.object, reached.entry
    FROM node n, LATERAL (
        SELECT r.object, s.stored COLLATE "C" FROM granted s, LATERAL ({_named("n.entry")}) r
        WHERE s.leads_on AND {_OF_NODE}
      UNION ALL
        SELECT n.object, s.next COLLATE "C" FROM computed s WHERE {_OF_NODE}
      UNION ALL
        SELECT r.object, s.next COLLATE "C" FROM followed s, LATERAL ({_named("''")}) r
        WHERE s.leads_on AND {_OF_NODE}
    ) reached (object, entry)
),
read AS (
    SELECT n.object, n.entry, r.stored, r.low, r.name, r.target, r.condition, r.context, r.expire_time
    FROM node n, LATERAL (
        SELECT s.stored, s.low, CASE n.entry WHEN '' THEN n.object ELSE n.object || '#' || n.entry END AS name,
            r.object AS target, r.condition, r.context, r.expire_time
        FROM granted s, LATERAL ({_named("n.entry")}) r WHERE {_OF_NODE}
      UNION ALL
        SELECT s.stored, s.low, n.object, r.object, r.condition, r.context, r.expire_time
        FROM followed s, LATERAL ({_named("''")}) r WHERE {_OF_NODE}
    ) r LIMIT :limit
)
SELECT * FROM ({_HEAD}
  UNION ALL
    SELECT 0, object, entry, NULL, NULL, NULL, NULL, NULL, NULL FROM node
  UNION ALL
    SELECT 0, string_agg(target, ' '), entry, stored, object, name, condition, context, expire_time
    FROM read GROUP BY object, entry, stored, low, name, condition, context, expire_time
) rows LIMIT :limit
"""  # noqa: S608 - constants of this module
)
"""All that lists of objects read, from the subject on.

Rows, beside the first ones:
    0, object, entry: a node, as it was entered
    0, objects, entry, and relationships that one node has with them all: the relation, the node's object and as they
        name it, and the condition, context and expiry that they share
"""
