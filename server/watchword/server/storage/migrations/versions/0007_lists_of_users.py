# ruff: noqa: INP001 - Alembic loads it by its path
"""Indexes by which lists of users stay as fast, whatever is asked for and however many users there are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes, while servers write users; the one that they replace goes last."""
    with op.get_context().autocommit_block():
        # An attempt that was broken off leaves one that is not valid.
        for name in ("users_by_creation", "users_by_email"):
            op.drop_index(name, "users", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "users_by_creation", "users", ["status", "create_time", "user_id"], postgresql_concurrently=True
        )
        op.create_index(
            "users_by_email", "users", ["status", sa.text('email_key COLLATE "C"')], postgresql_concurrently=True
        )
        op.drop_index("users_email_prefix", "users", if_exists=True, postgresql_concurrently=True)
