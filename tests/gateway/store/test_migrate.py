"""A database made by the migrations is the one the tables describe, and a second upgrade changes nothing."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel

import gateway.store.tables  # noqa: F401 - fills the metadata
from gateway.store.database import Database
from gateway.store.migrate import upgrade


def test_the_migrated_schema_is_what_the_tables_say(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    upgrade(database)
    upgrade(database)
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    database.close()
    assert differences == []
