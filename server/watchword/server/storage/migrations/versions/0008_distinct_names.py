# ruff: noqa: INP001 - Alembic loads it by its path
"""PostgreSQL takes it that names differ, whatever the relationships of the moment when it counted them.

Where one subject stood in nearly all of them (everybody, or an organization's members), it took the index from subjects
for one that finds an object as well: there is but one subject to skip (PostgreSQL 18). Checks that began then took
seconds, as plans are kept. Many different names are what these statements are made for.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Say so, and count anew."""
    for column in ("object", "subject"):
        op.execute(f"ALTER TABLE relationships ALTER COLUMN {column} SET (n_distinct = 1000000)")
    op.execute("ANALYZE relationships")
