"""Coded concepts: standard codes where they exist, one declared private scheme where not.

Pure tier: standard library only. What each finding is called is in `finding_codes`, what each segment is in
`segment_codes`; the declaration of the private scheme in an object is in `coding_scheme`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_sr.verdict import Outcome

#: Coding Scheme Designator of the private scheme (PS3.3 section 8.2: private designators start with 99).
PRIVATE_SCHEME = "99OVERREAD"
#: UID, name, version and responsible organisation that every object with a private code declares.
PRIVATE_SCHEME_UID = "2.25.112463520768815993863181357693915332709"
PRIVATE_SCHEME_NAME = "Overread quality control concepts"
PRIVATE_SCHEME_VERSION = "1"
PRIVATE_SCHEME_ORGANIZATION = "Overread project"


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept (PS3.3 section 8.8).

    Parameters
    ----------
    value, scheme, meaning : str
        Code Value, Coding Scheme Designator, Code Meaning.
    """

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class PrivateConcept:
    """A concept of the private scheme with the definition that its users can rely on."""

    code: Code
    definition: str


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def private(value: str, meaning: str) -> Code:
    """Return a code of the private scheme."""
    return Code(value, PRIVATE_SCHEME, meaning)


# Document titles (CID 7021, CID 7010) and title modifiers (CID 7012)
IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
REJECTED_FOR_QUALITY = _dcm("113001", "Rejected for Quality Reasons")
QUALITY_ISSUE = _dcm("113010", "Quality Issue")
BEST_IN_SET = _dcm("113013", "Best In Set")
OF_INTEREST = _dcm("113000", "Of Interest")
TITLE_MODIFIER = _dcm("113011", "Document Title Modifier")
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")
BEST_OF_STUDY = _dcm("113014", "Study")
BEST_OF_SERIES = _dcm("113015", "Series")

# Context and structure of TID 1500, 1204, 1001, 1600, 1411, 1501, 4019
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
PERSON = _dcm("121006", "Person")
DEVICE = _dcm("121007", "Device")
PERSON_NAME = _dcm("121008", "Person Observer Name")
PERSON_ORGANIZATION = _dcm("121009", "Person Observer's Organization Name")
PERSON_ROLE = _dcm("121011", "Person Observer's Role in this Procedure")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
DEVICE_SERIAL = _dcm("121016", "Device Observer Serial Number")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MODALITY = _dcm("121139", "Modality")
STUDY_DATE = _dcm("111060", "Study Date")
FRAME_OF_REFERENCE = _dcm("112227", "Frame of Reference UID")
PIXEL_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_COLUMNS = _dcm("110911", "Pixel Data Columns")
HORIZONTAL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
SLICE_SPACING = _dcm("112226", "Spacing between slices")
SERIES_UID = _dcm("112002", "Series Instance UID")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
ACTIVITY_SESSION = Code("C67447", "NCIt", "Activity Session")
TRACKING_ID = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
FINDING = _dcm("121071", "Finding")
REFERENCED_SEGMENT = _dcm("121191", "Referenced Segment")
SOURCE_SERIES = _dcm("121232", "Source series for segmentation")
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
METHOD = Code("370129005", "SCT", "Measurement Method")
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
DERIVATION = _dcm("121401", "Derivation")
REFERENCE_AUTHORITY = _dcm("121406", "Reference Authority")
COMMENT = _dcm("121106", "Comment")
YES = Code("373066001", "SCT", "Yes")
VALUE_UNKNOWN = _dcm("114010", "Value unknown")  # CID 42
NOT_A_NUMBER = _dcm("114000", "Not a number")
NEGATIVE_INFINITY = _dcm("114001", "Negative Infinity")
POSITIVE_INFINITY = _dcm("114002", "Positive Infinity")

# Image quality (CID 6044, 6045, 6135, 7011) and roles (CID 7453)
IMAGE_QUALITY = _dcm("111101", "Image Quality")
QUALITY_ASSESSMENT = _dcm("111050", "Quality Assessment")
USABLE_MEETS = _dcm("111237", "Usable - Meets the quality control standard")
USABLE_DOES_NOT_MEET = _dcm("111236", "Usable - Does not meet the quality control standard")
UNUSABLE = _dcm("111235", "Unusable - Quality renders image unusable")
QUALITY_STANDARD = _dcm("111051", "Quality Control Standard")
INSTITUTIONAL_STANDARD = _dcm("111240", "Institutionally defined quality control standard")
QUALITY_FINDING = _dcm("111052", "Quality Finding")
ROLE_IMAGE_QC = _dcm("129003", "Image Quality Controller")
ROLE_RESULTS_QC = _dcm("129004", "Results Quality Controller")
ROLE_VERIFYING = _dcm("121098", "Verifying")
ROLE_READER = Code("C28747", "NCIt", "Reader")
ROLE_REVIEWER = Code("C54634", "NCIt", "Reviewer")
ROLE_ADJUDICATOR = Code("C96561", "NCIt", "Adjudicator")


class QualityReason(StrEnum):
    """Reasons of CID 7011 that our findings map to, by the keys of `QUALITY_REASONS`."""

    MOTION_BLUR = "MOTION_BLUR"
    POSITIONING = "POSITIONING"
    ARTIFACT = "ARTIFACT"
    NO_IMAGE = "NO_IMAGE"
    SOFTWARE_FAILURE = "SOFTWARE_FAILURE"
    PROCESSING = "PROCESSING"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


QUALITY_REASONS = {
    QualityReason.MOTION_BLUR: _dcm("111210", "Motion blur"),
    QualityReason.POSITIONING: _dcm("111209", "Positioning"),
    QualityReason.ARTIFACT: _dcm("111215", "Artifact(s) other than grid or detector artifact"),
    QualityReason.NO_IMAGE: _dcm("111213", "No image"),
    QualityReason.SOFTWARE_FAILURE: _dcm("111218", "Software failure"),
    QualityReason.PROCESSING: _dcm("111219", "Inappropriate image processing"),
    QualityReason.OTHER: _dcm("111220", "Other failure"),
    QualityReason.UNKNOWN: _dcm("111221", "Unknown failure"),
}

# Purposes of reference (CID 7005, CID 7202)
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")
MODIFYING_EQUIPMENT = _dcm("109103", "Modifying Equipment")
SOURCE_FOR_MONTAGE = _dcm("121329", "Source image for montage")

# The private scheme: report-wide concepts
VERDICT = private("QC-VERDICT", "Machine verdict")
VERDICT_REASON = private("QC-REASON", "Verdict reason")
CRITERION_OUTCOME = private("QC-OUTCOME", "Outcome of criterion")
QC_STATUS = private("QC-STATUS", "Analysis Results Quality Control")
CASE = private("CASE", "Case identifier")
PIPELINE = private("PIPELINE", "Pipeline")
GENERATION = private("GENERATION", "Input generation")
ITERATION = private("ITERATION", "Iteration")
STAGE = private("STAGE", "Stage")
STAGE_KEY = private("STAGE-KEY", "Stage run key")
MODEL = private("MODEL", "Model that took part")
MODEL_DIGEST = private("MODEL-DIGEST", "Model digest")
EVIDENCE = private("EVIDENCE", "Evidence of completeness")
CRITERIA_VERSION = private("CRITERIA-VER", "Criteria version")
EDIT = private("EDIT", "Accepted edit")
EDIT_SENDER = private("EDIT-SENDER", "Sender of the edit")
EDIT_VOXELS = private("EDIT-VOXELS", "Voxels changed by the edit")
EDIT_OBJECT = private("EDIT-OBJECT", "Edited segmentation as received")
SEGMENT = private("SEGMENT", "Segment label")
FINDING_CODE = private("FINDING-CODE", "Finding code")
OTHER_FINDING = private("F-OTHER", "Other quality control finding")
UNIT_OF_MISSING = private("UNIT", "Unit of a missing value")
INTERVAL_LOW = private("INTERVAL-LOW", "Lower bound of the interval")
INTERVAL_HIGH = private("INTERVAL-HIGH", "Upper bound of the interval")
REJECT_BELOW = private("REJECT-BELOW", "Reject below")
REVIEW_BELOW = private("REVIEW-BELOW", "Review below")
REVIEW_ABOVE = private("REVIEW-ABOVE", "Review above")
REJECT_ABOVE = private("REJECT-ABOVE", "Reject above")
ABSTAIN_BELOW = private("ABSTAIN-BELOW", "Abstain below")
ABSTAIN_ABOVE = private("ABSTAIN-ABOVE", "Abstain above")
REQUIRED = private("REQUIRED", "Required by the criteria")
CRITERION = private("CRITERION", "Criterion")
PREDICTED = private("PREDICTED", "Predicted without reference")
AGAINST_REFERENCE = private("MEASURED-REF", "Measured against a reference segmentation")

OUTCOMES = {
    Outcome.ACCEPT: private("V-ACCEPT", "Accept"),
    Outcome.REVIEW: private("V-REVIEW", "Review"),
    Outcome.NOT_ASSESSABLE: private("V-NOT-ASSESSED", "Not assessable"),
    Outcome.REJECT: private("V-REJECT", "Reject"),
}

#: Image quality verdicts as CID 6044 has them; it has no code for an abstention.
IMAGE_ASSESSMENTS = {
    Outcome.ACCEPT: USABLE_MEETS,
    Outcome.REVIEW: USABLE_DOES_NOT_MEET,
    Outcome.REJECT: UNUSABLE,
}

#: QC statuses (a person's decision) by their stable names.
QC_STATUSES = {
    "NOT_REVIEWED": private("S-NOT-REVIEWED", "Not reviewed"),
    "PASS": private("S-PASS", "PASS"),
    "PASS_WITH_EDITS": private("S-PASS-EDITS", "PASS with edits"),
    "FAIL_NEEDS_REPROCESSING": private("S-FAIL-REPROC", "FAIL - needs reprocessing"),
    "QUARANTINED": private("S-QUARANTINED", "QUARANTINED"),
    "FAIL": private("S-FAIL", "FAIL"),
}

_UNITS = {
    "1": "no units",
    "mm": "mm",
    "ml": "milliliter",
    "mL": "milliliter",
    "mm2": "square millimeter",
    "mm3": "cubic millimeter",
    "%": "Percent",
    "deg": "Degree",
    "s": "second",
    "T": "Tesla",
    "[hnsf'U]": "Hounsfield unit",
    "{pixels}": "pixels",
    "{voxels}": "voxels",
}


def unit_code(unit: str) -> Code:
    """Return the UCUM code of `unit` (PS3.16 CID 7181); a unit not in the table is its own meaning."""
    return Code(unit, "UCUM", _UNITS.get(unit, unit))


#: Definitions of the report-wide private concepts; those of the findings are in `finding_codes`.
REPORT_CONCEPTS = (
    PrivateConcept(VERDICT, "Judgement of a machine by published criteria: accept, review, not assessable or reject."),
    PrivateConcept(VERDICT_REASON, "A finding, or its absence, that made the verdict other than accept."),
    PrivateConcept(CRITERION_OUTCOME, "What one criterion says about one finding."),
    PrivateConcept(QC_STATUS, "A person's decision about the results of one case iteration."),
    PrivateConcept(CASE, "Identifier of one study under one pipeline; holds no patient data."),
    PrivateConcept(PIPELINE, "Name and version of the declared sequence of stages."),
    PrivateConcept(GENERATION, "Count of input sets of the case; late images make a new one, starting at 1."),
    PrivateConcept(ITERATION, "Count of accepted edits: 0 is the automatic result."),
    PrivateConcept(STAGE, "Name of one step of the pipeline."),
    PrivateConcept(STAGE_KEY, "Hash over stage, code version, model digest, parameters and input digests."),
    PrivateConcept(MODEL, "Name of a neural network that the case ran; its version and digest stand below it."),
    PrivateConcept(MODEL_DIGEST, "SHA-256 over the weights and configuration of a neural network."),
    PrivateConcept(EVIDENCE, "What showed that the study was complete before processing began."),
    PrivateConcept(CRITERIA_VERSION, "Version of the criteria that made the verdict."),
    PrivateConcept(EDIT, "The stage whose output a person replaced to start this iteration."),
    PrivateConcept(EDIT_SENDER, "Application entity or user that sent the edit."),
    PrivateConcept(EDIT_VOXELS, "Voxels where any segment differs from the prior output."),
    PrivateConcept(EDIT_OBJECT, "SOP Instance UID of the segmentation as the editor sent it."),
    PrivateConcept(SEGMENT, "Segment Label (0062,0005) that a finding or reason is about."),
    PrivateConcept(FINDING_CODE, "Stable name of a finding that has no concept of its own."),
    PrivateConcept(OTHER_FINDING, "A finding named by its finding code."),
    PrivateConcept(UNIT_OF_MISSING, "Unit that the value of a finding would have, had it been measured."),
    PrivateConcept(INTERVAL_LOW, "Lower bound of the interval that holds the true value with the stated certainty."),
    PrivateConcept(INTERVAL_HIGH, "Upper bound of the interval that holds the true value with the stated certainty."),
    PrivateConcept(REJECT_BELOW, "The verdict is reject when the whole interval of the finding is below this."),
    PrivateConcept(REVIEW_BELOW, "The verdict is review when any of the interval is below this."),
    PrivateConcept(REVIEW_ABOVE, "The verdict is review when any of the interval is above this."),
    PrivateConcept(REJECT_ABOVE, "The verdict is reject when the whole interval of the finding is above this."),
    PrivateConcept(ABSTAIN_BELOW, "The verdict is not assessable when the value is below this."),
    PrivateConcept(ABSTAIN_ABOVE, "The verdict is not assessable when the value is above this."),
    PrivateConcept(REQUIRED, "Without a value of this finding the verdict is not assessable."),
    PrivateConcept(CRITERION, "Published threshold by which a finding was judged; its bounds lie below it."),
    PrivateConcept(PREDICTED, "Estimated by a model; no reference segmentation of this image was used."),
    PrivateConcept(AGAINST_REFERENCE, "Computed by comparison with a reference segmentation of this image."),
    PrivateConcept(OUTCOMES[Outcome.ACCEPT], "Every criterion is met over the whole interval of its finding."),
    PrivateConcept(OUTCOMES[Outcome.REVIEW], "At least one criterion is not certainly met: a person should look."),
    PrivateConcept(OUTCOMES[Outcome.NOT_ASSESSABLE], "The machine abstains: the input is unlike its tests."),
    PrivateConcept(OUTCOMES[Outcome.REJECT], "At least one criterion is certainly not met."),
    PrivateConcept(QC_STATUSES["NOT_REVIEWED"], "No person has decided yet."),
    PrivateConcept(QC_STATUSES["PASS"], "Accepted by a person as the machine made it (iteration 0)."),
    PrivateConcept(QC_STATUSES["PASS_WITH_EDITS"], "Accepted by a person after at least one accepted edit."),
    PrivateConcept(QC_STATUSES["FAIL_NEEDS_REPROCESSING"], "Not accepted; an edit is wanted and the case stays open."),
    PrivateConcept(QC_STATUSES["QUARANTINED"], "Kept out of use for a stated reason; reversible."),
    PrivateConcept(QC_STATUSES["FAIL"], "Finally discarded for a stated reason."),
)
