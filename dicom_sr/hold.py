"""Why an edit is held instead of accepted: a closed set of reasons, each with a sentence for people.

A held object is stored, never discarded, and never starts a rerun; a person decides what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HoldReason(StrEnum):
    """Why a received segmentation is held.

    An object that is pixel-identical to its prior is no hold: `match` answers it by its own outcome, `Unchanged`.
    """

    AMBIGUOUS_STAGE = "AMBIGUOUS_STAGE"
    AMBIGUOUS_PRIOR = "AMBIGUOUS_PRIOR"
    STALE_PARENT = "STALE_PARENT"
    CONCURRENT_EDIT = "CONCURRENT_EDIT"
    POS_SRC_CONFLICT = "POS_SRC_CONFLICT"
    UNDECLARED_SEGMENT = "UNDECLARED_SEGMENT"
    UNKNOWN_LABEL = "UNKNOWN_LABEL"
    DUPLICATE_LABEL = "DUPLICATE_LABEL"
    MISSING_SEGMENT = "MISSING_SEGMENT"
    ZFLIP = "ZFLIP"
    LRFLIP = "LRFLIP"
    UDFLIP = "UDFLIP"
    SHIFTED = "SHIFTED"
    GRID_MISMATCH = "GRID_MISMATCH"
    FOR_MISMATCH = "FOR_MISMATCH"
    FOREIGN_REFERENCES = "FOREIGN_REFERENCES"
    OVERLAP_NOT_ALLOWED = "OVERLAP_NOT_ALLOWED"
    EXTREME_CHANGE = "EXTREME_CHANGE"
    EMPTY = "EMPTY"
    PARTIAL_SET = "PARTIAL_SET"
    FRACTIONAL = "FRACTIONAL"
    UNREADABLE = "UNREADABLE"
    IDENTITY_MISMATCH = "IDENTITY_MISMATCH"
    DOOR_CLOSED = "DOOR_CLOSED"
    UNKNOWN_STUDY = "UNKNOWN_STUDY"
    SAME_UID_OTHER_BYTES = "SAME_UID_OTHER_BYTES"
    NO_OPEN_OUTPUT = "NO_OPEN_OUTPUT"
    RERUN_NOT_CONFIRMED = "RERUN_NOT_CONFIRMED"
    ITERATION_CAP = "ITERATION_CAP"
    STAGE_NOT_NAMED = "STAGE_NOT_NAMED"
    CONTOURS_IN_DOUBT = "CONTOURS_IN_DOUBT"

    @property
    def sentence(self) -> str:
        """What happened and the way out, for people; free of patient data."""
        return _SENTENCES[self]

    @property
    def releasable(self) -> bool:
        """Whether naming the case and stage releases the hold; reasons of identity, geometry and encoding never are."""
        return self in _RELEASABLE


@dataclass(frozen=True, slots=True)
class HoldDetail:
    """One reason for a hold with its particulars.

    Parameters
    ----------
    reason : HoldReason
        The reason.
    detail : str
        Particulars: counts, segments of ours; free of patient data and of text the sender wrote.
    """

    reason: HoldReason
    detail: str = ""


_SENTENCES = {
    HoldReason.AMBIGUOUS_STAGE: (
        "The segmentation fits more than one stage of the case. Accept it for the stage that was edited, or discard it."
    ),
    HoldReason.AMBIGUOUS_PRIOR: (
        "More than one open result could have been edited. Accept it for the right case and stage, or discard it."
    ),
    HoldReason.STALE_PARENT: (
        "A newer result exists than the one that was edited. Repeat the edit on the newest result, or accept this one "
        "over it."
    ),
    HoldReason.CONCURRENT_EDIT: (
        "Another edit of the same result was accepted first. Compare the two; accept this one to replace the other, or "
        "discard it."
    ),
    HoldReason.POS_SRC_CONFLICT: (
        "Planes of the segmentation contradict the images they cite, or one plane comes twice, so the masks may lie on "
        "wrong slices. Save it again from the viewer, as a label map if it offers the choice."
    ),
    HoldReason.UNDECLARED_SEGMENT: (
        "The segmentation uses a segment number it does not declare, so voxels would be lost. Save it again from the "
        "viewer, as a label map if it offers the choice."
    ),
    HoldReason.UNKNOWN_LABEL: (
        "A segment is none of those delivered for any open result. Give it the label of the delivered segment and save "
        "again; new segments cannot be taken."
    ),
    HoldReason.DUPLICATE_LABEL: (
        "Two segments claim to be the same delivered segment. Rename or remove one in the viewer and save again."
    ),
    HoldReason.MISSING_SEGMENT: (
        "A delivered segment is missing; viewers drop empty segments, so it may have been emptied or lost. Accepting "
        "the object empties that segment."
    ),
    HoldReason.ZFLIP: (
        "The masks fit the delivered ones better with the slice order reversed. Look at the masks over the images "
        "before accepting them."
    ),
    HoldReason.LRFLIP: (
        "The masks fit the delivered ones better with left and right exchanged. Look at the masks over the images "
        "before accepting them."
    ),
    HoldReason.UDFLIP: (
        "The masks fit the delivered ones better turned upside down in the image. Look at the masks over the images "
        "before accepting them."
    ),
    HoldReason.SHIFTED: (
        "The masks are the delivered ones displaced by a few voxels, as a writer that miscounts leaves them. Look at "
        "the masks over the images before accepting them."
    ),
    HoldReason.GRID_MISMATCH: (
        "The segmentation does not lie on the voxel grid of the images. Save it in the geometry of the source series; "
        "masks are never resampled."
    ),
    HoldReason.FOR_MISMATCH: (
        "The segmentation has another frame of reference than the images. Save it again on the source series of the "
        "result."
    ),
    HoldReason.FOREIGN_REFERENCES: (
        "The segmentation cites images that are not the source of any delivered result, or cites none. Save it again "
        "on the source series alone."
    ),
    HoldReason.OVERLAP_NOT_ALLOWED: (
        "Segments overlap where the stage forbids it. Remove the overlap in the viewer and save again."
    ),
    HoldReason.EXTREME_CHANGE: (
        "A segment changed more than the stage's bounds allow. Accept it if the change is meant, or discard it."
    ),
    HoldReason.EMPTY: "Nothing is left in any segment. Accept it if every segment is meant to be empty, or discard it.",
    HoldReason.PARTIAL_SET: (
        "The editor saves each group of segments as an object of its own and this is one of them. It is taken once all "
        "are here; accepting it takes those that are here and leaves the other segments as they were delivered."
    ),
    HoldReason.FRACTIONAL: (
        "The segmentation holds probabilities, not masks. Save it as a binary segmentation or label map."
    ),
    HoldReason.UNREADABLE: "The object cannot be read. Save it again from the viewer, uncompressed if it fails again.",
    HoldReason.IDENTITY_MISMATCH: (
        "The segmentation names another patient or study than the images it cites, as a copy that was anonymised again "
        "would. Correct the identity at the sender and send it again."
    ),
    HoldReason.DOOR_CLOSED: (
        "The result takes no edits now: it is final, or edits have to be requested first. Reopen the case or request "
        "the edit, then accept this one."
    ),
    HoldReason.UNKNOWN_STUDY: (
        "No result was delivered for this study. Send the study first, or discard the segmentation."
    ),
    HoldReason.SAME_UID_OTHER_BYTES: (
        "An object with this SOP Instance UID but other content is already here. Both are kept; have the sender save "
        "the edit under a new UID."
    ),
    HoldReason.NO_OPEN_OUTPUT: "No delivered result of this study can be edited. Discard it, or reopen a case.",
    HoldReason.RERUN_NOT_CONFIRMED: (
        "The edit fits, and the pipeline asks before it restarts. Accept the edit to run the stages that depend on it."
    ),
    HoldReason.ITERATION_CAP: (
        "The case has had as many iterations as its pipeline allows. Accept the edit to run one more, or discard it."
    ),
    HoldReason.STAGE_NOT_NAMED: (
        "Contours (RT Structure Set) are taken only for a case and stage that a person names. Accept it for the case "
        "and stage it is an edit of, or discard it."
    ),
    HoldReason.CONTOURS_IN_DOUBT: (
        "The contours leave in doubt which voxels are meant. Look at what is said of them; accepting the object leaves "
        "out what is no closed contour or no segment of the stage, and fills no slice that was not drawn on."
    ),
}

_RELEASABLE = frozenset(
    {
        HoldReason.AMBIGUOUS_STAGE,
        HoldReason.AMBIGUOUS_PRIOR,
        HoldReason.STALE_PARENT,
        HoldReason.CONCURRENT_EDIT,
        HoldReason.MISSING_SEGMENT,
        HoldReason.ZFLIP,
        HoldReason.LRFLIP,
        HoldReason.UDFLIP,
        HoldReason.SHIFTED,
        HoldReason.EXTREME_CHANGE,
        HoldReason.EMPTY,
        HoldReason.PARTIAL_SET,
        HoldReason.DOOR_CLOSED,
        HoldReason.RERUN_NOT_CONFIRMED,
        HoldReason.ITERATION_CAP,
        HoldReason.STAGE_NOT_NAMED,
        HoldReason.CONTOURS_IN_DOUBT,
    }
)
