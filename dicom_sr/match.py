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
from dicom_sr.match_identify import identify, identify_forced, unite
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
    "match_parts",
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
    return identified if isinstance(identified, Hold) else judge(identified, [(identified.mapping, read)])


def match_parts(
    parts: Sequence[tuple[SegHeader, Read]],
    candidates: Sequence[Candidate],
    *,
    forced: tuple[str, str] | None = None,
) -> Outcome:
    """Match objects that together are one edit: MITK stores each group of segments as an object of its own.

    Each part alone is held as PARTIAL_SET; call this with every part held for one output when another one arrives.

    Parameters
    ----------
    parts : sequence of (SegHeader, callable)
        At least one object; header and reader of each, as for `match`.
    candidates : sequence of Candidate
        As for `match`.
    forced : (str, str), optional
        As for `match`; segments that are in no part stay as delivered.

    Returns
    -------
    Match, Unchanged, Hold or Ignore
        Hold with PARTIAL_SET while segments are missing, DUPLICATE_LABEL when two parts give the same segment,
        AMBIGUOUS_PRIOR when the parts belong to different outputs.
    """
    found = []
    for header, read in parts:
        identified = identify(header, candidates) if forced is None else identify_forced(header, candidates, forced)
        if isinstance(identified, Hold):
            return identified
        found.append((identified, read))
    whole = unite([identified for identified, _ in found])
    return whole if isinstance(whole, Hold) else judge(whole, [(one.mapping, read) for one, read in found])


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
