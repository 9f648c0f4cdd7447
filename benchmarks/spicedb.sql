-- The tables and indexes of SpiceDB v1.54.0, put together from its migrations (internal/datastore/postgres/migrations
-- and schema/indexes.go): the embedded library has no `datastore migrate`.
CREATE TABLE alembic_version (version_num varchar NOT NULL);
INSERT INTO alembic_version VALUES ('populate-schema-tables');

CREATE TABLE metadata (unique_id varchar PRIMARY KEY);
INSERT INTO metadata VALUES (gen_random_uuid()::text);

CREATE TABLE relation_tuple_transaction (
    timestamp timestamp NOT NULL DEFAULT (now() AT TIME ZONE 'UTC'),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    snapshot pg_snapshot NOT NULL DEFAULT pg_current_snapshot(),
    metadata jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT pk_rttx PRIMARY KEY (xid)
);
CREATE INDEX ix_relation_tuple_transaction_by_timestamp ON relation_tuple_transaction (timestamp);
CREATE INDEX ix_relation_tuple_transaction_xid_desc_timestamp ON relation_tuple_transaction (xid DESC, timestamp);
INSERT INTO relation_tuple_transaction (timestamp) VALUES (to_timestamp(0));

CREATE TABLE namespace_config (
    namespace varchar NOT NULL,
    serialized_config bytea NOT NULL,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    CONSTRAINT pk_namespace_config PRIMARY KEY (namespace, created_xid, deleted_xid),
    CONSTRAINT uq_namespace_living_xid UNIQUE (namespace, deleted_xid)
);

CREATE TABLE relation_tuple (
    namespace varchar NOT NULL,
    object_id varchar NOT NULL,
    relation varchar NOT NULL,
    userset_namespace varchar NOT NULL,
    userset_object_id varchar NOT NULL,
    userset_relation varchar NOT NULL,
    caveat_name varchar,
    caveat_context jsonb,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    expiration timestamptz,
    CONSTRAINT pk_relation_tuple PRIMARY KEY (
        namespace, object_id, relation, userset_namespace, userset_object_id, userset_relation, created_xid, deleted_xid
    ),
    CONSTRAINT uq_relation_tuple_living_xid UNIQUE (
        namespace, object_id, relation, userset_namespace, userset_object_id, userset_relation, deleted_xid
    )
);
CREATE INDEX ix_relation_tuple_by_subject
    ON relation_tuple (userset_object_id, userset_namespace, userset_relation, namespace, relation);
CREATE INDEX ix_relation_tuple_by_subject_relation
    ON relation_tuple (userset_namespace, userset_relation, namespace, relation);
CREATE INDEX ix_gc_index
    ON relation_tuple (deleted_xid DESC) WHERE deleted_xid < '9223372036854775807'::xid8;
CREATE INDEX ix_relation_tuple_alive_by_resource_rel_subject_covering
    ON relation_tuple (namespace, relation, userset_namespace)
    INCLUDE (userset_object_id, userset_relation, caveat_name, caveat_context)
    WHERE deleted_xid = '9223372036854775807'::xid8;
CREATE INDEX ix_watch_api_index ON relation_tuple (created_xid);
CREATE INDEX ix_relation_tuple_expired ON relation_tuple (expiration) WHERE expiration IS NOT NULL;

CREATE TABLE caveat (
    name varchar NOT NULL,
    definition bytea NOT NULL,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    CONSTRAINT pk_caveat_v2 PRIMARY KEY (name, deleted_xid),
    CONSTRAINT uq_caveat_v2 UNIQUE (name, created_xid, deleted_xid)
);

CREATE TABLE relationship_counter (
    name varchar NOT NULL,
    serialized_filter bytea NOT NULL,
    current_count bigint NOT NULL DEFAULT 0,
    updated_revision_snapshot pg_snapshot,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    CONSTRAINT pk_relationship_counter PRIMARY KEY (name),
    CONSTRAINT uq_relationship_counter_living UNIQUE (name, deleted_xid)
);

CREATE TABLE schema (
    name varchar NOT NULL,
    chunk_index int NOT NULL,
    chunk_data bytea NOT NULL,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    CONSTRAINT pk_schema PRIMARY KEY (name, chunk_index, created_xid)
);
CREATE INDEX ix_schema_gc ON schema (deleted_xid DESC) WHERE deleted_xid < '9223372036854775807'::xid8;
CREATE TABLE schema_revision (
    name varchar NOT NULL DEFAULT 'current',
    hash bytea NOT NULL,
    created_xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    deleted_xid xid8 NOT NULL DEFAULT '9223372036854775807',
    CONSTRAINT pk_schema_revision PRIMARY KEY (name, created_xid)
);
CREATE INDEX ix_schema_revision_gc ON schema_revision (deleted_xid DESC) WHERE deleted_xid < '9223372036854775807'::xid8;
