"""What a received instance is to us: an image, an edit, our own output coming back, or something else."""

from __future__ import annotations

from enum import StrEnum

SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATION_CLASSES = frozenset({SEGMENTATION_STORAGE, LABEL_MAP_SEGMENTATION_STORAGE})
RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"


class InstanceKind(StrEnum):
    """What a received instance is to us."""

    IMAGE = "IMAGE"
    EDITED_SEG = "EDITED_SEG"
    EDITED_CONTOURS = "EDITED_CONTOURS"
    OWN_OUTPUT = "OWN_OUTPUT"
    OTHER = "OTHER"


#: Kinds that are matched against what was delivered.
EDIT_KINDS = (InstanceKind.EDITED_SEG, InstanceKind.EDITED_CONTOURS)


def classify(*, sop_class_uid: str, has_pixels: bool, is_own: bool) -> InstanceKind:
    """Classify an instance.

    Parameters
    ----------
    sop_class_uid : str
        SOP Class UID.
    has_pixels : bool
        Whether it holds Rows and Columns, so an image plane.
    is_own : bool
        Whether this gateway made it; our outputs that a PACS forwards to us stop here, so no routing loop arises.
    """
    if is_own:
        return InstanceKind.OWN_OUTPUT
    if sop_class_uid in SEGMENTATION_CLASSES:
        return InstanceKind.EDITED_SEG
    if sop_class_uid == RT_STRUCTURE_SET_STORAGE:
        return InstanceKind.EDITED_CONTOURS
    return InstanceKind.IMAGE if has_pixels else InstanceKind.OTHER
