# ruff: noqa: INP001 - Alembic loads it by its path
"""A row that a crash of PostgreSQL loses, so that it is noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the row."""
    op.create_table(
        "crash_mark",
        sa.Column("only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.CheckConstraint('"only"', name="crash_mark_is_one_row"),
        prefixes=["UNLOGGED"],
    )
    op.execute("INSERT INTO crash_mark DEFAULT VALUES")
