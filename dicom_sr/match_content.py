"""Judge the masks of an edit whose output is known: geometry, completeness, flips, bounds, lineage by content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_sr.candidate import Candidate
from dicom_sr.diff import SegmentationDiff, diff
from dicom_sr.errors import GeometryMismatch, UnreadableObject
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match_identify import Identified
from dicom_sr.match_outcome import Evidence, Hold, Ignore, IgnoreReason, Match, Outcome, Unchanged
from dicom_sr.match_segments import SegmentMapping, map_segments
from dicom_sr.seg_header import SegHeader
from dicom_sr.seg_read import SegConflictCode, SegContent, SegWarning
from dicom_sr.segmentation import Segmentation
from dicom_sr.sentinel import Displacement, suspect_displacement
from dicom_sr.source import SourceSeries

#: Reads the content of the object at hand onto the grid of a source.
Read = Callable[[SourceSeries], SegContent]

#: Least Dice of all segments together with the prior, where nothing of ours in the object ties an edit to it.
MIN_OVERLAP_BY_LABELS = 0.5

_CONFLICT_REASONS = {
    SegConflictCode.OFF_GRID: HoldReason.GRID_MISMATCH,
    SegConflictCode.PLANE_SOURCE_CONFLICT: HoldReason.POS_SRC_CONFLICT,
    SegConflictCode.DOUBLED_PLANE: HoldReason.POS_SRC_CONFLICT,
    SegConflictCode.UNDECLARED_SEGMENT: HoldReason.UNDECLARED_SEGMENT,
    SegConflictCode.DOUBLED_SEGMENT_NUMBER: HoldReason.DUPLICATE_LABEL,
    SegConflictCode.BACKGROUND_IN_DOUBT: HoldReason.UNDECLARED_SEGMENT,
}
_DISPLACEMENT_REASONS = {
    Displacement.SLICES_REVERSED: HoldReason.ZFLIP,
    Displacement.LEFT_RIGHT: HoldReason.LRFLIP,
    Displacement.UP_DOWN: HoldReason.UDFLIP,
    Displacement.SHIFTED: HoldReason.SHIFTED,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Edit:
    """An edit read in the segments of the output it belongs to."""

    identified: Identified
    warnings: tuple[SegWarning, ...]
    is_part_of_set: bool
    prior: Segmentation
    edited: Segmentation
    changes: SegmentationDiff
    doubts: tuple[HoldDetail, ...] = ()

    @property
    def candidate(self) -> Candidate:
        """The output it belongs to."""
        return self.identified.candidate


def judge(identified: Identified, reads: Sequence[tuple[SegmentMapping, Read]]) -> Outcome:
    """Read an edit and decide what becomes of it.

    Parameters
    ----------
    identified : Identified
        The output it belongs to; its mapping is that of all parts together.
    reads : sequence of (SegmentMapping, callable)
        For each object of the edit, usually one, its own mapping, and what reads its content onto the output's source.

    Returns
    -------
    Match, Unchanged, Hold or Ignore
    """
    contents = []
    for mapping, read in reads:
        content = read_or_hold(identified.candidate, read)
        if isinstance(content, Hold):
            return content
        contents.append((mapping, content))
    return _decide(_compare(identified, contents))


def judge_masks(identified: Identified, edited: Segmentation, doubts: Sequence[HoldDetail] = ()) -> Outcome:
    """Decide about masks that came in another form than a segmentation object.

    Parameters
    ----------
    identified : Identified
        The output they belong to.
    edited : Segmentation
        The masks in the output's segments.
    doubts : sequence of HoldDetail
        What their form leaves in doubt.

    Returns
    -------
    Match, Unchanged, Hold or Ignore
    """
    prior = identified.candidate.load()
    if not prior.grid.is_same_as(edited.grid):
        return _hold_for(identified.candidate, HoldReason.GRID_MISMATCH)
    edit = _Edit(
        identified=identified,
        warnings=(),
        is_part_of_set=False,
        prior=prior,
        edited=edited,
        changes=diff(prior, edited, surfaces=False),
        doubts=tuple(doubts),
    )
    return _decide(edit)


def _decide(edit: _Edit) -> Outcome:
    identified = edit.identified
    if edit.edited.digest() in edit.candidate.accepted_edit_digests:
        return Ignore(reason=IgnoreReason.DUPLICATE, candidate=edit.candidate)
    forced = identified.evidence is Evidence.PERSON
    if identified.blocked is not None and not forced:
        return _hold(edit, [HoldDetail(identified.blocked)])
    missing = _missing(edit)
    if not edit.changes.is_changed and not missing:
        return Unchanged(candidate=edit.candidate, evidence=identified.evidence)
    lineage = _older_parent(edit)
    if lineage is not None:
        return lineage
    reasons = [*missing, *edit.doubts, *_emptied(edit), *_displaced(edit), *_overlapping(edit), *_extreme(edit)]
    kept = [detail for detail in reasons if not (forced and detail.reason.releasable)]
    if kept:
        return _hold(edit, kept)
    changes = diff(edit.prior, edit.edited)
    return Match(
        candidate=edit.candidate,
        segmentation=edit.edited,
        diff=changes,
        evidence=identified.evidence,
        confidence=_confidence(edit),
        warnings=edit.warnings,
    )


def judge_echo(header: SegHeader, read: Read, candidate: Candidate) -> Outcome:
    """Decide about an object that carries the SOP Instance UID of an output of ours.

    Returns
    -------
    Ignore or Hold
        OWN_ECHO when the masks are those delivered, whatever happened to the header on the way; otherwise
        SAME_UID_OTHER_BYTES.
    """
    content = read_or_hold(candidate, read)
    if not isinstance(content, Hold):
        mapping = map_segments(header.foreground, candidate.segments, candidate.tracking)
        returned = content.segmentation(candidate.segments, mapping.number_of)
        delivered = candidate.load()
        if not mapping.unknown and returned.digest() == delivered.digest():
            return Ignore(reason=IgnoreReason.OWN_ECHO, candidate=candidate)
    return Hold(reasons=(HoldDetail(HoldReason.SAME_UID_OTHER_BYTES),), candidates=(candidate,))


def read_or_hold(candidate: Candidate, read: Read) -> SegContent | Hold:
    """Read the content on the candidate's source, or hold it for what cannot be read or is in doubt."""
    try:
        content = read(candidate.source.load())
    except UnreadableObject as refusal:
        return Hold(reasons=(HoldDetail(HoldReason.UNREADABLE, refusal.detail),), candidates=(candidate,))
    except GeometryMismatch as mismatch:
        return Hold(reasons=(HoldDetail(HoldReason.GRID_MISMATCH, mismatch.detail),), candidates=(candidate,))
    if not content.conflicts:
        return content
    reasons = tuple(
        HoldDetail(_CONFLICT_REASONS[conflict.code], f"{conflict.code} ({conflict.count})")
        for conflict in content.conflicts
    )
    return Hold(reasons=reasons, candidates=(candidate,))


def _compare(identified: Identified, contents: Sequence[tuple[SegmentMapping, SegContent]]) -> _Edit:
    candidate, missing = identified.candidate, identified.mapping.missing
    prior = candidate.load()
    parts = [content.segmentation(candidate.segments, mapping.number_of) for mapping, content in contents]
    part_of_set = any(_is_part_of_set(content.header) for _, content in contents)
    if part_of_set and missing and identified.evidence is Evidence.PERSON:
        edited = _assembled([(prior, missing), *_kept(parts, contents)])
    else:
        edited = parts[0] if len(parts) == 1 else _assembled(_kept(parts, contents))
    return _Edit(
        identified=identified,
        warnings=tuple(warning for _, content in contents for warning in content.warnings),
        is_part_of_set=part_of_set,
        prior=prior,
        edited=edited,
        changes=diff(prior, edited, surfaces=False),
    )


def _kept(
    parts: Sequence[Segmentation], contents: Sequence[tuple[SegmentMapping, SegContent]]
) -> list[tuple[Segmentation, tuple[str, ...]]]:
    return [(part, tuple(mapping.number_of)) for part, (mapping, _) in zip(parts, contents, strict=True)]


def _assembled(parts: Sequence[tuple[Segmentation, tuple[str, ...]]]) -> Segmentation:
    """Take the segments with the given labels from each part; what no part gives is empty."""
    first = parts[0][0]
    masks = {
        segment.number: part.mask(segment)
        for part, labels in parts
        for segment in part.segments
        if segment.label in labels
    }
    return Segmentation.from_masks(first.grid, masks, first.segments)


def _is_part_of_set(header: SegHeader) -> bool:
    """Whether the editor is one that stores each group of segments as an object of its own (MITK)."""
    return any("mitk" in name.casefold() for name in (header.manufacturer, header.model_name, header.software_versions))


def _missing(edit: _Edit) -> list[HoldDetail]:
    """Delivered segments that are absent, unless they were empty or absence means emptied."""
    absent = [
        label
        for label in edit.identified.mapping.missing
        if (change := edit.changes.segment_named(label)) is not None and change.prior_voxels and change.removed_voxels
    ]
    if not absent or edit.candidate.bounds.missing_segment_means_empty:
        return []
    reason = HoldReason.PARTIAL_SET if edit.is_part_of_set else HoldReason.MISSING_SEGMENT
    return [HoldDetail(reason, ", ".join(absent))]


def _emptied(edit: _Edit) -> list[HoldDetail]:
    emptied = not any(change.edited_voxels for change in edit.changes.segments)
    return [HoldDetail(HoldReason.EMPTY)] if emptied else []


def _displaced(edit: _Edit) -> list[HoldDetail]:
    return [
        HoldDetail(
            _DISPLACEMENT_REASONS[suspicion.displacement],
            f"{suspicion.label}: Dice {suspicion.dice:.3f}, {suspicion.dice_undone:.3f} when undone",
        )
        for suspicion in suspect_displacement(edit.prior, edit.edited, edit.changes)
    ]


def _overlapping(edit: _Edit) -> list[HoldDetail]:
    allowed = edit.candidate.bounds.overlap_allowed or edit.prior.overlaps
    return [HoldDetail(HoldReason.OVERLAP_NOT_ALLOWED)] if edit.edited.overlaps and not allowed else []


def _extreme(edit: _Edit) -> list[HoldDetail]:
    bounds = edit.candidate.bounds
    absent = edit.identified.mapping.missing
    reasons = []
    for change in edit.changes.segments:
        if not change.prior_voxels or change.label in absent:
            continue
        ratio = change.volume_ratio
        if change.dice < bounds.min_dice or not 1 / bounds.max_volume_ratio <= ratio <= bounds.max_volume_ratio:
            detail = f"{change.label}: Dice {change.dice:.3f}, volume ratio {ratio:.2f}"
            reasons.append(HoldDetail(HoldReason.EXTREME_CHANGE, detail))
    if (
        edit.identified.evidence in (Evidence.LABELS, Evidence.NAMED)
        and _overall_dice(edit.changes) < MIN_OVERLAP_BY_LABELS
    ):
        detail = f"all segments together: Dice {_overall_dice(edit.changes):.3f}"
        reasons.append(HoldDetail(HoldReason.EXTREME_CHANGE, detail))
    return reasons


def _overall_dice(changes: SegmentationDiff) -> float:
    total = sum(change.prior_voxels + change.edited_voxels for change in changes.segments)
    common = sum(change.prior_voxels - change.removed_voxels for change in changes.segments)
    prior = sum(change.prior_voxels for change in changes.segments)
    return 2 * common / total if prior else 1.0


def _older_parent(edit: _Edit) -> Outcome | None:
    """Tell by content whether an edit without a reference was made on an earlier result of the same line."""
    digest = edit.edited.digest()
    for older in edit.identified.older:
        if digest in older.accepted_edit_digests:
            return Ignore(reason=IgnoreReason.DUPLICATE, candidate=older)
        if older.segments != edit.candidate.segments:
            continue
        prior = older.load()
        if not prior.grid.is_same_as(edit.edited.grid):
            continue
        from_older = diff(prior, edit.edited, surfaces=False)
        # A slice that is just as the older result had it, where the current one differs, was not drawn on the current.
        left_alone = set(edit.changes.slices) - set(from_older.slices)
        if from_older.changed_voxels < edit.changes.changed_voxels or left_alone:
            detail = f"it fits iteration {older.iteration} better than iteration {edit.candidate.iteration}"
            return _hold(edit, [HoldDetail(HoldReason.STALE_PARENT, detail)])
    return None


def _hold_for(candidate: Candidate, reason: HoldReason) -> Hold:
    return Hold(reasons=(HoldDetail(reason),), candidates=(candidate,))


def _hold(edit: _Edit, reasons: list[HoldDetail]) -> Hold:
    return Hold(reasons=tuple(reasons), candidates=(edit.candidate,))


def _confidence(edit: _Edit) -> str:
    mapping = edit.identified.mapping
    by_name = len(mapping.number_of) - mapping.by_code
    told = f"{by_name} segments told by tracking id or label, {mapping.by_code} by property type"
    return (
        f"{edit.identified.evidence.sentence}; {told}; Dice with the prior {_overall_dice(edit.changes):.3f}; "
        f"{edit.changes.changed_voxels} voxels changed"
    )
