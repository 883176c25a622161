"""Rows that the receive journal holds too: written on SQLite's own driver, visible at once, synced later.

One connection with synchronous=NORMAL, and statements that are compiled once: a row for every image of every study is
worth not passing through an object mapper. SQLite's log is one file that is synced from its beginning, so what is
written here is durable after `Database.sync`, or after any full commit of anybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from gateway.store.database import Database, named_driver_error


class Prepared:
    """A statement compiled for the driver.

    Parameters
    ----------
    statement : Executable
        Whose parameters are all bound by name.
    """

    def __init__(self, statement: Executable) -> None:
        assert isinstance(statement, ClauseElement)
        dialect = sqlite.dialect()
        compiled = statement.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        self.sql = str(compiled)
        self._constants = compiled.params
        self._names = tuple(compiled.positiontup or ())
        processors = (compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect) for name in self._names)
        #: By place; times and members of enumerations come again and again.
        self._processors: list[tuple[int, Callable[[Any], Any]]] = [
            (place, lru_cache(maxsize=64)(processor)) for place, processor in enumerate(processors) if processor
        ]

    def values(self, given: Mapping[str, object]) -> list[object]:
        """Return the values of a call in the driver's order and form."""
        values = [given[name] if name in given else self._constants[name] for name in self._names]
        for place, processor in self._processors:
            values[place] = processor(values[place])
        return values


class JournaledTransaction:
    """A transaction on the driver.

    Parameters
    ----------
    cursor : sqlite3.Cursor
        Of a connection that is in a transaction.
    """

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def run(self, statement: Prepared, given: Mapping[str, object]) -> tuple[Any, ...] | None:
        """Run a statement; return its first row, if any."""
        row: tuple[Any, ...] | None = self._cursor.execute(statement.sql, statement.values(given)).fetchone()
        return row

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Undo what is done inside if it raises, and only that."""
        self._cursor.execute("SAVEPOINT one_of_many")
        try:
            yield
        except BaseException:
            self._cursor.execute("ROLLBACK TO one_of_many")
            raise
        finally:
            self._cursor.execute("RELEASE one_of_many")


class JournaledRows:
    """The connection; one transaction at a time.

    Parameters
    ----------
    database : Database
        SQLite.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def write(self) -> Iterator[JournaledTransaction]:
        """Yield a transaction: committed at the end without a sync, rolled back on any exception.

        Raises
        ------
        StorageFull, StorageUnavailable
            If the database fails.
        sqlite3.IntegrityError
            If a row is there already, or the one it belongs to is not.
        """
        try:
            connection = self._connection = self._connection or self._database.connect_journaled()
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield JournaledTransaction(cursor)
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise named_driver_error(str(error)) from None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
