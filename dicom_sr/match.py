"""Match an incoming segmentation to the delivered output it edits: a pure function of content and candidates.

The rule is never to guess. An edit is accepted only when exactly one open output is left and either the object itself
names it or its labels and masks fit no other; everything else is held with its reason, or ignored when it is nothing
new.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from dicom_sr.candidate import Candidate, ChangeBounds, OutputSource, OutputState
from dicom_sr.errors import UnreadableObject
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match_content import Read, judge, judge_echo
from dicom_sr.match_identify import identify, identify_forced
from dicom_sr.match_outcome import Evidence, Hold, Ignore, IgnoreReason, Match, Outcome, Unchanged
from dicom_sr.seg_header import SegHeader, read_seg_header
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_read import read_seg

__all__ = [
    "Candidate",
    "ChangeBounds",
    "Evidence",
    "Hold",
    "HoldDetail",
    "HoldReason",
    "Ignore",
    "IgnoreReason",
    "Match",
    "Outcome",
    "OutputSource",
    "OutputState",
    "Read",
    "Unchanged",
    "hold_unreadable",
    "match",
    "match_dataset",
]


def match(
    header: SegHeader, read: Read, candidates: Sequence[Candidate], *, forced: tuple[str, str] | None = None
) -> Outcome:
    """Decide what an incoming segmentation is an edit of.

    Parameters
    ----------
    header : SegHeader
        Header of the incoming object.
    read : callable
        ``read(source) -> SegContent`` reads its masks onto the grid of a source series; called at most once, and only
        for an object that its header admits.
    candidates : sequence of Candidate
        Every delivered segmentation of ours that could be meant, of any iteration and state: those of the study,
        those whose source the object cites, and those whose SOP Instance UID it carries or names.
    forced : (str, str), optional
        Case id and stage that a person named to release a hold. Reasons of ambiguity, lineage and plausibility no
        longer count (`HoldReason.releasable`); identity, geometry and encoding still do. A missing segment then is
        empty, or, in a part of a set, stays as delivered.

    Returns
    -------
    Match, Unchanged, Hold or Ignore
    """
    echo = next((c for c in candidates if c.sop_instance_uid == header.sop_instance_uid), None)
    if echo is not None:
        return judge_echo(header, read, echo)
    if header.kind is SegKind.FRACTIONAL:
        return Hold(reasons=(HoldDetail(HoldReason.FRACTIONAL),))
    identified = identify(header, candidates) if forced is None else identify_forced(header, candidates, forced)
    return identified if isinstance(identified, Hold) else judge(identified, read)


def match_dataset(ds: Dataset, candidates: Sequence[Candidate], *, forced: tuple[str, str] | None = None) -> Outcome:
    """Match a segmentation object; what cannot be read becomes a hold. See `match`."""
    try:
        header = read_seg_header(ds)
    except UnreadableObject as refusal:
        return hold_unreadable(refusal)
    return match(header, lambda source: read_seg(ds, source, header=header), candidates, forced=forced)


def hold_unreadable(refusal: UnreadableObject) -> Hold:
    """Hold an object that could not be opened, with the reader's reason."""
    return Hold(reasons=(HoldDetail(HoldReason.UNREADABLE, refusal.detail),))
