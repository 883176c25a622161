"""Key Object Selection documents: rejected for quality, quality issue, best in set, of interest (TID 2010).

A "rejected" selection makes archives that follow IHE IOCM hide the images, so it is sent only where a site asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, EncapsulatedPDFStorage, KeyObjectSelectionDocumentStorage

from dicom_sr import codes, sr_items
from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import code_item, declare_private_scheme
from dicom_sr.codes import Code
from dicom_sr.equipment import Equipment
from dicom_sr.errors import InvalidObject
from dicom_sr.finding_codes import quality_reason
from dicom_sr.new_object import header_of, instance_reference, new_object
from dicom_sr.qc_report import Signature
from dicom_sr.source import SourceSeries
from dicom_sr.sr_context import language, observers
from dicom_sr.sr_items import Relation
from dicom_sr.verdict import Verdict

_KEY_OBJECT_SELECTION = "2010"
#: Classes of ours that hold no image: TID 2010 refers to their instances by COMPOSITE.
_NO_IMAGES = frozenset({Comprehensive3DSRStorage, EncapsulatedPDFStorage, KeyObjectSelectionDocumentStorage})


class KeyObjectTitle(StrEnum):
    """Document titles of CID 7010 we write."""

    REJECTED_FOR_QUALITY = "REJECTED_FOR_QUALITY"
    QUALITY_ISSUE = "QUALITY_ISSUE"
    BEST_IN_SET = "BEST_IN_SET"
    OF_INTEREST = "OF_INTEREST"


_TITLES = {
    KeyObjectTitle.REJECTED_FOR_QUALITY: codes.REJECTED_FOR_QUALITY,
    KeyObjectTitle.QUALITY_ISSUE: codes.QUALITY_ISSUE,
    KeyObjectTitle.BEST_IN_SET: codes.BEST_IN_SET,
    KeyObjectTitle.OF_INTEREST: codes.OF_INTEREST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyObject:
    """One selected instance of the source's study: an image, or a document of ours."""

    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyObjectSelection:
    """What to select and why.

    Parameters
    ----------
    sop_instance_uid, series_instance_uid, series_number, instance_number, series_description
        Identity of the object to write; the description is cut to 64 characters.
    created_at : datetime
        With time zone.
    title : KeyObjectTitle
        Document title.
    reason : Code or None
        Document Title Modifier: of CID 7011 for the two quality titles, of CID 7012 for best in set, else None.
    description : str
        Free text, empty for none.
    selected : tuple of KeyObject
        At least one; those of one series together.
    signature : Signature or None
        The person who decided, an observer beside the device.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    series_description: str
    created_at: datetime
    title: KeyObjectTitle
    selected: tuple[KeyObject, ...]
    reason: Code | None = None
    description: str = ""
    signature: Signature | None = None


def whole_series(source: SourceSeries) -> tuple[KeyObject, ...]:
    """Return every instance of a series as key objects."""
    return tuple(
        KeyObject(
            series_instance_uid=source.series_instance_uid,
            sop_class_uid=str(header.SOPClassUID),
            sop_instance_uid=str(header.SOPInstanceUID),
        )
        for header in source.headers
    )


def rejection_reason(verdict: Verdict) -> Code:
    """Return the reason of CID 7011 that the worst reason of a verdict stands for; the document can have one only."""
    return quality_reason(verdict.reasons[0].code if verdict.reasons else "")


def key_object_selection(selection: KeyObjectSelection, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Write a Key Object Selection document.

    Parameters
    ----------
    selection : KeyObjectSelection
        What to select and why.
    source : SourceSeries
        A series of the study the selected instances belong to: gives patient and study.
    equipment : Equipment
        This installation, the device observer.

    Returns
    -------
    pydicom.Dataset
        With file meta information, ready to save.

    Raises
    ------
    InvalidObject
        If nothing is selected, or the title has no modifier that it needs or one that it cannot have.

    References
    ----------
    PS3.3 A.35.4, C.17.6; PS3.16 TID 2010, CID 7010, CID 7011, CID 7012
    """
    _check(selection)
    ds = new_object(
        header_of(selection, sop_class_uid=KeyObjectSelectionDocumentStorage, modality="KO"), source, equipment
    )
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(selection, source)]
    ds.ValueType = "CONTAINER"
    ds.ConceptNameCodeSequence = [code_item(_TITLES[selection.title])]
    content = [] if selection.reason is None else [_modifier(selection.reason)]
    content += [language(), *observers(equipment, selection.signature)]
    if selection.description:
        content.append(sr_items.text(Relation.CONTAINS, codes.KEY_OBJECT_DESCRIPTION, selection.description))
    content += [_reference(selected) for selected in selection.selected]
    sr_items.set_container(ds, content, template=_KEY_OBJECT_SELECTION)
    declare_private_scheme(ds)
    settle_character_set(ds, character_set_of(source.headers[0]))
    return ds


def _check(selection: KeyObjectSelection) -> None:
    if not selection.selected:
        raise InvalidObject("a key object selection selects nothing")
    if (selection.title is KeyObjectTitle.OF_INTEREST) == (selection.reason is not None):
        raise InvalidObject(
            "every title but Of Interest needs a modifier: a reason of CID 7011, or CID 7012 for the best"
        )


def _reference(selected: KeyObject) -> Dataset:
    make = sr_items.composite if selected.sop_class_uid in _NO_IMAGES else sr_items.image
    return make(Relation.CONTAINS, None, selected.sop_class_uid, selected.sop_instance_uid)


def _modifier(reason: Code) -> Dataset:
    return sr_items.code(Relation.MODIFIER, codes.TITLE_MODIFIER, reason)


def _evidence(selection: KeyObjectSelection, source: SourceSeries) -> Dataset:
    study = Dataset()
    study.StudyInstanceUID = source.study_instance_uid
    study.ReferencedSeriesSequence = []
    for series_uid, selected in groupby(selection.selected, key=lambda key_object: key_object.series_instance_uid):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = [instance_reference(s.sop_class_uid, s.sop_instance_uid) for s in selected]
        study.ReferencedSeriesSequence.append(series)
    return study
