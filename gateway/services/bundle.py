"""The results bundle: every output of a case in one zip, with a manifest and hashes; taking it sets the assignee."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from sqlmodel import Session, col, select

from gateway.domain.errors import NotFound
from gateway.services.assign import take
from gateway.store import audit
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Case, Edit, Instance, Iteration, IterationOutput, Output

#: Zip entries carry no time, so that equal bundles are equal bytes.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """One file of a bundle, as its manifest names it; `current` means it belongs to the current iteration."""

    name: str
    kind: str
    stage: str
    generation: int
    iteration: int
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    size: int
    current: bool


def write_bundle(
    database: Database, blobs: BlobStore, target: BinaryIO, *, case_id: str, taker: str, at: datetime
) -> tuple[BundledFile, ...]:
    """Write the bundle of a case to `target` and make `taker` its QC assignee.

    Every output ever made is in it, accepted edits as received too, by iteration; ``manifest.json`` describes them and
    ``SHA256SUMS`` verifies with ``sha256sum -c``. Names inside are free of patient data.

    Raises
    ------
    NotFound
        If there is no such case, or it has no outputs yet.
    """
    with database.read() as session:
        case = session.get(Case, case_id)
        if case is None:
            raise NotFound("there is no case with this id")
        files = _outputs(session, case) + _edits(session, blobs, case)
        manifest = _manifest(session, case, files, at)
    if not any(file.kind != "EDIT" for file in files):
        raise NotFound("this case has no outputs yet")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in files:
            _add_file(archive, file.name, blobs.path(file.sha256))
        text = json.dumps(manifest, indent=2, ensure_ascii=True) + "\n"
        archive.writestr(zipfile.ZipInfo("manifest.json", _NO_TIME), text)
        sums = "".join(f"{file.sha256}  {file.name}\n" for file in files)
        archive.writestr(zipfile.ZipInfo("SHA256SUMS", _NO_TIME), sums)
    take(database, case_id=case_id, taker=taker, act="BUNDLE", at=at)
    return files


def _add_file(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.file_size = path.stat().st_size
    with archive.open(entry, "w", force_zip64=True) as inside, path.open("rb") as outside:
        while chunk := outside.read(1 << 20):
            inside.write(chunk)


def _outputs(session: Session, case: Case) -> tuple[BundledFile, ...]:
    rows = session.exec(
        select(Output)
        .where(Output.case_id == case.id)
        .order_by(
            col(Output.generation), col(Output.iteration), col(Output.kind), col(Output.stage), col(Output.made_at)
        )
    ).all()
    current = set(
        session.exec(
            select(IterationOutput.sop_instance_uid).where(
                IterationOutput.case_id == case.id,
                IterationOutput.generation == case.generation,
                IterationOutput.iteration == case.iteration,
            )
        )
    )
    taken: set[str] = set()
    return tuple(
        BundledFile(
            name=_unique(f"g{row.generation}-i{row.iteration}/{row.kind}{f'-{row.stage}' if row.stage else ''}", taken),
            kind=row.kind,
            stage=row.stage,
            generation=row.generation,
            iteration=row.iteration,
            sop_class_uid=row.sop_class_uid,
            sop_instance_uid=row.sop_instance_uid,
            sha256=row.sha256,
            size=row.size,
            current=row.sop_instance_uid in current,
        )
        for row in rows
    )


def _edits(session: Session, blobs: BlobStore, case: Case) -> tuple[BundledFile, ...]:
    edits = session.exec(select(Edit).where(Edit.case_id == case.id).order_by(col(Edit.id))).all()
    taken: set[str] = set()
    found = []
    for edit in edits:
        stem = f"g{edit.generation}-i{edit.iteration}/EDIT-{edit.stage}"
        # An edit that came in parts is several objects; a label map that was handed in as a file is none.
        for uid in (edit.sop_instance_uid, *edit.parts):
            instance = session.get(Instance, uid)
            sha256 = instance.sha256 if instance else edit.received_sha256
            if not sha256:
                continue
            path = blobs.path(sha256)
            found.append(
                BundledFile(
                    name=_unique(stem, taken, suffix="dcm" if instance else _label_map_suffix(path)),
                    kind="EDIT",
                    stage=edit.stage,
                    generation=edit.generation,
                    iteration=edit.iteration,
                    sop_class_uid=instance.sop_class_uid if instance else "",
                    sop_instance_uid=uid,
                    sha256=sha256,
                    size=path.stat().st_size,
                    current=False,
                )
            )
    return tuple(found)


def _label_map_suffix(path: Path) -> str:
    with path.open("rb") as file:
        return "nii.gz" if file.read(2) == b"\x1f\x8b" else "nii"


def _unique(stem: str, taken: set[str], *, suffix: str = "dcm") -> str:
    safe = "".join(c if c.isalnum() or c in "-_/." else "_" for c in stem)
    name, number = f"{safe}.{suffix}", 2
    while name in taken:
        name, number = f"{safe}-{number}.{suffix}", number + 1
    taken.add(name)
    return name


def _manifest(session: Session, case: Case, files: tuple[BundledFile, ...], at: datetime) -> dict[str, object]:
    iterations = session.exec(
        select(Iteration).where(Iteration.case_id == case.id).order_by(col(Iteration.generation), col(Iteration.number))
    ).all()
    return {
        "format": "overread-bundle-1",
        "case_id": case.id,
        "study_instance_uid": case.study_instance_uid,
        "pipeline": case.pipeline,
        "pipeline_version": case.pipeline_version,
        "generation": case.generation,
        "iteration": case.iteration,
        "state": case.state,
        "qc_status": case.qc_status,
        "taken_at": at.isoformat(),
        "audit_head": audit.head(session),
        "iterations": [
            {
                "generation": row.generation,
                "iteration": row.number,
                "cause": row.cause,
                "verdict": row.verdict,
                "qc_status": row.qc_status,
                "qc_by": row.qc_by,
            }
            for row in iterations
        ],
        "files": [
            {
                "name": file.name,
                "kind": file.kind,
                "stage": file.stage,
                "generation": file.generation,
                "iteration": file.iteration,
                "sop_class_uid": file.sop_class_uid,
                "sop_instance_uid": file.sop_instance_uid,
                "sha256": file.sha256,
                "size": file.size,
                "current": file.current,
            }
            for file in files
        ],
    }
