"""Who made an object, when, with what and from what: the audit attributes of every object we write.

One module owns them (PS3.3 C.12.1 SOP Common, C.7.5.1 General Equipment, C.7.1.3 / C.7.2.3 / C.7.3.2 Clinical Trial).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from dicom_sr.carried_attributes import copy_patient_study_trial
from dicom_sr.character_set import character_set_of, settle_character_set
from dicom_sr.coded_items import code_item
from dicom_sr.codes import MODIFYING_EQUIPMENT, PROCESSING_EQUIPMENT
from dicom_sr.equipment import Equipment
from dicom_sr.qc_report import ContentQualification
from dicom_sr.timestamps import date_text, datetime_text, in_zone_of, offset_text, time_text
from dicom_sr.uids import INSTANCE_CREATOR_UID

__all__ = [
    "CoercionReason",
    "Credit",
    "CreditPurpose",
    "apply_audit_tags",
    "copy_patient_study_trial",
    "record_original_attributes",
    "set_creation",
    "set_equipment",
]

_AUDIT_HEAD = "audit-chain-head;"


class CreditPurpose(StrEnum):
    """What an equipment contributed (CID 7005)."""

    PROCESSING = "PROCESSING"
    MODIFYING = "MODIFYING"


class CoercionReason(StrEnum):
    """Reason for the Attribute Modification (0400,0565)."""

    COERCE = "COERCE"
    CORRECT = "CORRECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """One equipment that contributed: an item of Contributing Equipment Sequence (0018,A001).

    Parameters
    ----------
    purpose : CreditPurpose
        PROCESSING for a stage of ours, MODIFYING for the viewer of an edit.
    manufacturer, model_name : str
        As received for a viewer; Manufacturer is Type 1 and becomes ``Unspecified`` when empty.
    software_versions : tuple of str
        May be empty.
    at : datetime
        When it contributed, with time zone.
    description : str
        ``case;stage;iteration;run``; free of patient data.
    """

    purpose: CreditPurpose
    manufacturer: str
    model_name: str
    software_versions: tuple[str, ...]
    at: datetime
    description: str


def apply_audit_tags(
    ds: Dataset,
    *,
    equipment: Equipment,
    created_at: datetime,
    source: Dataset,
    credits: Sequence[Credit],
    operator_name: str = "",
    content_qualification: ContentQualification | str = ContentQualification.PRODUCT,
    audit_head: str = "",
) -> None:
    """Write the audit attributes into `ds`; applying them twice is the same as once.

    Parameters
    ----------
    ds : pydicom.Dataset
        An object of ours of any IOD, changed in place.
    equipment : Equipment
        This installation.
    created_at : datetime
        When the result was made, with time zone: Instance Creation and Series Date and Time.
    source : pydicom.Dataset
        Header of the first source instance: patient, study, trial, and the time zone where it states one.
    credits : sequence of Credit
        In order of contribution; they replace those already in `ds`.
    operator_name : str
        Operators' Name: the reviewer of an edited result.
    content_qualification : ContentQualification or str
        PRODUCT or RESEARCH.
    audit_head : str
        Head of the audit chain (hex); an item of Contributing Equipment holds it, because archives keep that sequence
        while they drop private attributes.
    """
    copy_patient_study_trial(source, ds)
    set_equipment(ds, equipment)
    set_creation(ds, in_zone_of(source, created_at))
    if operator_name:
        ds.OperatorsName = operator_name
    ds.ContentQualification = ContentQualification(content_qualification).value
    contributors = [_contribution(credit, source) for credit in credits]
    if audit_head:
        contributors.append(_contribution(_own_credit(equipment, created_at, audit_head), source))
    if contributors:
        ds.ContributingEquipmentSequence = contributors
    elif "ContributingEquipmentSequence" in ds:
        del ds.ContributingEquipmentSequence
    settle_character_set(ds, character_set_of(source))


def set_equipment(ds: Dataset, equipment: Equipment) -> None:
    """Write the General and Enhanced General Equipment Modules; texts are cut to their VR's 64 characters."""
    ds.Manufacturer = equipment.manufacturer[:64]
    ds.ManufacturerModelName = equipment.model_name[:64]
    ds.DeviceSerialNumber = equipment.serial_number[:64]
    ds.SoftwareVersions = [version[:64] for version in equipment.software_versions]
    ds.DeviceUID = equipment.device_uid


def set_creation(ds: Dataset, created_at: datetime) -> None:
    """Write when and by which software the instance was made; `created_at` is in the zone of the object."""
    ds.InstanceCreationDate = date_text(created_at)
    ds.InstanceCreationTime = time_text(created_at)
    ds.InstanceCreatorUID = INSTANCE_CREATOR_UID
    ds.TimezoneOffsetFromUTC = offset_text(created_at)
    ds.SeriesDate = date_text(created_at)
    ds.SeriesTime = time_text(created_at)


def record_original_attributes(
    ds: Dataset, attributes: Dataset, reason: CoercionReason, modifying_system: str, at: datetime
) -> None:
    """Record what attributes were before they were changed: one more item of Original Attributes Sequence (0400,0561).

    Parameters
    ----------
    ds : pydicom.Dataset
        The changed object.
    attributes : pydicom.Dataset
        The replaced values; an attribute that was absent is there without a value.
    reason : CoercionReason
        COERCE to fit the receiver's records, CORRECT to mend an error.
    modifying_system : str
        Who changed them.
    at : datetime
        When, with time zone.
    """
    item = Dataset()
    item.ModifiedAttributesSequence = [attributes]
    item.AttributeModificationDateTime = datetime_text(at)
    item.ModifyingSystem = modifying_system[:64]
    item.SourceOfPreviousValues = None
    item.ReasonForTheAttributeModification = reason.value
    ds.OriginalAttributesSequence = [*ds.get("OriginalAttributesSequence", ()), item]


def _own_credit(equipment: Equipment, at: datetime, audit_head: str) -> Credit:
    return Credit(
        purpose=CreditPurpose.PROCESSING,
        manufacturer=equipment.manufacturer,
        model_name=equipment.model_name,
        software_versions=equipment.software_versions,
        at=at,
        description=_AUDIT_HEAD + audit_head,
    )


def _contribution(credit: Credit, source: Dataset) -> Dataset:
    modifying = credit.purpose is CreditPurpose.MODIFYING
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [code_item(MODIFYING_EQUIPMENT if modifying else PROCESSING_EQUIPMENT)]
    item.Manufacturer = credit.manufacturer[:64] or "Unspecified"
    if credit.model_name:
        item.ManufacturerModelName = credit.model_name[:64]
    if credit.software_versions:
        item.SoftwareVersions = [version[:64] for version in credit.software_versions]
    item.ContributionDateTime = datetime_text(in_zone_of(source, credit.at))
    item.ContributionDescription = credit.description[:1024]
    return item
