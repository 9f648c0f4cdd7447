# ruff: noqa: INP001 - Alembic loads it by its path
"""Where the database's history comes from, so that a restore is noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; the first server that connects fills them."""
    op.add_column("deployment", sa.Column("system_identifier", sa.BigInteger))
    op.add_column("deployment", sa.Column("timeline_id", sa.Integer))
