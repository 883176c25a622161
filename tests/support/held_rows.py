"""A database that holds many instances already, made of rows alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert
from sqlmodel import SQLModel

from dicom_sr.uids import derive_uid
from gateway.domain.instance import InstanceKind
from gateway.store.database import Database
from gateway.store.tables import Instance, Series, Study
from tests.support.instances import EXPLICIT, MR

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Instances of each study.
OF_A_STUDY = 200


def fill_with_rows(folder: Path, instances: int) -> None:
    """Lay a database in `folder` with so many instances, without their files."""
    database = Database.in_folder(folder)
    SQLModel.metadata.create_all(database.engine)
    table = SQLModel.metadata.tables["instance"]
    for index in table.indexes:
        index.drop(database.engine)
    with database.write() as session:
        for number in range(instances // OF_A_STUDY):
            study, series = derive_uid("held study", number), derive_uid("held series", number)
            session.add(
                Study(study_instance_uid=study, first_received_at=NOW, last_received_at=NOW, revision=OF_A_STUDY)
            )
            session.flush()
            session.add(Series(series_instance_uid=series, study_instance_uid=study, modality="MR"))
            session.flush()
            session.connection().execute(insert(table), list(_rows(study, series, number)))
            session.expunge_all()
    for index in table.indexes:
        index.create(database.engine)
    database.close()


def _rows(study: str, series: str, number: int) -> Iterator[dict[str, object]]:
    for place in range(OF_A_STUDY):
        sha256 = hashlib.sha256(f"{number} {place}".encode()).hexdigest()
        yield Instance(
            sop_instance_uid=f"2.25.{int(sha256[:30], 16)}",
            series_instance_uid=series,
            study_instance_uid=study,
            sop_class_uid=MR,
            transfer_syntax_uid=EXPLICIT,
            sha256=sha256,
            size=1000,
            kind=InstanceKind.IMAGE,
            instance_number=str(place),
            received_at=NOW,
            door="dicom",
            sender="HELD",
        ).model_dump()
