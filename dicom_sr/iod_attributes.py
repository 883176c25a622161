"""Attributes that each kind of object we emit must have: the mandatory modules of its IOD, top level.

References
----------
PS3.3 A.51 (SEG), A.35.13 (Comprehensive 3D SR), A.35.4 (KOS), A.8.1 (Secondary Capture), A.45.1 (Encapsulated PDF)
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE

COMPREHENSIVE_3D_SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.34"
KEY_OBJECT_SELECTION_STORAGE = "1.2.840.10008.5.1.4.1.1.88.59"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
ENCAPSULATED_PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"


@dataclass(frozen=True, slots=True)
class RequiredAttributes:
    """Keywords of the attributes an IOD requires at top level.

    Parameters
    ----------
    type_1 : frozenset of str
        Present with a value.
    type_2 : frozenset of str
        Present, may be empty.
    """

    type_1: frozenset[str]
    type_2: frozenset[str]


def _required(type_1: str, type_2: str = "") -> RequiredAttributes:
    return RequiredAttributes(frozenset(f"{_ANY_1} {type_1}".split()), frozenset(f"{_ANY_2} {type_2}".split()))


#: Every object: Patient, General Study, series, SOP Common; and what we promise beyond the standard for viewers.
_ANY_1 = "StudyInstanceUID SeriesInstanceUID SeriesNumber Modality SOPClassUID SOPInstanceUID SeriesDescription"
_ANY_2 = """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber ReferringPhysicianName
    StudyID Manufacturer"""
_MATRIX = "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation"
_SEGMENTATION = _required(
    f"""{_MATRIX} Manufacturer ManufacturerModelName DeviceSerialNumber SoftwareVersions InstanceNumber ImageType
    LossyImageCompression SegmentationType SegmentSequence ContentLabel ContentDate ContentTime NumberOfFrames
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence
    DimensionIndexSequence ReferencedSeriesSequence PixelData""",
    "ContentDescription ContentCreatorName",
)

REQUIRED_ATTRIBUTES = {
    SEGMENTATION_STORAGE: _SEGMENTATION,
    LABEL_MAP_SEGMENTATION_STORAGE: _SEGMENTATION,
    COMPREHENSIVE_3D_SR_STORAGE: _required(
        """ContentDate ContentTime InstanceNumber CompletionFlag VerificationFlag ValueType ContinuityOfContent
        ConceptNameCodeSequence ContentSequence""",
        "ReferencedPerformedProcedureStepSequence PerformedProcedureCodeSequence",
    ),
    KEY_OBJECT_SELECTION_STORAGE: _required(
        """ContentDate ContentTime InstanceNumber CurrentRequestedProcedureEvidenceSequence ValueType
        ContinuityOfContent ConceptNameCodeSequence ContentSequence""",
        "ReferencedPerformedProcedureStepSequence",
    ),
    SECONDARY_CAPTURE_STORAGE: _required(f"{_MATRIX} ConversionType PixelData", "InstanceNumber"),
    ENCAPSULATED_PDF_STORAGE: _required(
        "ConversionType InstanceNumber BurnedInAnnotation EncapsulatedDocument MIMETypeOfEncapsulatedDocument",
        "ContentDate ContentTime AcquisitionDateTime ConceptNameCodeSequence DocumentTitle",
    ),
}
