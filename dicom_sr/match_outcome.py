"""What matching an incoming segmentation can come to: Match, Unchanged, Hold or Ignore."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_sr.candidate import Candidate
from dicom_sr.diff import SegmentationDiff
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.seg_read import SegWarning
from dicom_sr.segmentation import Segmentation


class Evidence(StrEnum):
    """What tied an edit to its prior, strongest first."""

    PERSON = "PERSON"
    NAMED = "NAMED"
    PREDECESSOR = "PREDECESSOR"
    REFERENCE = "REFERENCE"
    SERIES = "SERIES"
    TRACKING = "TRACKING"
    LABELS = "LABELS"

    @property
    def sentence(self) -> str:
        """The evidence in words."""
        return _WORDS[self]


_WORDS = {
    Evidence.PERSON: "a person named the case and stage",
    Evidence.NAMED: "the sender named the case and stage",
    Evidence.PREDECESSOR: "the object names the delivered segmentation as its predecessor",
    Evidence.REFERENCE: "the object refers to the delivered segmentation",
    Evidence.SERIES: "the object is stored in the delivered series",
    Evidence.TRACKING: "the tracking UIDs are those delivered",
    Evidence.LABELS: "the labels and the masks fit one open result only",
}


class IgnoreReason(StrEnum):
    """Why a received segmentation needs no answer."""

    #: What we delivered, sent back as it is.
    OWN_ECHO = "OWN_ECHO"
    #: The masks of an edit that was accepted already, under another UID.
    DUPLICATE = "DUPLICATE"
    #: Contours of which neither the study nor an image they cite is ours.
    NOT_OURS = "NOT_OURS"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Match:
    """An edit of exactly one open output.

    Parameters
    ----------
    candidate : Candidate
        The output that was edited.
    segmentation : Segmentation
        The edited masks in the output's own segments.
    diff : SegmentationDiff
        What changed.
    evidence : Evidence
        What tied the edit to the output.
    confidence : str
        The evidence in words, for the audit trail; free of patient data.
    warnings : tuple of SegWarning
        Oddities of the object that changed no mask.
    """

    candidate: Candidate
    segmentation: Segmentation
    diff: SegmentationDiff
    evidence: Evidence
    confidence: str
    warnings: tuple[SegWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unchanged:
    """A copy of an open output without any change: a verdict without edit, no rerun."""

    candidate: Candidate
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hold:
    """An object kept for a person.

    Parameters
    ----------
    reasons : tuple of HoldDetail
        At least one, the weightiest first.
    candidates : tuple of Candidate
        The outputs that could be meant; empty when none could.
    """

    reasons: tuple[HoldDetail, ...]
    candidates: tuple[Candidate, ...] = ()

    @property
    def codes(self) -> tuple[HoldReason, ...]:
        """The reasons without their particulars."""
        return tuple(detail.reason for detail in self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ignore:
    """An object that needs no answer but a line in the log; `candidate` is the output it repeats, if any."""

    reason: IgnoreReason
    candidate: Candidate | None = None


Outcome = Match | Unchanged | Hold | Ignore
