"""How structures are coded in SEG and SR: category, type and region by a name that a pipeline can write.

Standard codes only (CID 7150, 7151, 7153). Where the standard has no code of a part, the code of the whole stands and
the Segment Label tells the parts apart. Pure tier: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_sr.codes import Code

ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
TISSUE = Code("85756007", "SCT", "Tissue")
BRAIN = Code("12738006", "SCT", "Brain")
HIPPOCAMPUS = Code("5366008", "SCT", "Hippocampus")
LESION = Code("52988006", "SCT", "Lesion")
ANTERIOR = Code("255549009", "SCT", "Anterior")
POSTERIOR = Code("255551008", "SCT", "Posterior")


@dataclass(frozen=True, slots=True)
class SegmentCodes:
    """Codes of one structure.

    Parameters
    ----------
    category, property_type : Code
        Segmented Property Category and Type (CID 7150, 7151).
    region : Code or None
        Anatomic Region, for a type that can lie anywhere.
    modifier : Code or None
        Segmented Property Type Modifier that names a part of the type.
    """

    category: Code
    property_type: Code
    region: Code | None = None
    modifier: Code | None = None


def _anatomy(value: str, meaning: str) -> SegmentCodes:
    return SegmentCodes(ANATOMICAL_STRUCTURE, Code(value, "SCT", meaning))


SEGMENT_CODES: dict[str, SegmentCodes] = {
    "hippocampus": SegmentCodes(ANATOMICAL_STRUCTURE, HIPPOCAMPUS),
    "hippocampus anterior": SegmentCodes(ANATOMICAL_STRUCTURE, HIPPOCAMPUS, modifier=ANTERIOR),
    "hippocampus posterior": SegmentCodes(ANATOMICAL_STRUCTURE, HIPPOCAMPUS, modifier=POSTERIOR),
    "brain": SegmentCodes(ANATOMICAL_STRUCTURE, BRAIN),
    "brain lesion": SegmentCodes(ABNORMAL_STRUCTURE, LESION, region=BRAIN),
    "lesion": SegmentCodes(ABNORMAL_STRUCTURE, LESION),
    "white matter": _anatomy("68523003", "Cerebral White Matter"),
    "brain stem": _anatomy("119238007", "Brain Stem"),
    "spinal cord": _anatomy("2748008", "Spinal cord"),
    "spleen": _anatomy("78961009", "Spleen"),
    "liver": _anatomy("10200004", "Liver"),
    "prostate": _anatomy("41216001", "Prostate"),
    "kidney": _anatomy("64033007", "Kidney"),
    "lung": _anatomy("39607008", "Lung"),
    "heart": _anatomy("80891009", "Heart"),
    "tissue": SegmentCodes(TISSUE, TISSUE),
}


def segment_codes(name: str) -> SegmentCodes:
    """Return the codes of a structure by name, ignoring case; the generic code Tissue for an unknown name."""
    return SEGMENT_CODES.get(" ".join(name.lower().split()), SEGMENT_CODES["tissue"])
