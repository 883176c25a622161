"""One delivered segmentation of ours that an incoming edit may belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.source import SourceSeries


class OutputState(StrEnum):
    """Whether a delivered output takes an edit now."""

    #: The current iteration's output; the door is open.
    OPEN = "OPEN"
    #: An edit of it was accepted, the next iteration is not out yet.
    EDITED = "EDITED"
    #: A newer iteration or generation is out.
    SUPERSEDED = "SUPERSEDED"
    #: The current output, but the case is final or edits must be requested first.
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeBounds:
    """What a stage takes as a plausible edit; beyond it an edit is held for a person.

    Parameters
    ----------
    min_dice : float
        Least Dice of a segment with its prior, 0..1; does not apply to a segment that was empty before.
    max_volume_ratio : float
        Greatest ratio of volumes in either direction; does not apply to a segment that was empty before.
    overlap_allowed : bool
        Whether segments may share voxels; a prior that overlaps allows it too.
    missing_segment_means_empty : bool
        Whether a delivered segment that is absent from the edit counts as emptied instead of holding the edit.
    """

    min_dice: float = 0.5
    max_volume_ratio: float = 3.0
    overlap_allowed: bool = False
    missing_segment_means_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputSource:
    """Identity of the image series an output was made from.

    Parameters
    ----------
    series_instance_uid, frame_of_reference_uid : str
        Of the series.
    sop_instance_uids : frozenset of str
        Every instance of the series.
    load : callable
        Reads the headers and the grid of the series.
    """

    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: frozenset[str]
    load: Callable[[], SourceSeries]

    @classmethod
    def of(cls, series: SourceSeries) -> OutputSource:
        """Describe a series that is loaded already."""
        return cls(
            series_instance_uid=series.series_instance_uid,
            frame_of_reference_uid=series.frame_of_reference_uid,
            sop_instance_uids=series.sop_instance_uids,
            load=lambda: series,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """One delivered segmentation of ours.

    Parameters
    ----------
    case_id, stage : str
        The line of results it belongs to.
    generation, iteration : int
        Its place in that line; the greatest pair is the current result.
    state : OutputState
        Whether it takes an edit now.
    study_instance_uid, patient_id : str
        As delivered.
    source : OutputSource
        The series it lies on.
    sop_instance_uid, series_instance_uid : str
        UIDs under which it was delivered.
    segments : tuple of Segment
        Its segments.
    tracking : mapping of str to (str, str)
        Tracking ID and Tracking UID for each Segment Label.
    load : callable
        Loads its masks; called only when an edit passed every check of its header.
    bounds : ChangeBounds
        What the stage takes as a plausible edit.
    accepted_edit_digests : frozenset of str
        `Segmentation.digest` of every edit accepted for it: the same masks again are a duplicate.
    """

    case_id: str
    stage: str
    generation: int = 0
    iteration: int
    state: OutputState
    study_instance_uid: str
    patient_id: str = field(repr=False)
    source: OutputSource
    sop_instance_uid: str
    series_instance_uid: str
    segments: tuple[Segment, ...]
    tracking: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    load: Callable[[], Segmentation]
    bounds: ChangeBounds = ChangeBounds()
    accepted_edit_digests: frozenset[str] = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether it takes an edit now."""
        return self.state is OutputState.OPEN

    @property
    def line(self) -> tuple[str, str]:
        """Case and stage: the successive results of one stage of one case."""
        return self.case_id, self.stage

    @property
    def rank(self) -> tuple[int, int]:
        """Place in its line: generation, then iteration."""
        return self.generation, self.iteration

    @property
    def tracking_uids(self) -> frozenset[str]:
        """Tracking UIDs of its segments."""
        return frozenset(uid for _, uid in self.tracking.values() if uid)
