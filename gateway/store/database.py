"""Sessions on the database: one way to read, one way to write.

SQLite runs in WAL mode with synchronous=FULL: a committed row survives a crash. Writers take the write lock when they
begin (BEGIN IMMEDIATE), so two writers never deadlock on an upgrade; readers never block and are never blocked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from gateway.domain.errors import StorageFull, StorageUnavailable

#: How long a writer waits for the write lock, seconds.
BUSY_TIMEOUT_S = 30


class Database:
    """The database of one gateway.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, ``sqlite:///...`` or ``postgresql+psycopg://...``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._is_sqlite = url.startswith("sqlite")
        connect_args = {"timeout": BUSY_TIMEOUT_S, "check_same_thread": False} if self._is_sqlite else {}
        self.engine: Engine = create_engine(url, connect_args=connect_args, pool_size=16, max_overflow=32)
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
            yield session
            session.commit()

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
        cause = str(error.orig)
        if "full" in cause:
            raise StorageFull("the disk that holds the database is full: free some space") from None
        if "locked" in cause:
            raise StorageUnavailable(f"the database stayed locked for {BUSY_TIMEOUT_S} s by another process") from None
        raise StorageUnavailable(f"the database refused: {cause.splitlines()[0][:120]}") from error


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("overread_begin", "BEGIN"))


def _configure_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # The driver's own transaction control would begin late and deferred; SQLAlchemy and `write` decide instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_S * 1000}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
