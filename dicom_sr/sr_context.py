"""Context of a report: language, observers, procedure and the image library (TID 1204, 1002, 1500 row 4, 1600)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_sr import codes, header, sr_items
from dicom_sr.codes import Code
from dicom_sr.equipment import Equipment
from dicom_sr.new_object import listed_instances
from dicom_sr.qc_report import Signature
from dicom_sr.source import SourceSeries
from dicom_sr.sr_items import Relation

# CID 100, the codes that every edition of it has
_PROCEDURES = {
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
}
_ANY_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_MODALITIES = {
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "NM": Code("NM", "DCM", "Nuclear Medicine"),
    "US": Code("US", "DCM", "Ultrasound"),
}


def language() -> Dataset:
    """Return the language of the document; Code Meanings and sentences are English."""
    return sr_items.code(Relation.MODIFIER, codes.LANGUAGE, codes.ENGLISH)


def observers(equipment: Equipment, signature: Signature | None) -> list[Dataset]:
    """Return the person, where one signed, then the device that observed."""
    found: list[Dataset] = []
    if signature is not None:
        found += [
            sr_items.code(Relation.CONTEXT, codes.OBSERVER_TYPE, codes.PERSON),
            sr_items.person(Relation.CONTEXT, codes.PERSON_NAME, signature.name),
            sr_items.text(Relation.CONTEXT, codes.PERSON_ORGANIZATION, signature.organization),
            sr_items.code(Relation.CONTEXT, codes.PERSON_ROLE, signature.role),
        ]
    return [
        *found,
        sr_items.code(Relation.CONTEXT, codes.OBSERVER_TYPE, codes.DEVICE),
        sr_items.uid_reference(Relation.CONTEXT, codes.DEVICE_UID, equipment.device_uid),
        sr_items.text(Relation.CONTEXT, codes.DEVICE_MANUFACTURER, equipment.manufacturer),
        sr_items.text(Relation.CONTEXT, codes.DEVICE_MODEL, equipment.model_name),
        sr_items.text(Relation.CONTEXT, codes.DEVICE_SERIAL, equipment.serial_number),
    ]


def procedure_reported(source: SourceSeries) -> Dataset:
    """Return the procedure by modality: the study's own procedure codes stay in the study's attributes."""
    procedure = _PROCEDURES.get(source.acquisition.modality, _ANY_PROCEDURE)
    return sr_items.code(Relation.MODIFIER, codes.PROCEDURE_REPORTED, procedure)


def image_library(source: SourceSeries) -> Dataset:
    """Return the image library: descriptors once for the group, then the listed instances without any."""
    entries = [
        sr_items.image(Relation.CONTAINS, None, str(h.SOPClassUID), str(h.SOPInstanceUID))
        for h in listed_instances(source)
    ]
    group = sr_items.container(Relation.CONTAINS, codes.IMAGE_LIBRARY_GROUP, [*_descriptors(source), *entries])
    return sr_items.container(Relation.CONTAINS, codes.IMAGE_LIBRARY, [group])


def _descriptors(source: SourceSeries) -> list[Dataset]:
    relation, acquisition = Relation.ACQUISITION, source.acquisition
    found = []
    modality = _MODALITIES.get(acquisition.modality)
    if modality is not None:
        found.append(sr_items.code(relation, codes.MODALITY, modality))
    study_date = header.text(source.headers[0], "StudyDate")
    if len(study_date) == 8 and study_date.isdigit():
        found.append(sr_items.date(relation, codes.STUDY_DATE, study_date))
    if source.frame_of_reference_uid:
        found.append(sr_items.uid_reference(relation, codes.FRAME_OF_REFERENCE, source.frame_of_reference_uid))
    found.append(sr_items.uid_reference(relation, codes.SERIES_UID, source.series_instance_uid))
    if acquisition.rows and acquisition.columns:
        found.append(sr_items.number(relation, codes.PIXEL_ROWS, acquisition.rows, "{pixels}"))
        found.append(sr_items.number(relation, codes.PIXEL_COLUMNS, acquisition.columns, "{pixels}"))
    if acquisition.spacing is not None:
        between, vertical, horizontal = acquisition.spacing
        found.append(sr_items.number(relation, codes.HORIZONTAL_SPACING, horizontal, "mm"))
        found.append(sr_items.number(relation, codes.VERTICAL_SPACING, vertical, "mm"))
        found.append(sr_items.number(relation, codes.SLICE_SPACING, between, "mm"))
    return found
