# ruff: noqa: INP001 - Alembic loads it by its path
"""The first schema: accounts, credentials, sessions, signing keys and the event log."""

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects.postgresql import JSONB

from watchword.server.storage.tables import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables, and the one row that tells this database's history from others."""
    _accounts()
    _credentials()
    _log()


def _time(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=optional)


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _accounts() -> None:
    deployment = op.create_table(
        "deployment",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("epoch", sa.Text, nullable=False),
        _time("bootstrap_time", optional=True),
        sa.CheckConstraint('"only"', name="deployment_is_one_row"),
    )
    op.bulk_insert(deployment, [{"epoch": context.config.attributes["epoch"]}])
    op.create_table(
        "users",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.Text),
        sa.Column("email_key", sa.Text),
        sa.Column("username", sa.Text),
        sa.Column("username_key", sa.Text),
        _text("display_name"),
        _text("locale"),
        sa.Column("external_id", sa.Text),
        sa.Column("attributes", JSONB, nullable=False, server_default=sa.text("'{}'")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        _time("create_time"),
        _time("update_time"),
        _time("delete_time", optional=True),
        sa.CheckConstraint("status in ('active', 'suspended', 'deleted')", name="users_status"),
    )
    op.create_index("users_email", "users", ["email_key"], unique=True)
    op.create_index("users_username", "users", ["username_key"], unique=True)
    op.create_index("users_external_id", "users", ["external_id"], unique=True)
    op.create_index("users_email_prefix", "users", ["email_key"], postgresql_ops={"email_key": "text_pattern_ops"})
    op.create_table(
        "person_keys",
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.user_id", name="person_keys_user"), primary_key=True),
        sa.Column("key_sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "service_accounts",
        sa.Column("service_account_id", sa.Text, primary_key=True),
        _text("display_name"),
        _text("description"),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        _time("create_time"),
        _time("update_time"),
        _time("delete_time", optional=True),
        sa.CheckConstraint("status in ('active', 'suspended', 'deleted')", name="service_accounts_status"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Uuid, primary_key=True),
        sa.Column(
            "service_account_id",
            sa.Text,
            sa.ForeignKey("service_accounts.service_account_id", name="api_keys_service_account"),
            nullable=False,
        ),
        sa.Column("key_hash", sa.LargeBinary, nullable=False),
        _text("display_name"),
        sa.Column("permissions", sa.ARRAY(sa.Text), nullable=False),
        _time("create_time"),
        _time("expire_time", optional=True),
        _time("last_used_time", optional=True),
        _time("revoke_time", optional=True),
        sa.Column("successor_key_id", sa.Uuid),
    )
    op.create_index("api_keys_by_service_account", "api_keys", ["service_account_id", "key_id"])


def _credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("credential_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.user_id", name="credentials_user"), nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text),
        _time("create_time"),
        _time("update_time"),
        _time("last_used_time", optional=True),
        sa.CheckConstraint("kind in ('password')", name="credentials_kind"),
        sa.CheckConstraint("(kind = 'password') = (password_hash is not null)", name="credentials_password_hash"),
    )
    op.create_index("credentials_by_user", "credentials", ["user_id"])
    op.create_index(
        "credentials_one_password",
        "credentials",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'password'"),
    )
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.user_id", name="sessions_user"), nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        _text("device_name"),
        _text("user_agent"),
        _text("ip_address"),
        sa.Column("audiences", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("authentication_methods", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("authentication_level", sa.Text, nullable=False),
        _time("authentication_time"),
        _time("create_time"),
        _time("last_active_time"),
        _time("idle_expire_time"),
        _time("expire_time"),
        _time("end_time", optional=True),
        sa.Column("end_reason", sa.Text),
        sa.Column("refresh_generation", sa.Integer, nullable=False),
        sa.Column("refresh_hash", sa.LargeBinary, nullable=False),
        sa.Column("previous_refresh_hash", sa.LargeBinary),
        _time("previous_refresh_time", optional=True),
        sa.Column("successor_sealed", sa.LargeBinary),
        sa.CheckConstraint(
            "end_reason in ('revoked', 'expired', 'refresh_token_reused', 'credential_changed', 'account_disabled')",
            name="sessions_end_reason",
        ),
        sa.CheckConstraint("(end_time is null) = (end_reason is null)", name="sessions_end"),
    )
    op.create_index("sessions_by_user", "sessions", ["user_id", "session_id"])
    op.create_index("sessions_living_by_user", "sessions", ["user_id"], postgresql_where=sa.text("end_time is null"))
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text, primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("private_key_sealed", sa.LargeBinary, nullable=False),
        _time("create_time"),
        _time("activate_time"),
        _time("retire_time", optional=True),
        _time("revoke_time", optional=True),
    )


def _log() -> None:
    op.create_table(
        "events",
        sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        _time("event_time"),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("intermediary", sa.Text),
        sa.Column("organization", sa.Text),
        sa.Column("objects", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("nodes", sa.ARRAY(sa.BigInteger), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("person_id", sa.Uuid),
        sa.Column("personal_sealed", sa.LargeBinary),
        sa.CheckConstraint("outcome in ('success', 'failure')", name="events_outcome"),
    )
    op.create_index("events_by_xid", "events", ["xid"])
    op.create_table(
        "answers",
        sa.Column("request_key", sa.LargeBinary, primary_key=True),
        sa.Column("request_mac", sa.LargeBinary, nullable=False),
        sa.Column("answer_sealed", sa.LargeBinary, nullable=False),
        _time("create_time"),
    )
    op.create_index("answers_by_create_time", "answers", ["create_time"])
