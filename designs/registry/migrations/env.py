"""Alembic's entry: it migrates over the connection it is given, in the transaction already begun.

That transaction holds the write lock (``BEGIN IMMEDIATE`` on SQLite, an advisory lock on
PostgreSQL), so a migration that fails, or whose process is killed, leaves the tables as they were.
"""

from __future__ import annotations

from alembic import context

from designs.registry.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
