# ruff: noqa: INP001 - Alembic loads it by its path
"""What Alembic runs to apply migrations, on the connection that `schema.migrate` hands it."""

from alembic import context

from watchword.server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # Each migration is whole or absent, and one may leave its transaction for CREATE INDEX CONCURRENTLY.
    transaction_per_migration=True,
    on_version_apply=context.config.attributes["on_version_apply"],
)
with context.begin_transaction():
    context.run_migrations()
