"""A received object that may be an edit: where its bytes are, in what form, and what was said of it on the way in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dicom_sr.uids import derive_uid
from gateway.domain.instance import RT_STRUCTURE_SET_STORAGE
from gateway.store.tables import Hold, Instance

_GZIP = b"\x1f\x8b"
#: Size of the header, which a NIfTI-1 or NIfTI-2 file starts with, in either byte order.
_NIFTI_STARTS = tuple(size.to_bytes(4, order) for size in (348, 540) for order in ("little", "big"))


class EditFormat(StrEnum):
    """In what form an edit comes."""

    SEG = "SEG"
    #: Contours of an RT Structure Set.
    RTSTRUCT = "RTSTRUCT"
    #: A label map in a NIfTI file.
    NIFTI = "NIFTI"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditObject:
    """One received object.

    Parameters
    ----------
    sop_instance_uid : str
        Of the instance; of a file that has none, one made of its content and its case.
    series_instance_uid, study_instance_uid : str
        Of the instance; the series is empty for a file.
    sha256 : str
        Blob with its bytes.
    format : EditFormat
        How to read it.
    sender, door : str
        From whom and how.
    case_hint, stage_hint : str
        The case and stage that the sender named; may be empty.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    sha256: str
    format: EditFormat
    sender: str
    door: str
    case_hint: str = ""
    stage_hint: str = ""

    @property
    def named(self) -> tuple[str, str] | None:
        """Case and stage, where the sender named both."""
        return (self.case_hint, self.stage_hint) if self.case_hint and self.stage_hint else None


def object_of_instance(instance: Instance) -> EditObject:
    """Describe a received DICOM instance."""
    return EditObject(
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        sha256=instance.sha256,
        format=EditFormat.RTSTRUCT if instance.sop_class_uid == RT_STRUCTURE_SET_STORAGE else EditFormat.SEG,
        sender=instance.sender,
        door=instance.door,
        case_hint=instance.case_hint,
        stage_hint=instance.stage_hint,
    )


def object_of_hold(hold: Hold, instance: Instance | None) -> EditObject:
    """Describe a held object; `instance` is what is kept under its UID, which may have other bytes."""
    known = EditFormat.SEG if instance is None else object_of_instance(instance).format
    return EditObject(
        sop_instance_uid=hold.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid if instance else "",
        study_instance_uid=hold.study_instance_uid,
        sha256=hold.sha256,
        format=EditFormat(hold.format) if hold.format else known,
        sender=hold.sender,
        door=hold.door,
        case_hint=instance.case_hint if instance else hold.case_id,
        stage_hint=instance.stage_hint if instance else hold.stage,
    )


def file_uid(sha256: str, case_id: str, stage: str) -> str:
    """Return the UID under which a file without one is on record: the same file for the same stage has the same."""
    return derive_uid("edit file", sha256, case_id, stage)


def is_label_map(path: Path) -> bool:
    """Whether a file looks like NIfTI, compressed or not, and not like DICOM."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] != b"DICM" and (start.startswith(_GZIP) or start[:4] in _NIFTI_STARTS)
