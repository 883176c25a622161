"""Which rows name a blob: read from the tables themselves, so that a new column that names blobs is never forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Column as TableColumn
from sqlalchemy import ColumnElement, exists
from sqlalchemy import select as sql_select
from sqlalchemy.orm import Mapped
from sqlmodel import Session, SQLModel, col, select

from gateway.store.tables import Instance, Iteration, PurgedBlob

_AT_A_TIME = 10_000


def blob_columns() -> Sequence[TableColumn[str]]:
    """Return every column that names a blob: those called ``sha256`` or ``..._sha256``, but of what is purged."""
    return tuple(
        column
        for table in SQLModel.metadata.sorted_tables
        for column in table.columns
        if column.name.endswith("sha256") and table.name != PurgedBlob.__tablename__
    )


def named_blobs(session: Session) -> Iterator[tuple[str, str]]:
    """Yield every SHA-256 (hex) that a row names, with the name of its table; those named often come often."""
    for column in blob_columns():
        query = sql_select(column).where(column != "").execution_options(yield_per=_AT_A_TIME)
        for (sha256,) in session.connection().execute(query):
            yield sha256, column.table.name
    for inputs in session.exec(select(Iteration.inputs).execution_options(yield_per=_AT_A_TIME)):
        yield from ((item["sha256"], str(Iteration.__tablename__)) for item in inputs if item.get("sha256"))


def purged_blobs(session: Session) -> frozenset[str]:
    """Return the SHA-256 (hex) of every blob that retention took off the disk."""
    return frozenset(session.exec(select(PurgedBlob.sha256)))


def purged_series(session: Session, study_instance_uid: str) -> frozenset[str]:
    """Return the series of a study of which retention took an instance off the disk: no volume can be made of them."""
    query = select(Instance.series_instance_uid).where(
        Instance.study_instance_uid == study_instance_uid, ~is_offered(col(Instance.sha256))
    )
    return frozenset(session.exec(query.distinct()))


def is_offered(column: Mapped[str]) -> ColumnElement[bool]:
    """Return the condition that the blob of a row is not purged."""
    return ~exists().where(col(PurgedBlob.sha256) == column)
