# ruff: noqa: INP001 - Alembic loads it by its path
"""Counters of failed sign-ins."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sign_in_counters",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("debt_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("free_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pending", sa.Integer, nullable=False),
        sa.Column("lease_time", sa.DateTime(timezone=True), nullable=False),
        prefixes=["UNLOGGED"],
    )
