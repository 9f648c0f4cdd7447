"""The shape of the database, in one place.

Repositories write their statements against these tables, Alembic's migrations build them (a test compares
the two), and constraint names are the contract by which a violation is told to a caller.

Conventions: ids of our own making are `uuid` (version 7, so they sort by creation); times are `timestamptz`
named as in the protos; states are short texts; secrets are stored as hashes (`*_hash`) or sealed (`*_sealed`,
see sealing.py) and in no other way.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

metadata = MetaData()


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        """Name the type in DDL."""
        return "xid8"


def _time(name: str, *, optional: bool = False) -> Column[datetime]:
    return Column(name, DateTime(timezone=True), nullable=optional)


# One row: the identity of this database's history. A restore from a backup must change `epoch`, so that
# nothing issued by the history that was lost is believed (DESIGN.md section 2).
deployment = Table(
    "deployment",
    metadata,
    Column("only", Boolean, primary_key=True, server_default=text("true")),
    Column("epoch", Text, nullable=False),
    Column("bootstrap_time", DateTime(timezone=True)),
    # Where the history came from when the epoch began (history.py).
    Column("system_identifier", BigInteger),
    Column("timeline_id", Integer),
    CheckConstraint('"only"', name="deployment_is_one_row"),
)

# Unlogged: PostgreSQL empties it when it recovers from a crash, and keeps it when it was stopped in good order. So
# whoever does not find the row knows of the crash (history.py).
crash_mark = Table(
    "crash_mark",
    metadata,
    Column("only", Boolean, primary_key=True, server_default=text("true")),
    CheckConstraint('"only"', name="crash_mark_is_one_row"),
    prefixes=["UNLOGGED"],
)

users = Table(
    "users",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("email", Text),
    Column("email_key", Text),
    Column("username", Text),
    Column("username_key", Text),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("locale", Text, nullable=False, server_default=""),
    Column("external_id", Text),
    Column("attributes", JSONB, nullable=False, server_default=text("'{}'")),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _time("create_time"),
    _time("update_time"),
    _time("delete_time", optional=True),
    CheckConstraint("status in ('active', 'suspended', 'deleted')", name="users_status"),
)
# A deleted user's row keeps no names, so plain unique indexes free them.
Index("users_email", users.c.email_key, unique=True)
Index("users_username", users.c.username_key, unique=True)
Index("users_external_id", users.c.external_id, unique=True)
# For lists, which are merged from those of each status: in the order of creation, and of addresses byte by byte.
Index("users_by_creation", users.c.status, users.c.create_time, users.c.user_id)
Index("users_by_email", users.c.status, users.c.email_key.collate("C"))

# The key under which a person's values in the event log are sealed. Destroying the row erases them.
person_keys = Table(
    "person_keys",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.user_id", name="person_keys_user"), primary_key=True),
    Column("key_sealed", LargeBinary, nullable=False),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("service_account_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _time("create_time"),
    _time("update_time"),
    _time("delete_time", optional=True),
    CheckConstraint("status in ('active', 'suspended', 'deleted')", name="service_accounts_status"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column(
        "service_account_id",
        Text,
        ForeignKey("service_accounts.service_account_id", name="api_keys_service_account"),
        nullable=False,
    ),
    Column("key_hash", LargeBinary, nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("permissions", ARRAY(Text), nullable=False),
    _time("create_time"),
    _time("expire_time", optional=True),
    _time("last_used_time", optional=True),
    _time("revoke_time", optional=True),
    Column("successor_key_id", Uuid),
)
Index("api_keys_by_service_account", api_keys.c.service_account_id, api_keys.c.key_id)

credentials = Table(
    "credentials",
    metadata,
    Column("credential_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.user_id", name="credentials_user"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("password_hash", Text),
    _time("create_time"),
    _time("update_time"),
    _time("last_used_time", optional=True),
    CheckConstraint("kind in ('password')", name="credentials_kind"),
    CheckConstraint("(kind = 'password') = (password_hash is not null)", name="credentials_password_hash"),
)
Index("credentials_by_user", credentials.c.user_id)
Index(
    "credentials_one_password",
    credentials.c.user_id,
    unique=True,
    postgresql_where=text("kind = 'password'"),
)

# Of a session's refresh tokens only the newest and the one before it are kept, as hashes. An older one is
# recognised by the server's own MAC in it (tokens.py), so reuse is seen for ever at a constant cost.
sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.user_id", name="sessions_user"), nullable=False),
    Column("client_id", Text, nullable=False),
    Column("device_name", Text, nullable=False, server_default=""),
    Column("user_agent", Text, nullable=False, server_default=""),
    Column("ip_address", Text, nullable=False, server_default=""),
    Column("audiences", ARRAY(Text), nullable=False),
    Column("authentication_methods", ARRAY(Text), nullable=False),
    Column("authentication_level", Text, nullable=False),
    _time("authentication_time"),
    _time("create_time"),
    _time("last_active_time"),
    _time("idle_expire_time"),
    _time("expire_time"),
    _time("end_time", optional=True),
    Column("end_reason", Text),
    Column("refresh_generation", Integer, nullable=False),
    Column("refresh_hash", LargeBinary, nullable=False),
    Column("previous_refresh_hash", LargeBinary),
    _time("previous_refresh_time", optional=True),
    Column("successor_sealed", LargeBinary),
    CheckConstraint(
        "end_reason in ('revoked', 'expired', 'refresh_token_reused', 'credential_changed', 'account_disabled')",
        name="sessions_end_reason",
    ),
    CheckConstraint("(end_time is null) = (end_reason is null)", name="sessions_end"),
)
Index("sessions_by_user", sessions.c.user_id, sessions.c.session_id)
Index("sessions_living_by_user", sessions.c.user_id, postgresql_where=text("end_time is null"))

# How many sign-ins have failed lately, for each account, source address and known device, and in all: throttle.py. The
# key is a keyed hash, so that neither identifiers nor addresses stand here. `debt_time` is when the last one counted
# will be forgotten, `free_time` when the next one is let through. `pending` are those whose passwords are being
# checked; of whom nothing was heard until `lease_time`, the server is gone.
# Not in the write-ahead log: nobody waits for the disk while others wait for a row, and what a crash takes is a count.
sign_in_counters = Table(
    "sign_in_counters",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    _time("debt_time"),
    _time("free_time"),
    Column("pending", Integer, nullable=False),
    _time("lease_time"),
    prefixes=["UNLOGGED"],
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("private_key_sealed", LargeBinary, nullable=False),
    _time("create_time"),
    _time("activate_time"),
    _time("retire_time", optional=True),
    _time("revoke_time", optional=True),
)

# The one log (DESIGN.md sections 2 and 3): what the feed, the audit and the outbox read. Written in the same
# transaction as the change, never changed after. `xid` is the transaction's own id; its order is not the
# order of commits, and the rule of horizons (DESIGN.md section 2) is what makes that safe.
events = Table(
    "events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    _time("event_time"),
    Column("type", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("intermediary", Text),
    Column("organization", Text),
    Column("objects", ARRAY(Text), nullable=False),
    Column("nodes", ARRAY(BigInteger), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    # Whose key seals `personal_sealed`; none: the server's own.
    Column("person_id", Uuid),
    Column("personal_sealed", LargeBinary),
    CheckConstraint("outcome in ('success', 'failure')", name="events_outcome"),
)
Index("events_by_xid", events.c.xid)
# For what tokens depend on (watched.py): few events, among any number of changes of relationships.
Index(
    "events_of_tokens",
    events.c.xid,
    postgresql_where=text("nodes <> '{}' AND type NOT IN ('relationships-changed', 'permission-model-written')"),
)

# The first answers to mutations, for retries. The key is a hash, the answer is sealed under a key made from
# the request id, which is kept nowhere: who reads the database reads no answer.
answers = Table(
    "answers",
    metadata,
    Column("request_key", LargeBinary, primary_key=True),
    Column("request_mac", LargeBinary, nullable=False),
    Column("answer_sealed", LargeBinary, nullable=False),
    _time("create_time"),
    # Set if the answer was sealed before its transaction had an id: its revision is made of this one then.
    Column("xid", Xid8),
)
Index("answers_by_create_time", answers.c.create_time)


def _name(name: str) -> Column[str]:
    # Names are compared byte for byte: faster than by a language's rules, and a prefix of them is a range.
    return Column(name, Text(collation="C"), nullable=False)


# Who has which relation to what: `subject` alone, or with `subject_relation` all who have that relation to it. About
# 200 bytes each with all indexes, which is why there is no id and no time here; the log knows both.
relationships = Table(
    "relationships",
    metadata,
    _name("object"),
    _name("relation"),
    _name("subject"),
    Column("subject_relation", Text(collation="C"), nullable=False, server_default=""),
    Column("condition", Text),
    Column("context", JSONB),
    _time("expire_time", optional=True),
    # In this order the sets at a node are a range by themselves, however many single subjects there are.
    PrimaryKeyConstraint("object", "relation", "subject_relation", "subject", name="relationships_pkey"),
)
_r = relationships.c
# From subjects to objects, for lists of these.
Index("relationships_by_subject", _r.subject, _r.subject_relation, _r.relation, _r.object)

# Never changed. The one in force is the one with the highest sequence; none at all: the starter model.
permission_models = Table(
    "permission_models",
    metadata,
    Column("model_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    Column("openfga_json", Text, nullable=False),
    _time("create_time"),
)
Index("permission_models_by_sequence", permission_models.c.sequence, unique=True)

# The further pages of long lists of objects and subjects: computed at once, at one snapshot, and kept for minutes.
# Not in the write-ahead log: what a crash takes is a list that can be asked for again.
list_pages = Table(
    "list_pages",
    metadata,
    Column("list_id", Uuid, nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    _time("create_time"),
    PrimaryKeyConstraint("list_id", "number", name="list_pages_pkey"),
    prefixes=["UNLOGGED"],
)
Index("list_pages_by_create_time", list_pages.c.create_time)

organizations = Table(
    "organizations",
    metadata,
    Column("organization_id", Text(collation="C"), primary_key=True),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _time("create_time"),
    _time("update_time"),
    _time("delete_time", optional=True),
    CheckConstraint("status in ('active', 'deleted')", name="organizations_status"),
)

groups = Table(
    "groups",
    metadata,
    Column("group_id", Text(collation="C"), primary_key=True),
    Column(
        "organization_id",
        Text(collation="C"),
        ForeignKey("organizations.organization_id", name="groups_organization"),
        nullable=False,
    ),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    _time("create_time"),
    _time("update_time"),
    _time("delete_time", optional=True),
    CheckConstraint("status in ('active', 'deleted')", name="groups_status"),
)
Index("groups_by_organization", groups.c.organization_id, groups.c.group_id)

# Of an invitation's token only a hash is kept; whom it was meant for, until it ends.
invitations = Table(
    "invitations",
    metadata,
    Column("invitation_id", Uuid, primary_key=True),
    Column(
        "organization_id",
        Text(collation="C"),
        ForeignKey("organizations.organization_id", name="invitations_organization"),
        nullable=False,
    ),
    Column("role", Text, nullable=False),
    Column("email", Text, nullable=False, server_default=""),
    Column("token_hash", LargeBinary, nullable=False),
    _time("create_time"),
    _time("expire_time"),
    _time("end_time", optional=True),
)
Index("invitations_by_token", invitations.c.token_hash, unique=True)
Index("invitations_by_organization", invitations.c.organization_id, invitations.c.invitation_id)
