"""Reject rules on what the header says; what it does not say is never held against it."""

from __future__ import annotations

from dicom_sr.acquisition import Acquisition, SeriesDefect
from models.image_qc.sequence import sequence_of
from models.image_qc.targets import Target

_LOCALIZER_WORDS = ("localizer", "localiser", "scout", "survey", "loc")
_DERIVED_WORDS = (
    "SEGMENTATION",
    "LABELMAP",
    "MASK",
    "PROJECTION IMAGE",
    "MIP",
    "ADC",
    "FMRI",
    "SCREENSHOT",
    "SCREEN SAVE",
)

DEFECT_SENTENCES = {
    SeriesDefect.EMPTY: "the series holds no image",
    SeriesDefect.NO_PIXELS: "an instance has no pixels",
    SeriesDefect.UNDECODABLE_PIXELS: "the pixels of an instance cannot be decoded",
    SeriesDefect.LOCALIZER: "the series is a localizer",
    SeriesDefect.SINGLE_SLICE: "the series has one slice, not a volume",
    SeriesDefect.MISSING_SLICES: "slices are missing",
    SeriesDefect.DOUBLED_SLICES: "two images lie at the same place",
    SeriesDefect.UNEVEN_SPACING: "the distance between slices varies",
    SeriesDefect.MIXED_ORIENTATION: "the images have different orientations",
    SeriesDefect.MIXED_FRAME_OF_REFERENCE: "the images have different frames of reference",
    SeriesDefect.MIXED_MATRIX: "the images have different sizes",
    SeriesDefect.GANTRY_TILT: "the stack is sheared by a tilted gantry",
    SeriesDefect.NO_GEOMETRY: "the images do not say where they lie",
    SeriesDefect.COLOR_PIXELS: "the pixels are coloured, not measured values",
}


def wrong_modality(acquisition: Acquisition, target: Target) -> str:
    """Say whether the modality is another one than wanted; empty when it fits or is absent."""
    if not target.modality or not acquisition.modality or acquisition.modality == target.modality:
        return ""
    return f"a {target.modality} image is needed, this series is of another modality"


def localizer(acquisition: Acquisition) -> str:
    """Say whether the series is a localizer, by Image Type or by its description; empty when not."""
    if SeriesDefect.LOCALIZER in acquisition.defects or "LOCALIZER" in {v.upper() for v in acquisition.image_type}:
        return DEFECT_SENTENCES[SeriesDefect.LOCALIZER]
    words = acquisition.series_description.lower().replace("_", " ").replace("-", " ").split()
    return "the description names a localizer" if any(w in _LOCALIZER_WORDS for w in words) else ""


def derived_pixels(acquisition: Acquisition) -> str:
    """Say whether Image Type names pixels that are no direct image (mask, projection, parameter map); empty when not.

    DERIVED alone is not enough: registered and filtered images are DERIVED too (PS3.3 C.7.6.1.1.2).
    """
    values = {v.upper() for v in acquisition.image_type}
    found = next((word for word in _DERIVED_WORDS if word in values), "")
    return f"Image Type says {found}" if found else ""


def wrong_sequence(acquisition: Acquisition, target: Target) -> str:
    """Say whether the header describes another MR sequence than wanted; empty when it fits or says nothing."""
    if target.sequence is None:
        return ""
    found = sequence_of(acquisition)
    if found is None or found is target.sequence:
        return ""
    return f"a {target.sequence} image is needed, echo, repetition and inversion time or the description say {found}"
