"""Alembic's environment: runs the migrations on the connection that `store.migrate` passes in."""

from alembic import context
from sqlmodel import SQLModel

import gateway.store.tables  # noqa: F401 - fills the metadata that autogenerate compares with

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
