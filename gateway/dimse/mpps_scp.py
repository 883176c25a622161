"""Modality Performed Procedure Step: a modality says when it begins, when it is done, and which images it made.

Whoever asks is told what it said.

References
----------
PS3.4 F.7, Table F.7.2-1; F.8, Table F.8.2-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from gateway.dimse import step_attributes
from gateway.dimse.archive import Archive
from gateway.domain.errors import UnacceptableInstance
from gateway.domain.evidence import StepState
from gateway.services import announce
from gateway.services.procedure_steps import read_step


def create_step(archive: Archive, sop_instance_uid: str, attributes: Dataset, *, sender: str) -> None:
    """N-CREATE: a procedure step has begun.

    Raises
    ------
    UnacceptableInstance
        ``MISSING_ATTRIBUTE``, ``INVALID_VALUE`` or ``TOO_LARGE``.
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
    announce.begin_step(
        archive.database,
        source_uid=sop_instance_uid,
        studies=[study for study in studies if study],
        instances=_instances(attributes) or [],
        sender=sender,
        at=archive.clock(),
        step=partial(step_attributes.changed, modifications=attributes),
    )


def set_step(archive: Archive, sop_instance_uid: str, attributes: Dataset, *, sender: str) -> None:
    """N-SET: a procedure step goes on or has ended.

    Raises
    ------
    UnacceptableInstance
        ``INVALID_VALUE`` or ``TOO_LARGE``.
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
        step=partial(step_attributes.changed, modifications=attributes),
    )


def get_step(archive: Archive, sop_instance_uid: str, wanted: Sequence[BaseTag]) -> tuple[Dataset, bool]:
    """N-GET: return the wanted attributes of a procedure step, all without a wish, and whether there is each of them.

    Raises
    ------
    NotFound
        If it was never begun here.
    """
    return step_attributes.chosen(read_step(archive.database, sop_instance_uid), wanted)


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
