"""Open the database that the configuration names: in the data folder, or on a server with a password from a file."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from gateway.config import Config
from gateway.domain.errors import ConfigurationError, StorageUnavailable
from gateway.services.password_file import read_password
from gateway.store.database import Database


def open_database(config: Config, data: Path) -> Database:
    """Return the database of a gateway; nothing is connected to before it is used.

    Parameters
    ----------
    config : Config
        Its configuration.
    data : Path
        Its data folder.

    Raises
    ------
    ConfigurationError
        If database.url or the password file cannot be used.
    """
    if not config.database.url:
        return Database.in_folder(data)
    try:
        url = make_url(config.database.url)
    except ArgumentError:
        raise ConfigurationError("database.url cannot be read: postgresql+psycopg://USER@HOST/DATABASE") from None
    password = read_password(config.database.password_file, "the database")
    return Database(url.set(password=password) if password else url)


def has_database(config: Config, data: Path) -> bool:
    """Whether a gateway has made its database already; one that cannot be asked is taken as there.

    Raises
    ------
    ConfigurationError
        As `open_database`.
    """
    if not config.database.url:
        return (data / "overread.sqlite").is_file()
    database = open_database(config, data)
    try:
        return database.has_tables()
    except StorageUnavailable:
        return True
    finally:
        database.close()
