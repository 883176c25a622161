"""The kinds of segmentation object (Segmentation Type (0062,0001)) and the SOP Classes that carry them."""

from __future__ import annotations

from enum import StrEnum

#: Segmentation Storage (PS3.4 table B.5-1).
SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
#: Label Map Segmentation Storage; pydicom 3.0.2 has no name for it.
LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"


class SegKind(StrEnum):
    """Segmentation Type (PS3.3 C.8.20.2.3)."""

    BINARY = "BINARY"
    LABELMAP = "LABELMAP"
    FRACTIONAL = "FRACTIONAL"
