# ruff: noqa: SIM905 - the attribute tables read best as words
"""Carry patient, study and clinical trial attributes from a source header into an object of ours.

Every attribute of the Patient, General Study, Patient Study and Clinical Trial Subject, Study and Series Modules
(PS3.3 C.7.1.1, C.7.2.1, C.7.2.2, C.7.1.3, C.7.2.3, C.7.3.2) goes along as it is, so that an archive sees one patient
and one study. Text is decoded from whatever character set the source uses; `character_set` chooses the one written.

Scanners and anonymisers write illegal values. Attributes that identify are carried all the same: a mended name or
number would be another patient's. The others are left out where their value is illegal, so that one odd age does not
make every result an illegal object.
"""

from __future__ import annotations

from pydicom import config
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.valuerep import validate_value

from dicom_sr import header

_PATIENT = """
    ReferencedPatientSequence PatientName PatientID IssuerOfPatientID TypeOfPatientID
    IssuerOfPatientIDQualifiersSequence SourcePatientGroupIdentificationSequence GroupOfPatientsIdentificationSequence
    PatientBirthDate PatientBirthTime
    PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar PatientSex
    QualityControlSubject StrainDescription StrainNomenclature StrainStockSequence StrainAdditionalInformation
    StrainCodeSequence GeneticModificationsSequence OtherPatientIDs OtherPatientNames OtherPatientIDsSequence
    ReferencedPatientPhotoSequence EthnicGroup EthnicGroupCodeSequence PatientSpeciesDescription
    PatientSpeciesCodeSequence PatientBreedDescription PatientBreedCodeSequence BreedRegistrationSequence
    ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization PatientComments PatientIdentityRemoved
    DeidentificationMethod DeidentificationMethodCodeSequence LongitudinalTemporalInformationModified
""".split()
_STUDY = """
    StudyInstanceUID StudyDate StudyTime AccessionNumber IssuerOfAccessionNumberSequence ReferringPhysicianName
    ReferringPhysicianIdentificationSequence ConsultingPhysicianName ConsultingPhysicianIdentificationSequence
    StudyDescription ProcedureCodeSequence PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
    NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence ReferencedStudySequence StudyID
    RequestingService RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientSizeCodeSequence
    PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension PatientWeight MedicalAlerts Allergies Occupation
    SmokingStatus AdditionalPatientHistory PregnancyStatus LastMenstrualDate PatientSexNeutered ReasonForVisit
    ReasonForVisitCodeSequence AdmissionID IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription
    IssuerOfServiceEpisodeIDSequence PatientState
""".split()
_TRIAL = """
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName IssuerOfClinicalTrialProtocolID
    OtherClinicalTrialProtocolIDsSequence ClinicalTrialSiteID ClinicalTrialSiteName IssuerOfClinicalTrialSiteID
    ClinicalTrialSubjectID IssuerOfClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    IssuerOfClinicalTrialSubjectReadingID ClinicalTrialProtocolEthicsCommitteeName
    ClinicalTrialProtocolEthicsCommitteeApprovalNumber ClinicalTrialTimePointID ClinicalTrialTimePointDescription
    LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType ClinicalTrialTimePointTypeCodeSequence
    IssuerOfClinicalTrialTimePointID ConsentForClinicalTrialUseSequence ClinicalTrialCoordinatingCenterName
""".split()

CARRIED_ATTRIBUTES = tuple(_PATIENT + _STUDY + _TRIAL)

_TYPE_2 = """
    PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID
""".split()
_TRIAL_SUBJECT_TYPE_2 = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
#: Attributes that identify a patient, a study or a trial subject: carried even with an illegal value.
IDENTIFYING_ATTRIBUTES = frozenset(
    {
        *(*_TYPE_2, *_TRIAL, "StudyInstanceUID"),
        *("IssuerOfPatientID", "TypeOfPatientID", "OtherPatientIDs", "OtherPatientIDsSequence", "OtherPatientNames"),
    }
)
_BINARY_VRS = frozenset({"US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"})


def copy_patient_study_trial(source: Dataset, ds: Dataset) -> None:
    """Copy patient, study and clinical trial attributes of `source` into `ds`; Type 2 ones are there even if empty.

    The Clinical Trial Series ID of the source names the source series and is not copied; a result in a trial gets its
    own: that of the source, a slash and its own series number.
    """
    for keyword in CARRIED_ATTRIBUTES:
        _copy(source, ds, keyword, legal_only=keyword not in IDENTIFYING_ATTRIBUTES)
    for keyword in _TYPE_2:
        _ensure(ds, keyword)
    _say_how_identity_was_removed(ds)
    if "ClinicalTrialSponsorName" in ds:
        for keyword in _TRIAL_SUBJECT_TYPE_2:
            _ensure(ds, keyword)
        _name_trial_series(source, ds)


def _copy(source: Dataset, ds: Dataset, keyword: str, *, legal_only: bool) -> None:
    if keyword not in source:
        return
    element = _element(source, keyword, legal_only=legal_only)
    if element is not None:
        ds.add(element)


def _element(source: Dataset, keyword: str, *, legal_only: bool) -> DataElement | None:
    tag, vr = Tag(keyword), dictionary_VR(keyword)
    if vr == "SQ":
        items = [_transcribed(item, legal_only=legal_only) for item in header.items(source, keyword)]
        return DataElement(tag, "SQ", items)
    values: list[str] | list[float] = list(header.texts(source, keyword))
    if vr in _BINARY_VRS:
        values = [float(v) if vr in ("FL", "FD") else int(v) for v in header.numbers(source, keyword)]
    value = values[0] if len(values) == 1 else (values or None)
    try:
        if legal_only:
            for text in values if vr not in _BINARY_VRS else ():
                validate_value(vr, text, config.RAISE)
        return DataElement(tag, vr, value, validation_mode=config.IGNORE)
    except ValueError:  # illegal, or a decimal or integer string that is neither and cannot be written
        return None


def _transcribed(item: Dataset, *, legal_only: bool) -> Dataset:
    copied = Dataset()
    for tag in item.keys():  # noqa: SIM118 - iterating a Dataset gives elements and would convert them
        keyword = keyword_for_tag(tag)
        if keyword:
            _copy(item, copied, keyword, legal_only=legal_only)
    return copied


def _say_how_identity_was_removed(ds: Dataset) -> None:
    """Make up for a source that was de-identified without a method: one is required (Type 1C)."""
    if ds.get("DeidentificationMethod"):
        return
    if ds.get("PatientIdentityRemoved") == "YES" and not ds.get("DeidentificationMethodCodeSequence"):
        ds.DeidentificationMethod = "not stated by the source"
    elif "DeidentificationMethod" in ds:
        del ds.DeidentificationMethod


def _ensure(ds: Dataset, keyword: str) -> None:
    if keyword not in ds:
        ds.add(DataElement(Tag(keyword), dictionary_VR(keyword), None))


def _name_trial_series(source: Dataset, ds: Dataset) -> None:
    _ensure(ds, "ClinicalTrialCoordinatingCenterName")
    number = header.text(ds, "SeriesNumber")
    given = header.text(source, "ClinicalTrialSeriesID")
    ds.ClinicalTrialSeriesID = f"{given}/{number}"[-64:] if given else f"OVR-{number}"
