"""Find by its header the one delivered output that an incoming segmentation edits, or say why there is not one.

Hard conditions first (study, patient, frame of reference, images cited), then what ties the object to one output:
predecessor, other reference, series, tracking ids, labels. Series descriptions, segment numbers and frame order never
count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from dicom_sr.candidate import Candidate, OutputState
from dicom_sr.hold import HoldDetail, HoldReason
from dicom_sr.match_outcome import Evidence, Hold
from dicom_sr.match_segments import SegmentMapping, map_segments
from dicom_sr.seg_header import DeclaredSegment, SegHeader

_BLOCKED = {
    OutputState.OPEN: None,
    OutputState.EDITED: HoldReason.CONCURRENT_EDIT,
    OutputState.SUPERSEDED: HoldReason.STALE_PARENT,
    OutputState.CLOSED: HoldReason.DOOR_CLOSED,
}
_NOTHING_DELIVERED = "no result was delivered for this case and stage"


class Citing(Protocol):
    """What the hard conditions look at: a segmentation's header, or a structure set."""

    @property
    def study_instance_uid(self) -> str:
        """Its study."""

    @property
    def patient_id(self) -> str:
        """Its patient."""

    @property
    def frame_of_reference_uid(self) -> str:
        """Its frame of reference."""

    @property
    def referenced_sop_instance_uids(self) -> frozenset[str]:
        """The images it cites."""

    @property
    def foreground(self) -> tuple[DeclaredSegment, ...]:
        """The segments it declares."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identified:
    """The output an object edits, as far as the header tells.

    Parameters
    ----------
    candidate : Candidate
        The output.
    mapping : SegmentMapping
        Which declared segment is which of its segments.
    evidence : Evidence
        What tied the object to it.
    blocked : HoldReason or None
        Why the output takes no edit now.
    older : tuple of Candidate
        Earlier results of the same line whose edit it may be instead; empty when a reference settles it.
    """

    candidate: Candidate
    mapping: SegmentMapping
    evidence: Evidence
    blocked: HoldReason | None
    older: tuple[Candidate, ...] = ()


def identify(header: SegHeader, candidates: Sequence[Candidate]) -> Identified | Hold:
    """Find the output that `header` belongs to among all delivered outputs.

    Parameters
    ----------
    header : SegHeader
        Header of the incoming object, which is none of ours.
    candidates : sequence of Candidate
        Delivered outputs of any state.

    Returns
    -------
    Identified or Hold
    """
    left = admitted(header, candidates)
    if isinstance(left, Hold):
        return left
    evidence, named = _lineage(header, left)
    stranger = _stranger_named(header, candidates, left)
    if stranger is not None:
        return stranger
    mapped = [(c, map_segments(header.foreground, c.segments, c.tracking)) for c in named]
    fitting = [(c, m) for c, m in mapped if m.is_clear and (evidence is not Evidence.LABELS or not m.by_code)]
    if not fitting:
        return unfitting(header, mapped)
    lines = {c.line for c, _ in fitting}
    if len(lines) > 1:
        return _ambiguous([c for c, _ in fitting])
    return _current(fitting, evidence)


def identify_named(
    candidates: Sequence[Candidate], named: tuple[str, str], mapping: SegmentMapping | None, *, released: bool
) -> Identified | Hold:
    """Take the current result of the case and stage that a person named, for masks that name none themselves.

    Parameters
    ----------
    candidates : sequence of Candidate
        Delivered outputs of any state.
    named : (str, str)
        Case id and stage.
    mapping : SegmentMapping or None
        Which of its segments the masks hold; all of them, by number, when None.
    released : bool
        Whether the name releases a hold: then a closed door and an older parent no longer count.

    Returns
    -------
    Identified or Hold
        NO_OPEN_OUTPUT, if nothing was delivered for them.
    """
    line = [c for c in candidates if c.line == named]
    if not line:
        return _hold(HoldReason.NO_OPEN_OUTPUT, _NOTHING_DELIVERED)
    current = max(line, key=lambda c: c.rank)
    whole = SegmentMapping(
        number_of={segment.label: segment.number for segment in current.segments},
        missing=(),
        duplicated=(),
        unknown=0,
        contradictory=0,
        by_code=0,
    )
    return Identified(
        candidate=current,
        mapping=mapping or whole,
        evidence=Evidence.PERSON if released else Evidence.NAMED,
        blocked=None if released else _BLOCKED[current.state],
        older=() if released else tuple(c for c in line if c.rank < current.rank),
    )


def identify_forced(header: SegHeader, candidates: Sequence[Candidate], forced: tuple[str, str]) -> Identified | Hold:
    """Take the case and stage a person named; identity, geometry and segments are still checked.

    Parameters
    ----------
    header, candidates
        As for `identify`.
    forced : (str, str)
        Case id and stage.

    Returns
    -------
    Identified or Hold
    """
    line = [c for c in candidates if c.line == forced]
    if not line:
        return _hold(HoldReason.NO_OPEN_OUTPUT, _NOTHING_DELIVERED)
    left = admitted(header, line)
    if isinstance(left, Hold):
        return left
    current = max(left, key=lambda c: c.rank)
    mapping = map_segments(header.foreground, current.segments, current.tracking)
    if header.foreground and not mapping.is_clear:
        return unfitting(header, [(current, mapping)])
    return Identified(candidate=current, mapping=mapping, evidence=Evidence.PERSON, blocked=None)


def unite(parts: Sequence[Identified]) -> Identified | Hold:
    """Take the parts of one edit as a whole.

    Parameters
    ----------
    parts : sequence of Identified
        What each object of the edit was identified as; at least one.

    Returns
    -------
    Identified or Hold
        With the mapping of all parts together and the weakest evidence of any.
    """
    if len({part.candidate.sop_instance_uid for part in parts}) > 1:
        return _hold(HoldReason.AMBIGUOUS_PRIOR, "the parts belong to different results", [p.candidate for p in parts])
    claims = Counter(label for part in parts for label in part.mapping.number_of)
    twice = [label for label, count in claims.items() if count > 1]
    if twice:
        return _hold(HoldReason.DUPLICATE_LABEL, ", ".join(twice), [parts[0].candidate])
    whole = replace(
        parts[0].mapping,
        number_of={label: number for part in parts for label, number in part.mapping.number_of.items()},
        missing=tuple(label for label in parts[0].mapping.missing if label not in claims),
        by_code=sum(part.mapping.by_code for part in parts),
    )
    weakest = max((part.evidence for part in parts), key=list(Evidence).index)
    return replace(parts[0], mapping=whole, evidence=weakest)


def admitted(header: Citing, candidates: Sequence[Candidate]) -> list[Candidate] | Hold:
    """Apply the hard conditions to all candidates; a condition that none passes is the reason."""
    if not candidates:
        return _hold(HoldReason.UNKNOWN_STUDY)
    images = header.referenced_sop_instance_uids - {c.sop_instance_uid for c in candidates}
    left = [c for c in candidates if c.study_instance_uid == header.study_instance_uid]
    if not left:
        copied = [c for c in candidates if not images.isdisjoint(c.source.sop_instance_uids)]
        if copied:
            return _hold(HoldReason.IDENTITY_MISMATCH, "the study is another one", copied)
        return _hold(HoldReason.UNKNOWN_STUDY, "it is of another study than the case or result it was given for")
    study = left
    left = [c for c in study if c.patient_id == header.patient_id]
    if not left:
        return _hold(HoldReason.IDENTITY_MISMATCH, "the Patient ID is another one", study)
    patient = left
    left = [c for c in patient if c.source.frame_of_reference_uid == header.frame_of_reference_uid]
    if not left:
        return _hold(HoldReason.FOR_MISMATCH, "", patient)
    if not images:
        return _hold(HoldReason.FOREIGN_REFERENCES, "no image is cited", left)
    same_space = left
    left = [c for c in same_space if images <= c.source.sop_instance_uids]
    if not left:
        most = max(len(images & c.source.sop_instance_uids) for c in same_space)
        detail = f"{len(images) - most} of {len(images)} images cited are not of one source series"
        return _hold(HoldReason.FOREIGN_REFERENCES, detail, same_space)
    return left


def _tests(header: SegHeader) -> list[tuple[Evidence, Callable[[Candidate], bool]]]:
    """Evidence in falling strength and how a candidate passes it."""
    tracked = frozenset(segment.tracking_uid for segment in header.foreground if segment.tracking_uid)
    return [
        (Evidence.PREDECESSOR, lambda c: c.sop_instance_uid in header.predecessor_uids),
        (Evidence.REFERENCE, lambda c: c.sop_instance_uid in header.referenced_seg_uids),
        (Evidence.SERIES, lambda c: c.series_instance_uid == header.series_instance_uid),
        (Evidence.TRACKING, lambda c: bool(tracked) and tracked <= c.tracking_uids),
    ]


def _lineage(header: SegHeader, admitted: Sequence[Candidate]) -> tuple[Evidence, list[Candidate]]:
    for evidence, passes in _tests(header):
        named = [c for c in admitted if passes(c)]
        if named:
            return evidence, named
    return Evidence.LABELS, list(admitted)


def _stranger_named(header: SegHeader, candidates: Sequence[Candidate], left: Sequence[Candidate]) -> Hold | None:
    """Hold when the object names a predecessor of ours that fails the hard conditions."""
    named = [c for c in candidates if c.sop_instance_uid in header.predecessor_uids]
    if not named or any(c in left for c in named):
        return None
    reasons = admitted(header, named)
    return reasons if isinstance(reasons, Hold) else None


def unfitting(header: Citing, mapped: Sequence[tuple[Candidate, SegmentMapping]]) -> Hold:
    """Say why the declared segments fit no output, by the output they fit best."""
    if not header.foreground:
        return _hold(HoldReason.EMPTY, "no segment is declared", [c for c, _ in mapped])
    known = [(c, m) for c, m in mapped if m.number_of]
    pieces = [_declared_numbers(m) for _, m in known]
    if len({c.line for c, _ in known}) > 1 and frozenset().union(*pieces) == {s.number for s in header.foreground}:
        return _hold(HoldReason.AMBIGUOUS_STAGE, "its segments are of several stages", [c for c, _ in known])
    best, mapping = max(mapped, key=lambda pair: (len(pair[1].number_of), pair[0].is_open, pair[0].rank))
    reasons = []
    if mapping.contradictory:
        detail = f"{mapping.contradictory} segments whose tracking id and label name different segments"
        reasons.append(HoldDetail(HoldReason.UNKNOWN_LABEL, detail))
    if mapping.unknown or mapping.by_code:
        detail = f"{mapping.unknown + mapping.by_code} of {len(header.foreground)} segments have an unknown label"
        reasons.append(HoldDetail(HoldReason.UNKNOWN_LABEL, detail))
    if mapping.duplicated:
        reasons.append(HoldDetail(HoldReason.DUPLICATE_LABEL, ", ".join(mapping.duplicated)))
    if mapping.missing:
        reasons.append(HoldDetail(HoldReason.MISSING_SEGMENT, ", ".join(mapping.missing)))
    return Hold(reasons=tuple(reasons), candidates=(best,))


def _declared_numbers(mapping: SegmentMapping) -> frozenset[int]:
    return frozenset(mapping.number_of.values())


def _ambiguous(fitting: Sequence[Candidate]) -> Hold:
    one_case = len({c.case_id for c in fitting}) == 1
    reason = HoldReason.AMBIGUOUS_STAGE if one_case else HoldReason.AMBIGUOUS_PRIOR
    lines = len({c.line for c in fitting})
    return _hold(reason, f"{lines} results fit", fitting)


def _current(fitting: Sequence[tuple[Candidate, SegmentMapping]], evidence: Evidence) -> Identified:
    """Choose within one line of results: what a reference names, else the current one."""
    newest, mapping = max(fitting, key=lambda pair: pair[0].rank)
    specific = evidence in (Evidence.PREDECESSOR, Evidence.REFERENCE)
    older = () if specific else tuple(c for c, _ in fitting if c.rank < newest.rank)
    return Identified(candidate=newest, mapping=mapping, evidence=evidence, blocked=_BLOCKED[newest.state], older=older)


def _hold(reason: HoldReason, detail: str = "", candidates: Sequence[Candidate] = ()) -> Hold:
    return Hold(reasons=(HoldDetail(reason, detail),), candidates=tuple(candidates[:20]))
