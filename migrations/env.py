"""Alembic runs this to make revisions happen, on the connection that `worker.store.migrate` hands it."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from worker.store import tables  # noqa: F401 (loading it defines the tables)

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
