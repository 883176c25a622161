"""Who the patient of a received study is, read from its images and not from the index, which lacks the issuer."""

from __future__ import annotations

from sqlmodel import Session, col, select

from gateway.domain.errors import NotFound, UnacceptableInstance
from gateway.domain.instance import InstanceKind
from gateway.domain.priors import PatientIdentity
from gateway.services.part10 import file_layout
from gateway.services.received_header import read_header
from gateway.store.blobs import BlobStore
from gateway.store.tables import Instance


def patient_of_study(session: Session, blobs: BlobStore, study_instance_uid: str) -> PatientIdentity:
    """Return the patient that one image of each series names.

    Raises
    ------
    NotFound
        If no image of the study is here.
    UnacceptableInstance
        ``PATIENTS_DIFFER`` if the series do not agree.
    """
    query = select(Instance).where(
        Instance.study_instance_uid == study_instance_uid, Instance.kind == InstanceKind.IMAGE
    )
    of_series: dict[str, Instance] = {}
    for instance in session.exec(query.order_by(col(Instance.sop_instance_uid))):
        of_series.setdefault(instance.series_instance_uid, instance)
    told = {_patient_of(blobs, instance) for instance in of_series.values()}
    if not told:
        raise NotFound("no image of this study is here")
    if len(told) > 1:
        raise UnacceptableInstance("its series do not name the same patient", code="PATIENTS_DIFFER")
    return told.pop()


def _patient_of(blobs: BlobStore, instance: Instance) -> PatientIdentity:
    content = blobs.read(instance.sha256)
    header = read_header(memoryview(content)[file_layout(content).dataset_offset :], instance.transfer_syntax_uid)
    return PatientIdentity(
        patient_id=header.patient_id, issuer=header.issuer_of_patient_id, birth_date=header.patient_birth_date
    )
