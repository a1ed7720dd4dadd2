"""Alembic's entry point. The connection, and the transaction around all steps, belong to the caller."""

from __future__ import annotations

from alembic import context

from sessions_server.storage.migrations import VERSION_TABLE
from sessions_server.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
