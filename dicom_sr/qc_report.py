"""What a quality control report says, as plain data: the input of `sr`, `summary` and `pdf`, the output of `sr_read`.

Pure tier: no pydicom.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from dicom_sr.codes import Code
from dicom_sr.errors import InvalidObject
from dicom_sr.verdict import AssessedFinding, Outcome, Verdict

_CONTROLS_ALLOWED = "\t\n\r\f"


class ContentQualification(StrEnum):
    """Content Qualification (0018,9004): whether an object may serve diagnosis."""

    PRODUCT = "PRODUCT"
    RESEARCH = "RESEARCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRef:
    """Name and version of the pipeline."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Name, version and digest (sha256, hex) of a model the case ran."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentReport:
    """A segment the report is about and where it is stored.

    Parameters
    ----------
    label : str
        Segment Label; findings with this `segment` belong to it.
    segment_number : int
        Segment Number in the SEG.
    tracking_id, tracking_uid : str
        The same in SEG, SR and database, over all iterations.
    seg_sop_class_uid, seg_sop_instance_uid, seg_series_instance_uid : str
        The SEG; a report has to name its series as evidence, too.
    property_type : Code
        Segmented Property Type.
    """

    label: str
    segment_number: int
    tracking_id: str
    tracking_uid: str
    seg_sop_class_uid: str
    seg_sop_instance_uid: str
    seg_series_instance_uid: str
    property_type: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class EditSummary:
    """The accepted edit that started this iteration.

    Parameters
    ----------
    stage : str
        Stage whose output the edit stands in for.
    sender : str
        Application entity title or user that sent it.
    voxels_changed : int
        Voxels where any segment differs from the prior output.
    sop_instance_uid : str
        The SEG as received.
    """

    stage: str
    sender: str
    voxels_changed: int
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The person who verified the report.

    Parameters
    ----------
    name : str
        Person Name; in a blinded reading the reader's identifier.
    role : Code
        Role in the procedure (CID 7453).
    at : datetime
        When, with time zone.
    organization : str
        Verifying Organization, not empty.
    """

    name: str
    role: Code
    at: datetime
    organization: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorDocument:
    """The report of the iteration before (Predecessor Documents Sequence, PS3.3 C.17.2)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QcReport:
    """One quality control report.

    Findings are kept in the order of the report: first those about no declared segment, then segment by segment, each
    group in the order given. Text loses trailing white space and control characters, which DICOM cannot carry.

    Parameters
    ----------
    sop_instance_uid, series_instance_uid : str
        UIDs of the object to write.
    series_number, instance_number : int
        Numbers of the object to write.
    series_description : str
        At most 64 characters; for most viewers this is the user interface: verdict and iteration belong here.
    created_at : datetime
        When the report was made, with time zone.
    case_id : str
        Case; free of patient data.
    pipeline : PipelineRef
        Pipeline that made the findings.
    generation, iteration : int
        Input generation (from 1) and count of accepted edits (from 0).
    stage_keys : mapping of str to str
        Stage run key by stage.
    models : tuple of ModelRef
        Models that took part.
    verdict : Verdict
        Verdict, its reasons and every finding.
    criteria_version : str
        Version of the criteria the verdict was made by.
    segments : tuple of SegmentReport
        Empty for a report about the images.
    completion_evidence : tuple of str
        What showed that the study was complete.
    qc_status : str or None
        A person's decision, one of `codes.QC_STATUSES`; None when there is no such decision to report.
    comment : str
        Quality control comment of a person, any script.
    edit : EditSummary or None
        The edit that started this iteration.
    signature : Signature or None
        With one the report is VERIFIED and FINAL, without UNVERIFIED and PRELIMINARY.
    predecessor : PriorDocument or None
        The report this one follows.
    content_qualification : ContentQualification
        RESEARCH makes pictures and PDF say that they are not for diagnosis.

    Raises
    ------
    InvalidObject
        If a time has no zone, a criterion judges another finding, or an outcome has no criterion.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    series_description: str
    created_at: datetime
    case_id: str
    pipeline: PipelineRef
    generation: int
    iteration: int
    stage_keys: Mapping[str, str]
    models: tuple[ModelRef, ...]
    verdict: Verdict
    criteria_version: str
    segments: tuple[SegmentReport, ...] = ()
    completion_evidence: tuple[str, ...] = ()
    qc_status: str | None = None
    comment: str = ""
    edit: EditSummary | None = None
    signature: Signature | None = None
    predecessor: PriorDocument | None = None
    content_qualification: ContentQualification = ContentQualification.PRODUCT

    def __post_init__(self) -> None:
        _require_zone(self.created_at)
        if self.signature is not None:
            _require_zone(self.signature.at)
        for assessed in self.verdict.assessed:
            _require_consistent(assessed)
        object.__setattr__(self, "comment", legal_text(self.comment))
        object.__setattr__(self, "verdict", replace(self.verdict, assessed=self._in_report_order()))

    def _in_report_order(self) -> tuple[AssessedFinding, ...]:
        place = {segment.label: index for index, segment in enumerate(self.segments)}
        return tuple(sorted(self.verdict.assessed, key=lambda a: place.get(a.finding.segment, -1)))

    def assessed_of(self, segment: SegmentReport) -> tuple[AssessedFinding, ...]:
        """Return the findings about one segment."""
        return tuple(a for a in self.verdict.assessed if a.finding.segment == segment.label)

    def assessed_of_no_segment(self) -> tuple[AssessedFinding, ...]:
        """Return the findings about the image as a whole, or about a segment the report does not declare."""
        labels = {segment.label for segment in self.segments}
        return tuple(a for a in self.verdict.assessed if a.finding.segment not in labels)

    def outcome_of(self, segment: SegmentReport) -> Outcome | None:
        """Return the worst outcome of any criterion about one segment; None when none was applied."""
        outcomes = [a.outcome for a in self.assessed_of(segment) if a.outcome is not None]
        return max(outcomes, key=lambda outcome: outcome.severity, default=None)


def legal_text(text: str) -> str:
    """Return `text` without what the VRs of text drop or forbid: control characters and trailing white space."""
    kept = "".join(c for c in text if c in _CONTROLS_ALLOWED or (c >= " " and not "\x7f" <= c <= "\x9f"))
    return kept.rstrip()


def _require_zone(moment: datetime) -> None:
    if moment.utcoffset() is None:
        raise InvalidObject("a time of the report has no time zone: give datetime values with tzinfo")


def _require_consistent(assessed: AssessedFinding) -> None:
    criterion = assessed.criterion
    if (criterion is None) != (assessed.outcome is None):
        raise InvalidObject("a finding has an outcome without the criterion it comes from, or the reverse")
    if criterion is not None and criterion.code != assessed.finding.code:
        raise InvalidObject("a finding is judged by the criterion of another finding code")
