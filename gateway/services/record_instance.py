"""The rows of a received instance: what is known of its UID, and the one transaction that records it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BindParameter, String, bindparam, cast, insert, literal, union_all, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, SQLModel, col, or_, select

from dicom_sr.uids import INSTANCE_CREATOR_UID
from gateway.domain.instance import EDIT_KINDS, SEGMENTATION_CLASSES, InstanceKind, classify
from gateway.services.arrival import Arrival, KeptBlob
from gateway.services.received_header import ReceivedHeader
from gateway.store import audit
from gateway.store.tables import Artifact, Hold, Instance, Output, Series, Study

SAME_UID_OTHER_BYTES = "SAME_UID_OTHER_BYTES"

_STUDY_ATTRIBUTES = (
    "patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "study_date",
    "study_time",
    "study_id",
    "study_description",
    "accession_number",
    "referring_physician_name",
)
_SERIES_ATTRIBUTES = (
    "modality",
    "series_number",
    "series_description",
    "body_part_examined",
    "frame_of_reference_uid",
)
_UID: BindParameter[str] = bindparam("uid")
_OUTPUT, _INSTANCE, _STUDY = (SQLModel.metadata.tables[name] for name in ("output", "instance", "study"))
KNOWN_VERSION = union_all(
    sql_select(
        _OUTPUT.c.sha256, literal(InstanceKind.OWN_OUTPUT.value).label("kind"), literal(1).label("is_output")
    ).where(_OUTPUT.c.sop_instance_uid == _UID),
    sql_select(_INSTANCE.c.sha256, cast(_INSTANCE.c.kind, String), literal(0)).where(
        _INSTANCE.c.sop_instance_uid == _UID
    ),
)
NEW_INSTANCE = insert(_INSTANCE)
NEW_IMAGE = (
    update(_STUDY)
    .where(_STUDY.c.study_instance_uid == _UID)
    .values(
        revision=_STUDY.c.revision + 1,
        last_received_at=bindparam("at"),
        calling_aet=bindparam("calling"),
        called_aet=bindparam("called"),
        peer_address=bindparam("address"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVersion:
    """What is kept under a SOP Instance UID.

    Parameters
    ----------
    sha256 : str
        Its blob.
    kind : InstanceKind
        What it is to us.
    is_output : bool
        Whether this gateway made it.
    """

    sha256: str
    kind: InstanceKind
    is_output: bool


def known_version(session: Session, sop_instance_uid: str) -> KnownVersion | None:
    """Return what is kept under a UID, None for a UID never seen."""
    found = session.connection().execute(KNOWN_VERSION, {"uid": sop_instance_uid}).first()
    if found is None:
        return None
    return KnownVersion(sha256=found.sha256, kind=InstanceKind(found.kind), is_output=bool(found.is_output))


def kind_of(header: ReceivedHeader) -> InstanceKind:
    """Classify an instance that is not one of this gateway's outputs.

    One that names our software as its creator was made by another installation, or before this data folder was laid:
    it is kept, and starts nothing, so that two gateways never feed each other. A segmentation is matched all the same:
    a viewer that copies every attribute of ours must not lose its edit, and an unknown one is held, never run.
    """
    is_segmentation = header.sop_class_uid in SEGMENTATION_CLASSES
    return classify(
        sop_class_uid=header.sop_class_uid,
        has_pixels=header.has_pixels,
        is_own=header.instance_creator_uid == INSTANCE_CREATOR_UID and not is_segmentation,
    )


def record_new(
    session: Session,
    arrival: Arrival,
    header: ReceivedHeader,
    blob: KeptBlob,
    *,
    at: datetime,
    is_known_series: bool,
) -> None:
    """Add the instance, and its study and series where they are new, in the caller's write transaction.

    Statements, not mapped objects: this runs for every image of every study, and costs a tenth so.
    """
    kind = kind_of(header)
    if not is_known_series:
        _record_study(session, arrival, header, at)
        _record_series(session, header)
    if kind is InstanceKind.IMAGE:
        session.connection().execute(NEW_IMAGE, {"uid": header.study_instance_uid, "at": at, **sender_of(arrival)})
    session.connection().execute(NEW_INSTANCE, instance_row(arrival, header, blob, kind=kind, at=at))
    if kind in EDIT_KINDS:
        audit.append(
            session,
            at=at,
            actor=arrival.sender,
            action="SEGMENTATION_RECEIVED" if kind is InstanceKind.EDITED_SEG else "CONTOURS_RECEIVED",
            subject=header.sop_instance_uid,
            detail={"door": str(arrival.door), "sha256": blob.sha256},
        )


def record_conflict(
    session: Session, arrival: Arrival, header: ReceivedHeader, blob: KeptBlob, *, at: datetime
) -> None:
    """Put other content under a known UID on hold, once, in the caller's write transaction."""
    before = session.exec(
        select(Hold).where(Hold.sop_instance_uid == header.sop_instance_uid, Hold.sha256 == blob.sha256)
    ).first()
    if before is not None:
        return
    detail = "the SOP Instance UID is known with other content; both are kept, the one received first stays in force"
    session.add(
        Hold(
            sop_instance_uid=header.sop_instance_uid,
            sha256=blob.sha256,
            study_instance_uid=header.study_instance_uid,
            reasons=[{"code": SAME_UID_OTHER_BYTES, "detail": detail}],
            sender=arrival.sender,
            door=arrival.door,
            held_at=at,
        )
    )
    audit.append(
        session,
        at=at,
        actor=arrival.sender,
        action="CONFLICT_HELD",
        subject=header.sop_instance_uid,
        detail={"door": str(arrival.door), "sha256": blob.sha256},
    )


def record_echo(session: Session, arrival: Arrival, header: ReceivedHeader, *, at: datetime) -> None:
    """Note that one of our own outputs came back; nothing else happens, so no routing loop arises."""
    audit.append(
        session,
        at=at,
        actor=arrival.sender,
        action="OWN_ECHO",
        subject=header.sop_instance_uid,
        detail={"door": str(arrival.door)},
    )


def is_referenced(session: Session, sha256: str) -> bool:
    """Whether any row names a blob."""
    rows = (
        select(Instance.sha256).where(Instance.sha256 == sha256),
        select(Hold.sha256).where(Hold.sha256 == sha256),
        select(Output.sha256).where(Output.sha256 == sha256),
        select(Artifact.sha256).where(or_(col(Artifact.sha256) == sha256, col(Artifact.digest) == sha256)),
    )
    return any(session.exec(row.limit(1)).first() is not None for row in rows)


def sender_of(arrival: Arrival) -> dict[str, object]:
    """Return who brought the images of a study: asked for an expected count, decides pipeline, site and priority."""
    return {"calling": arrival.sender, "called": arrival.called_aet, "address": arrival.peer_address}


def instance_row(
    arrival: Arrival, header: ReceivedHeader, blob: KeptBlob, *, kind: InstanceKind, at: datetime
) -> dict[str, object]:
    """Return the row of a new instance, every column by name."""
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": blob.transfer_syntax_uid,
        "sha256": blob.sha256,
        "size": blob.size,
        "kind": kind,
        "instance_number": header.instance_number,
        "rows": header.rows,
        "columns": header.columns,
        "number_of_frames": header.number_of_frames,
        "content_digest": "",
        "received_at": at,
        "door": str(arrival.door),
        "sender": arrival.sender,
        "handled": False,
        "case_hint": arrival.case_hint,
        "stage_hint": arrival.stage_hint,
    }


def _record_study(session: Session, arrival: Arrival, header: ReceivedHeader, at: datetime) -> None:
    study = session.get(Study, header.study_instance_uid, with_for_update=True)
    if study is None:
        study = Study(
            study_instance_uid=header.study_instance_uid,
            first_received_at=at,
            last_received_at=at,
            calling_aet=arrival.sender,
            called_aet=arrival.called_aet,
            peer_address=arrival.peer_address,
        )
        session.add(study)
    _fill(study, header, _STUDY_ATTRIBUTES)
    session.flush()


def _record_series(session: Session, header: ReceivedHeader) -> None:
    series = session.get(Series, header.series_instance_uid)
    if series is None:
        series = Series(series_instance_uid=header.series_instance_uid, study_instance_uid=header.study_instance_uid)
        session.add(series)
    _fill(series, header, _SERIES_ATTRIBUTES)
    session.flush()


def _fill(row: Study | Series, header: ReceivedHeader, names: tuple[str, ...]) -> None:
    """Set what is still empty: the first who knows a value decides."""
    for name in names:
        if not getattr(row, name):
            setattr(row, name, getattr(header, name))
