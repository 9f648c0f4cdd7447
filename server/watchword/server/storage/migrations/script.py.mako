# ruff: noqa: INP001 - Alembic loads it by its path
"""${message}."""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Runs while servers of the version before serve: add, fill, and only a release later remove."""
    ${upgrades if upgrades else "pass"}
