"""Sessions on the database: one way to read, one way to write.

SQLite runs in WAL mode with synchronous=FULL: a committed row survives a crash. Writers take the write lock when they
begin (BEGIN IMMEDIATE), so two writers never deadlock on an upgrade; readers never block and are never blocked. What
the receive journal holds is written beside this, see `journaled_rows`. PostgreSQL behaves alike: writers take an
advisory lock when they begin, since the audit chain and the lifecycles are written for one writer at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from gateway.domain.errors import ConfigurationError, StorageFull, StorageUnavailable

#: How long a writer waits for the write lock, seconds.
BUSY_TIMEOUT_S = 30
#: Advisory locks of PostgreSQL: of whoever writes, and of the gateway that uses the database.
_WRITER_LOCK = 7311
_GATEWAY_LOCK = 7312


class Database:
    """The database of one gateway.

    Parameters
    ----------
    url : str or URL
        SQLAlchemy URL, ``sqlite:///...`` or ``postgresql+psycopg://...``.

    Raises
    ------
    ConfigurationError
        If it is no URL, or its driver is not installed.
    """

    def __init__(self, url: str | URL) -> None:
        self.engine, self._is_sqlite = _engine(url)
        self._writer = self.engine.execution_options(overread_begin="BEGIN IMMEDIATE")
        if self._is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @classmethod
    def in_folder(cls, folder: Path) -> Database:
        """Open the SQLite database ``overread.sqlite`` in `folder`."""
        return cls(f"sqlite:///{folder / 'overread.sqlite'}")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that only reads."""
        with _named_errors(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session in one transaction: committed at the end, rolled back on any exception."""
        with _named_errors(), Session(self._writer, expire_on_commit=False) as session:
            if not self._is_sqlite:
                session.execute(text(f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'"))
                session.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))
            yield session
            session.commit()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other gateways off a database on a server; one in the data folder is kept by the lock of the folder.

        Raises
        ------
        StorageUnavailable
            ``DATABASE_IN_USE`` if another gateway uses it.
        """
        if self._is_sqlite:
            yield
            return
        with _named_errors(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if not connection.scalar(text(f"SELECT pg_try_advisory_lock({_GATEWAY_LOCK})")):
                raise StorageUnavailable("another gateway uses this database", code="DATABASE_IN_USE")
            try:
                yield
            finally:
                # The end of the connection gives the lock back too: of a crash, or of a server that was restarted.
                with suppress(DatabaseError):
                    connection.scalar(text(f"SELECT pg_advisory_unlock({_GATEWAY_LOCK})"))

    @property
    def can_be_journaled(self) -> bool:
        """Whether rows may be made durable later, by `sync`."""
        return self._is_sqlite

    def connect_journaled(self) -> sqlite3.Connection:
        """Return a connection on the driver itself, whose commits are not synced; SQLite only."""
        connection = sqlite3.connect(
            str(self.engine.url.database), timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        # The checkpoints of the log are left to `sync`; 8 MB hold the inner pages of the indexes of a large store.
        for pragma in ("synchronous=NORMAL", "wal_autocheckpoint=0", "foreign_keys=ON", "cache_size=-8192"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def sync(self) -> None:
        """Make every committed row durable, and keep the log of SQLite short.

        Raises
        ------
        OSError
            If the disk fails.
        StorageFull, StorageUnavailable
            If the database does.
        """
        # Without a log every row is in the database file, and was synced before the log went.
        with suppress(FileNotFoundError):
            descriptor = os.open(f"{self.engine.url.database}-wal", os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
        with _named_errors(), self.engine.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
            cursor.close()

    def has_tables(self) -> bool:
        """Whether the schema was ever made.

        Raises
        ------
        StorageUnavailable
            If the database cannot be asked.
        """
        with _named_errors():
            return inspect(self.engine).has_table("audit_event")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn the driver's errors into ours; the driver's whole message may quote values, so it stays here."""
    try:
        yield
    except IntegrityError:
        # Somebody else was first: the caller looks again.
        raise
    except DatabaseError as error:
        raise named_driver_error(str(error.orig)) from error


def named_driver_error(cause: str) -> StorageFull | StorageUnavailable:
    """Return our error for a message of the driver."""
    if "full" in cause or "No space left" in cause:
        return StorageFull("the disk that holds the database is full: free some space")
    if "locked" in cause or "lock timeout" in cause:
        return StorageUnavailable(f"the database stayed locked for {BUSY_TIMEOUT_S} s by another process")
    return StorageUnavailable(f"the database refused: {cause.splitlines()[0][:120]}")


def _engine(url: str | URL) -> tuple[Engine, bool]:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            arguments = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}
            return create_engine(parsed, connect_args=arguments, pool_size=16, max_overflow=32), True
        # A server may be restarted: connections that it has closed are not used again.
        return create_engine(parsed, pool_size=16, max_overflow=32, pool_pre_ping=True), False
    except ArgumentError:
        raise ConfigurationError("database.url cannot be read: postgresql+psycopg://USER@HOST/DATABASE") from None
    except ModuleNotFoundError as missing:
        message = f"database.url needs the driver '{missing.name}': install overread[postgres]"
        raise ConfigurationError(message) from None


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("overread_begin", "BEGIN"))


def _configure_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # The driver's own transaction control would begin late and deferred; SQLAlchemy and `write` decide instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
