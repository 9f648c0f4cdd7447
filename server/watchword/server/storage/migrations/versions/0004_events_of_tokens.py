# ruff: noqa: INP001 - Alembic loads it by its path
"""An index of the events that tokens depend on, which each Watch stream begins with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index, while servers write events."""
    with op.get_context().autocommit_block():
        # An attempt that was broken off leaves one that is not valid.
        op.drop_index("events_of_tokens", "events", if_exists=True, postgresql_concurrently=True)
        op.create_index(
            "events_of_tokens",
            "events",
            ["xid"],
            postgresql_where=sa.text(
                "nodes <> '{}' AND type NOT IN ('relationships-changed', 'permission-model-written')"
            ),
            postgresql_concurrently=True,
        )
