"""What SR, KOS, Secondary Capture and Encapsulated PDF share: patient, study, series, equipment, creation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_sr.audit_tags import copy_patient_study_trial, set_creation, set_equipment
from dicom_sr.equipment import Equipment
from dicom_sr.errors import InvalidObject
from dicom_sr.source import SourceSeries
from dicom_sr.timestamps import date_text, in_zone_of, time_text

#: Implementation Class UID of the files this software writes.
IMPLEMENTATION_CLASS_UID = "2.25.156830421763498126041713386530285196371"
_LISTED_INSTANCES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHeader:
    """Identity of an object to write.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid : str
        UIDs.
    series_number, instance_number : int
        Numbers.
    series_description : str
        Cut to 64 characters.
    modality : str
        Modality of the series.
    created_at : datetime
        With time zone.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    series_description: str
    modality: str
    created_at: datetime


class Identified(Protocol):
    """What a report or a selection says of the object that is to hold it."""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""

    @property
    def series_number(self) -> int:
        """Series Number."""

    @property
    def instance_number(self) -> int:
        """Instance Number."""

    @property
    def series_description(self) -> str:
        """Series Description."""

    @property
    def created_at(self) -> datetime:
        """When, with time zone."""


def header_of(content: Identified, *, sop_class_uid: str, modality: str) -> ObjectHeader:
    """Return the identity of the object that holds `content`."""
    return ObjectHeader(
        sop_class_uid=sop_class_uid,
        sop_instance_uid=content.sop_instance_uid,
        series_instance_uid=content.series_instance_uid,
        series_number=content.series_number,
        instance_number=content.instance_number,
        series_description=content.series_description,
        modality=modality,
        created_at=content.created_at,
    )


def new_object(header: ObjectHeader, source: SourceSeries, equipment: Equipment) -> Dataset:
    """Return a data set with file meta information and the modules every object of ours has.

    Raises
    ------
    InvalidObject
        If the source has no instance: then there is no patient to write about.
    """
    if not source.headers:
        raise InvalidObject("the source series has no instance, so an object would have no patient and no study")
    first = source.headers[0]
    created_at = in_zone_of(first, header.created_at)
    ds = Dataset()
    ds.file_meta = _file_meta(header)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = header.sop_class_uid
    ds.SOPInstanceUID = header.sop_instance_uid
    ds.SeriesInstanceUID = header.series_instance_uid
    ds.SeriesNumber = header.series_number
    ds.InstanceNumber = header.instance_number
    ds.SeriesDescription = header.series_description[:64]
    ds.Modality = header.modality
    ds.ContentDate = date_text(created_at)
    ds.ContentTime = time_text(created_at)
    copy_patient_study_trial(first, ds)
    set_equipment(ds, equipment)
    set_creation(ds, created_at)
    return ds


def listed_instances(source: SourceSeries) -> tuple[Dataset, ...]:
    """Return the headers an object lists: all of a small series, else 32 spread evenly, first and last among them.

    A 500-slice series would otherwise make each report larger than everything it says; the series itself is named by
    its UID beside the list.
    """
    headers = source.headers
    if len(headers) <= _LISTED_INSTANCES:
        return headers
    last = _LISTED_INSTANCES - 1
    return tuple(headers[round(i * (len(headers) - 1) / last)] for i in range(_LISTED_INSTANCES))


def instance_reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item with Referenced SOP Class UID and Referenced SOP Instance UID."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _file_meta(header: ObjectHeader) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(header.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(header.sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = "OVERREAD"
    return meta
