"""Carry the patient, study and clinical trial attributes of a source image into an object derived from it.

Viewers, archives and `dcentvfy` take two objects for one patient and study only if these attributes agree, and the
editors drop many of them, so everything the source states is stated again, value by value.

References
----------
PS3.3 C.7.1.1 Patient, C.7.1.3 Clinical Trial Subject, C.7.2.1 General Study, C.7.2.2 Patient Study, C.7.2.3 Clinical
Trial Study, C.7.3.2 Clinical Trial Series (the coordinating centre only: the series ID names one series)
"""

from __future__ import annotations

from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from dicom_sr.header import items, texts

PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "SourcePatientGroupIdentificationSequence",
    "GroupOfPatientsIdentificationSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientBirthDateInAlternativeCalendar",
    "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar",
    "PatientSex",
    "QualityControlSubject",
    "ReferencedPatientSequence",
    "ReferencedPatientPhotoSequence",
    "OtherPatientIDs",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "EthnicGroupCodeSequence",
    "PatientComments",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "StrainDescription",
    "StrainNomenclature",
    "StrainStockSequence",
    "StrainAdditionalInformation",
    "StrainCodeSequence",
    "GeneticModificationsSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
CLINICAL_TRIAL = (
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "IssuerOfClinicalTrialProtocolID",
    "OtherClinicalTrialProtocolIDsSequence",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "IssuerOfClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "IssuerOfClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "IssuerOfClinicalTrialSubjectReadingID",
    "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    "ClinicalTrialTimePointID",
    "IssuerOfClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "ClinicalTrialTimePointTypeCodeSequence",
    "LongitudinalTemporalOffsetFromEvent",
    "LongitudinalTemporalEventType",
    "ConsentForClinicalTrialUseSequence",
    "ClinicalTrialCoordinatingCenterName",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "ReferencedStudySequence",
    "ProcedureCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientBodyMassIndex",
    "MeasuredAPDimension",
    "MeasuredLateralDimension",
    "PatientSizeCodeSequence",
    "MedicalAlerts",
    "Allergies",
    "SmokingStatus",
    "PregnancyStatus",
    "LastMenstrualDate",
    "PatientSexNeutered",
    "PatientState",
    "Occupation",
    "AdditionalPatientHistory",
    "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "IssuerOfServiceEpisodeIDSequence",
    "ServiceEpisodeDescription",
)
#: Type 2 attributes: present even when the source is silent.
REQUIRED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
)
#: Every attribute whose value is the source's to state.
CARRIED = frozenset((*PATIENT, *CLINICAL_TRIAL, *STUDY))

_INTEGER_VRS = frozenset({"US", "SS", "UL", "SL", "UV", "SV"})
_FLOAT_VRS = frozenset({"FL", "FD"})


def carry_patient_and_study(source: Dataset, target: Dataset) -> None:
    """Set every patient, study and clinical trial attribute of `source` on `target`; type 2 ones at least empty.

    Values are taken as they are, valid or not: identity is the source's to state. Nothing is logged or warned about.
    """
    for keyword in (*PATIENT, *CLINICAL_TRIAL, *STUDY):
        element = plain_element(source, keyword)
        if element is not None:
            target[element.tag] = element
    for keyword in REQUIRED:
        if keyword not in target:
            tag = Tag(keyword)
            target[tag] = _element(tag, dictionary_VR(tag), None)


def plain_element(source: Dataset, keyword: str) -> DataElement | None:
    """Rebuild one attribute of a header free of its encoding, or None where it is absent or cannot be read."""
    if keyword not in source:
        return None
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    if vr == "SQ":
        return _element(tag, vr, [_plain_item(item) for item in items(source, keyword)])
    found: list[str] = list(texts(source, keyword))
    if not found:
        return _element(tag, vr, None)
    try:
        return _element(tag, vr, _value(vr, found))
    except (ValueError, OverflowError):
        return None  # a number that is none: it says nothing and cannot be written


def _plain_item(item: Dataset) -> Dataset:
    plain = Dataset()
    for tag in list(item.keys()):
        keyword = keyword_for_tag(tag)
        element = plain_element(item, keyword) if keyword else None
        if element is not None:
            plain[tag] = element
    return plain


def _value(vr: str, found: list[str]) -> object:
    values: list[object] = list(found)
    if vr in _INTEGER_VRS:
        values = [int(float(value)) for value in found]
    elif vr in _FLOAT_VRS:
        values = [float(value) for value in found]
    return values if len(values) > 1 else values[0]


def _element(tag: BaseTag, vr: str, value: object) -> DataElement:
    return DataElement(tag, vr, value, validation_mode=config.IGNORE)
