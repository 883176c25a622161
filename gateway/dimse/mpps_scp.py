"""Modality Performed Procedure Step: a modality says when it begins, when it is done, and which images it made.

References
----------
PS3.4 F.7, Table F.7.2-1.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from gateway.dimse.archive import Archive
from gateway.domain.errors import UnacceptableInstance
from gateway.domain.evidence import AnnouncementKind, StepState
from gateway.services import announce


def create_step(archive: Archive, sop_instance_uid: str, attributes: Dataset, *, sender: str) -> None:
    """N-CREATE: a procedure step has begun.

    Raises
    ------
    UnacceptableInstance
        ``MISSING_ATTRIBUTE`` or ``INVALID_VALUE``.
    IllegalTransition
        ``DUPLICATE`` if it was begun before.
    """
    studies = [
        str(item.get("StudyInstanceUID") or "") for item in attributes.get("ScheduledStepAttributesSequence") or []
    ]
    if not any(studies):
        raise UnacceptableInstance("a procedure step names no study", code="MISSING_ATTRIBUTE")
    if _state(attributes) is not StepState.IN_PROGRESS:
        raise UnacceptableInstance("a procedure step must begin IN PROGRESS", code="INVALID_VALUE")
    announce.announce(
        archive.database,
        kind=AnnouncementKind.PROCEDURE_STEP,
        source_uid=sop_instance_uid,
        studies=[study for study in studies if study],
        state=StepState.IN_PROGRESS,
        instances=_instances(attributes) or [],
        sender=sender,
        at=archive.clock(),
    )


def set_step(archive: Archive, sop_instance_uid: str, attributes: Dataset, *, sender: str) -> None:
    """N-SET: a procedure step goes on or has ended.

    Raises
    ------
    UnacceptableInstance
        ``INVALID_VALUE`` if its status is none.
    NotFound
        If it was never begun.
    IllegalTransition
        ``STEP_IS_FINAL`` if it has ended.
    """
    announce.change_step(
        archive.database,
        source_uid=sop_instance_uid,
        state=_state(attributes),
        instances=_instances(attributes),
        sender=sender,
        at=archive.clock(),
    )


def _state(attributes: Dataset) -> StepState | None:
    value = attributes.get("PerformedProcedureStepStatus")
    if not value:
        return None
    try:
        return StepState(str(value))
    except ValueError:
        raise UnacceptableInstance("a procedure step has an unknown status", code="INVALID_VALUE") from None


def _instances(attributes: Dataset) -> list[str] | None:
    """Return the SOP Instance UIDs of all series, None if the series are not told."""
    if "PerformedSeriesSequence" not in attributes:
        return None
    return [
        str(reference.get("ReferencedSOPInstanceUID") or "")
        for series in attributes.PerformedSeriesSequence or []
        for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")
        for reference in series.get(keyword) or []
    ]
