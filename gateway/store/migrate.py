"""Bring the database to the schema of this version, by alembic; a new database is made the same way."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig

from gateway.store.database import Database

_SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(database: Database) -> None:
    """Run every migration the database has not seen; each in its own transaction."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(_SCRIPTS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
