"""Tell which segment of an edited object is which of ours: by tracking id, then label, then code; never by number."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.sr.coding import Code as StandardCode

from dicom_sr.codes import Code
from dicom_sr.seg_header import DeclaredSegment
from dicom_sr.segmentation import Segment

#: Property types that viewers write for any segment; they identify none (OHIF types everything as Tissue).
_GENERIC_TYPES = (
    StandardCode("T-D0050", "SRT", "Tissue"),
    StandardCode("85756007", "SCT", "Tissue"),
    StandardCode("M-01000", "SRT", "Morphologically Altered Structure"),
    StandardCode("49755003", "SCT", "Morphologically Abnormal Structure"),
    StandardCode("R-42018", "SRT", "Spatial and Relational Concept"),
    StandardCode("91723000", "SCT", "Anatomical Structure"),
    StandardCode("T-D000A", "SRT", "Anatomical Structure"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentMapping:
    """Which declared segment stands for which of ours.

    Parameters
    ----------
    number_of : mapping of str to int
        For each Segment Label of ours that was found, the Segment Number in the edited object.
    missing : tuple of str
        Labels of ours that no declared segment stands for.
    duplicated : tuple of str
        Labels of ours that several declared segments stand for.
    unknown : int
        Declared segments that stand for none of ours.
    contradictory : int
        Declared segments whose tracking id names one of our segments and whose label another.
    by_code : int
        Segments told by their property type alone.
    """

    number_of: Mapping[str, int]
    missing: tuple[str, ...]
    duplicated: tuple[str, ...]
    unknown: int
    contradictory: int
    by_code: int

    @property
    def is_clear(self) -> bool:
        """Whether every declared segment stands for exactly one of ours; some of ours may be missing."""
        return bool(self.number_of) and not (self.unknown or self.duplicated or self.contradictory)


def map_segments(
    declared: Sequence[DeclaredSegment], schema: Sequence[Segment], tracking: Mapping[str, tuple[str, str]]
) -> SegmentMapping:
    """Map the foreground segments of an edited object to a schema of ours.

    Parameters
    ----------
    declared : sequence of DeclaredSegment
        Segments of the edited object without the background.
    schema : sequence of Segment
        Segments as delivered.
    tracking : mapping of str to (str, str)
        Tracking ID and UID of each delivered label.

    Returns
    -------
    SegmentMapping
    """
    by_uid = {uid: label for label, (_, uid) in tracking.items() if uid}
    by_label = _unique({normalized(segment.label): segment.label for segment in schema}, schema)
    told: list[tuple[DeclaredSegment, str]] = []
    untold: list[DeclaredSegment] = []
    contradictory = 0
    for segment in declared:
        tracked, named = by_uid.get(segment.tracking_uid), by_label.get(normalized(segment.label))
        if tracked and named and tracked != named:
            contradictory += 1
        elif tracked or named:
            told.append((segment, tracked or named or ""))
        else:
            untold.append(segment)
    coded = _told_by_code(untold, schema, {label for _, label in told})
    told += coded
    claims = Counter(label for _, label in told)
    return SegmentMapping(
        number_of={label: segment.number for segment, label in told if claims[label] == 1},
        missing=tuple(segment.label for segment in schema if segment.label not in claims),
        duplicated=tuple(label for label, count in claims.items() if count > 1),
        unknown=len(untold) - len(coded),
        contradictory=contradictory,
        by_code=len(coded),
    )


def normalized(label: str) -> str:
    """Reduce a Segment Label to what survives editors: compatibility form, one space, no case."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _unique(by_label: Mapping[str, str], schema: Sequence[Segment]) -> dict[str, str]:
    counts = Counter(normalized(segment.label) for segment in schema)
    return {key: label for key, label in by_label.items() if key and counts[key] == 1}


def _told_by_code(
    untold: Sequence[DeclaredSegment], schema: Sequence[Segment], taken: set[str]
) -> list[tuple[DeclaredSegment, str]]:
    """Pair segments whose specific property type, with its modifier, occurs once on either side."""
    theirs = [(segment, _kind_of(segment)) for segment in untold]
    pairs = []
    for segment, kind in theirs:
        fitting = _fitting(kind, schema)
        alike = sum(kind.is_same_as(other) for _, other in theirs)
        if len(fitting) == 1 and alike == 1 and fitting[0] not in taken:
            pairs.append((segment, fitting[0]))
    return pairs


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a segment is coded as: a specific property type (None for a generic one) and its modifier."""

    code: StandardCode | None
    modifier: StandardCode | None

    def is_same_as(self, other: _Kind) -> bool:
        """Whether both are of one specific type with one modifier, or both without."""
        return self.code is not None and _same(self.code, other.code) and _same(self.modifier, other.modifier)


def _kind_of(segment: DeclaredSegment | Segment) -> _Kind:
    modifier = segment.property_type_modifier
    return _Kind(_specific(segment.property_type), _standard(modifier) if modifier else None)


def _fitting(kind: _Kind, schema: Sequence[Segment]) -> list[str]:
    """Return the labels of ours of this kind; a modifier narrows the choice, and its absence contradicts nothing."""
    ours = [(segment.label, _kind_of(segment)) for segment in schema]
    same_type = [(label, own.modifier) for label, own in ours if kind.code is not None and _same(own.code, kind.code)]
    exact = [label for label, modifier in same_type if modifier is not None and _same(modifier, kind.modifier)]
    return exact or [label for label, modifier in same_type if modifier is None or kind.modifier is None]


def _specific(code: Code | None) -> StandardCode | None:
    """Return a code that compares equal across SRT and SCT, or None for a generic one."""
    if code is None:
        return None
    standard = _standard(code)
    return None if any(standard == generic for generic in _GENERIC_TYPES) else standard


def _standard(code: Code) -> StandardCode:
    return StandardCode(code.value, code.scheme, code.meaning)


def _same(one: StandardCode | None, other: StandardCode | None) -> bool:
    """Compare, SRT with SCT too; pydicom's comparison cannot take None."""
    return one is other if one is None or other is None else one == other
