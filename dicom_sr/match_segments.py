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
    """Pair segments whose specific property type occurs once on either side."""
    ours = [(_specific(segment.property_type), segment.label) for segment in schema]
    theirs = [(_specific(segment.property_type), segment) for segment in untold]
    pairs = []
    for code, segment in theirs:
        fitting = [label for own, label in ours if code is not None and own == code]
        alike = sum(code is not None and other == code for other, _ in theirs)
        if len(fitting) == 1 and alike == 1 and fitting[0] not in taken:
            pairs.append((segment, fitting[0]))
    return pairs


def _specific(code: Code | None) -> StandardCode | None:
    """Return a code that compares equal across SRT and SCT, or None for a generic one."""
    if code is None:
        return None
    standard = StandardCode(code.value, code.scheme, code.meaning)
    return None if any(standard == generic for generic in _GENERIC_TYPES) else standard
