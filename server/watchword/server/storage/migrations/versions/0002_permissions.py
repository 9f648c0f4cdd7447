# ruff: noqa: INP001 - Alembic loads it by its path
"""Relationships, permission models, organizations and groups."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from watchword.server.storage.tables import Xid8

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; let answers be sealed before their transaction has an id."""
    op.add_column("answers", sa.Column("xid", Xid8))
    _permissions()
    _organizations()


def _time(name: str, *, optional: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=optional)


def _name(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(collation="C"), nullable=False, **options)


def _permissions() -> None:
    op.create_table(
        "relationships",
        _name("object"),
        _name("relation"),
        _name("subject"),
        _name("subject_relation", server_default=""),
        sa.Column("condition", sa.Text),
        sa.Column("context", JSONB),
        _time("expire_time", optional=True),
        sa.PrimaryKeyConstraint("object", "relation", "subject_relation", "subject", name="relationships_pkey"),
    )
    op.create_index("relationships_by_subject", "relationships", ["subject", "subject_relation", "relation", "object"])
    op.create_table(
        "permission_models",
        sa.Column("model_id", sa.Uuid, primary_key=True),
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("openfga_json", sa.Text, nullable=False),
        _time("create_time"),
    )
    op.create_index("permission_models_by_sequence", "permission_models", ["sequence"], unique=True)
    op.create_table(
        "list_pages",
        sa.Column("list_id", sa.Uuid, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        _time("create_time"),
        sa.PrimaryKeyConstraint("list_id", "number", name="list_pages_pkey"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("list_pages_by_create_time", "list_pages", ["create_time"])


def _organizations() -> None:
    op.create_table(
        "organizations",
        _name("organization_id", primary_key=True),
        sa.Column("display_name", sa.Text, nullable=False, server_default=""),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        _time("create_time"),
        _time("update_time"),
        _time("delete_time", optional=True),
        sa.CheckConstraint("status in ('active', 'deleted')", name="organizations_status"),
    )
    op.create_table(
        "groups",
        _name("group_id", primary_key=True),
        sa.Column(
            "organization_id",
            sa.Text(collation="C"),
            sa.ForeignKey("organizations.organization_id", name="groups_organization"),
            nullable=False,
        ),
        sa.Column("display_name", sa.Text, nullable=False, server_default=""),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default=sa.text("1")),
        _time("create_time"),
        _time("update_time"),
        _time("delete_time", optional=True),
        sa.CheckConstraint("status in ('active', 'deleted')", name="groups_status"),
    )
    op.create_index("groups_by_organization", "groups", ["organization_id", "group_id"])
    op.create_table(
        "invitations",
        sa.Column("invitation_id", sa.Uuid, primary_key=True),
        sa.Column(
            "organization_id",
            sa.Text(collation="C"),
            sa.ForeignKey("organizations.organization_id", name="invitations_organization"),
            nullable=False,
        ),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False, server_default=""),
        sa.Column("token_hash", sa.LargeBinary, nullable=False),
        _time("create_time"),
        _time("expire_time"),
        _time("end_time", optional=True),
    )
    op.create_index("invitations_by_token", "invitations", ["token_hash"], unique=True)
    op.create_index("invitations_by_organization", "invitations", ["organization_id", "invitation_id"])
