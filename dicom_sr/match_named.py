"""Match masks that name no output of ours: a person names case and stage, everything that can be checked is checked.

A label map in a NIfTI file names nothing at all; a structure set names patient, study and images, and its regions by
name. Both are held for whatever a segmentation object is held for, and a person releases them the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicom_sr.candidate import Candidate
from dicom_sr.errors import GeometryMismatch, UnreadableObject
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match_content import judge_masks
from dicom_sr.match_identify import admitted, identify_named, unfitting
from dicom_sr.match_outcome import Hold, Outcome
from dicom_sr.match_segments import SegmentMapping, map_segments
from dicom_sr.rtstruct_raster import ContourDoubt, ContourMasks, rasterise
from dicom_sr.rtstruct_read import StructureSet
from dicom_sr.segmentation import Mask, Segmentation

_REASONS = {
    ContourDoubt.OFF_GRID: (HoldReason.GRID_MISMATCH, "contours lie on no plane of the images"),
    ContourDoubt.PLANE_SOURCE_CONFLICT: (HoldReason.POS_SRC_CONFLICT, "contours lie on another plane than their image"),
    ContourDoubt.NOT_CLOSED: (HoldReason.CONTOURS_IN_DOUBT, "contours are points or open lines"),
    ContourDoubt.CROSSING: (HoldReason.CONTOURS_IN_DOUBT, "pairs of contours cross or repeat each other"),
}


def match_label_map(
    read: Callable[[Candidate], Segmentation],
    candidates: Sequence[Candidate],
    *,
    named: tuple[str, str],
    released: bool = False,
) -> Outcome:
    """Decide what becomes of a label map that a person handed in for a case and stage.

    Parameters
    ----------
    read : callable
        ``read(candidate) -> Segmentation`` reads it in the segments and on the grid of an output; called at most once.
    candidates : sequence of Candidate
        Every delivered segmentation of the case.
    named : (str, str)
        Case id and stage.
    released : bool
        Whether a person releases it from a hold: what `HoldReason.releasable` covers no longer counts.

    Returns
    -------
    Match, Unchanged, Hold or Ignore

    Raises
    ------
    DicomObjectError
        Whatever `read` raises: the file itself cannot be taken.
    """
    identified = identify_named(candidates, named, None, released=released)
    if isinstance(identified, Hold):
        return identified
    return judge_masks(identified, read(identified.candidate))


def match_structure_set(
    structure: StructureSet,
    candidates: Sequence[Candidate],
    *,
    named: tuple[str, str] | None = None,
    released: bool = False,
) -> Outcome:
    """Decide what becomes of a structure set.

    Parameters
    ----------
    structure : StructureSet
        The contours.
    candidates : sequence of Candidate
        As for `match`.
    named : (str, str) or None
        Case id and stage, where a person named them; without them it is held (STAGE_NOT_NAMED).
    released : bool
        As for `match_label_map`.

    Returns
    -------
    Match, Unchanged, Hold or Ignore
    """
    line = [c for c in candidates if named is None or c.line == named]
    if named is not None and not line:
        return _held(HoldReason.NO_OPEN_OUTPUT, "no result was delivered for this case and stage")
    left = admitted(structure, line)
    if isinstance(left, Hold):
        return left
    if named is None:
        return _held(HoldReason.STAGE_NOT_NAMED, "", left)
    current = max(left, key=lambda c: c.rank)
    mapping = map_segments(structure.foreground, current.segments, {})
    if not mapping.number_of or mapping.duplicated:
        return unfitting(structure, [(current, mapping)])
    identified = identify_named(left, named, mapping, released=released)
    if isinstance(identified, Hold):
        return identified
    try:
        drawn = rasterise(structure, current.source.load(), current.segments, mapping.number_of)
    except GeometryMismatch as mismatch:
        return _held(HoldReason.GRID_MISMATCH, mismatch.detail, [current])
    except UnreadableObject as refusal:
        return _held(HoldReason.UNREADABLE, refusal.detail, [current])
    return judge_masks(identified, drawn.segmentation, _doubts(structure, current, mapping, drawn))


def _doubts(
    structure: StructureSet, candidate: Candidate, mapping: SegmentMapping, drawn: ContourMasks
) -> list[HoldDetail]:
    found = []
    for doubt, count in drawn.doubts.items():
        reason, what = _REASONS[doubt]
        found.append(HoldDetail(reason, f"{count} {what}"))
    if mapping.unknown:
        detail = f"{mapping.unknown} of {len(structure.regions)} regions have no name of a segment of the stage"
        found.append(HoldDetail(HoldReason.CONTOURS_IN_DOUBT, detail))
    left_out = _planes_left_out(candidate.load(), drawn.segmentation)
    found += [
        HoldDetail(HoldReason.CONTOURS_IN_DOUBT, f"{label}: {count} slices between contoured ones are left out")
        for label, count in left_out.items()
    ]
    return found


def _planes_left_out(prior: Segmentation, edited: Segmentation) -> dict[str, int]:
    """Count for each label the slices without a contour between two with one, where the delivered mask has voxels.

    Planning systems let people draw on every few slices and interpolate on the screen only.
    """
    found = {}
    for before, after in zip(prior.segments, edited.segments, strict=True):
        drawn, delivered = _planes(edited.mask(after)), _planes(prior.mask(before))
        between = range(min(drawn, default=0), max(drawn, default=0))
        count = len((delivered - drawn).intersection(between))
        if count:
            found[after.label] = count
    return found


def _planes(mask: Mask) -> set[int]:
    return {z for z, plane in enumerate(mask) if plane.any()}


def _held(reason: HoldReason, detail: str = "", candidates: Sequence[Candidate] = ()) -> Hold:
    return Hold(reasons=(HoldDetail(reason, detail),), candidates=tuple(candidates[:20]))
