"""What each finding is called in a report: one table from finding code to coded concept, definition and quality reason.

A finding code that is not in the table is reported as `codes.OTHER_FINDING` with its name as text, so a new rule never
breaks a report. Pure tier: standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_sr.codes import OTHER_FINDING, PREDICTED, QUALITY_REASONS, Code, QualityReason, private

_ARTIFACT, _OTHER, _POSITIONING = QualityReason.ARTIFACT, QualityReason.OTHER, QualityReason.POSITIONING
_NO_IMAGE, _PROCESSING, _SOFTWARE = QualityReason.NO_IMAGE, QualityReason.PROCESSING, QualityReason.SOFTWARE_FAILURE


@dataclass(frozen=True, slots=True)
class FindingConcept:
    """How one finding is coded.

    Parameters
    ----------
    code : Code
        Concept Name of the measurement.
    definition : str
        What the number means; published.
    reason : QualityReason
        Reason of CID 7011 it stands for when it makes an object unfit.
    method : Code or None
        Measurement Method, where the same concept is had in more than one way.
    title : str
        Short name for people: at most 32 characters.
    is_rule : bool
        Whether the value only says that a rule is violated (1) or holds (0).
    """

    code: Code
    definition: str
    reason: QualityReason
    method: Code | None = None
    title: str = ""
    is_rule: bool = False


_RULE = "1 if "  # how the definition of a rule starts
_VOLUME = Code("118565006", "SCT", "Volume")
_SNR = Code("113060", "DCM", "Signal to noise")

# value, meaning, definition, reason; the finding code is the key
_PRIVATE_FINDINGS: dict[str, tuple[str, str, str, QualityReason]] = {
    "ENSEMBLE_AGREEMENT": (
        "F-AGREEMENT", "Ensemble agreement",
        "Mean Dice coefficient over all pairs of members of a model ensemble.", _PROCESSING),
    "EMPTY_SEGMENT": (
        "F-EMPTY", "Segment is empty", "1 if a segment that must be present has no voxel, else 0.", _SOFTWARE),
    "VOLUME_OUT_OF_RANGE": (
        "F-VOLUME-RANGE", "Volume outside its range",
        "Distance of the segment's volume from the training population, in standard deviations.", _PROCESSING),
    "COMPONENTS": ("F-COMPONENTS", "Connected components", "Count of its connected components.", _PROCESSING),
    "SECOND_COMPONENT": (
        "F-SECOND-PART", "Share outside the main component",
        "Share of the segment's voxels that lie outside its largest connected component.", _PROCESSING),
    "SLICE_GAP": (
        "F-SLICE-GAP", "Slices without the segment",
        "Slices between the first and the last of the segment that hold no voxel of it.", _PROCESSING),
    "TOUCHES_BORDER": (
        "F-BORDER", "Segment touches the border", "Share or count of its voxels on the border.", _POSITIONING),
    "LABEL_ORDER": (
        "F-PART-ORDER", "Distance to the part behind",
        "How far the center of the segment lies in front of that of the part behind it; below 0 if they are swapped.",
        _PROCESSING),
    "HOLES": ("F-HOLES", "Holes", "Voxels or share of voxels enclosed by the segment but not in it.", _PROCESSING),
    "OUT_OF_DISTRIBUTION": (
        "F-OOD", "Unlike the training data",
        "Distance of the input from the fingerprint of the training data.", _OTHER),
    "PARTS_DO_NOT_FILL_WHOLE": (
        "F-PARTS-WHOLE", "Parts do not fill the whole",
        "Share of the whole that its parts do not cover, or of the parts outside the whole.", _PROCESSING),
    "PARTS_OVERLAP": ("F-OVERLAP", "Parts overlap", "Share of the parts that belongs to more than one.", _PROCESSING),
    "MISSING_END": (
        "F-MISSING-END", "Missing end",
        "How far an independent segmentation reaches beyond the segment along its axis.", _PROCESSING),
    "NOT_CALIBRATED": (
        "F-NOT-CALIBRATED", "Not calibrated",
        "1 if there were too few patients with expert masks to calibrate the verdict on, else 0.", _OTHER),
    "PLAIN_OVERLAP": (
        "F-PLAIN-OVERLAP", "Overlap with plain recipes",
        "Dice coefficient of the brain with the vote of threshold and morphology; not independent.", _PROCESSING),
    "LESION_LOAD": ("F-LESION-LOAD", "Share of the brain", "Volume of lesions over that of the brain.", _PROCESSING),
    "LESION_CONTRAST": (
        "F-LESION-BRIGHT", "Brightness of the lesions",
        "Mean of the lesions minus the brain's median, in robust spreads (IQR / 1.349) of the brain.", _PROCESSING),
    "OUTSIDE_BRAIN": ("F-OUTSIDE", "Share outside the brain", "Share of its voxels outside the brain.", _PROCESSING),
    "LARGEST_COMPONENT": (
        "F-LARGEST-PART", "Share of the largest component",
        "Share of the segment's voxels in its largest connected component.", _PROCESSING),
    "EXTENT_LR": ("F-EXTENT-LR", "Extent left to right", "Extent of the segment along the patient's x.", _PROCESSING),
    "EXTENT_AP": ("F-EXTENT-AP", "Extent front to back", "Extent of the segment along the patient's y.", _PROCESSING),
    "EXTENT_HF": ("F-EXTENT-HF", "Extent head to feet", "Extent of the segment along the patient's z.", _PROCESSING),
    "MEAN_INTENSITY": ("F-MEAN", "Mean intensity", "Mean voxel value inside the segment.", _PROCESSING),
    "SD_INTENSITY": ("F-SD", "Standard deviation of intensity", "Spread of voxel values in the segment.", _PROCESSING),
    "WRONG_MODALITY": ("F-MODALITY", "Wrong modality", "1 if the modality is not the pipeline's, else 0.", _OTHER),
    "WRONG_SEQUENCE": (
        "F-SEQUENCE", "Wrong pulse sequence", "1 if contrast or timing are not the pipeline's, else 0.", _OTHER),
    "LOCALIZER": ("F-LOCALIZER", "Localizer", "1 if the series is a localizer, else 0.", _OTHER),
    "PHANTOM": ("F-PHANTOM", "Phantom", "1 if the pixels show no body, else 0.", _OTHER),
    "DERIVED_PIXELS": ("F-DERIVED", "Derived pixels", "1 if the pixels are derived, else 0.", _PROCESSING),
    "SEGMENTATION_PIXELS": (
        "F-MASK-PIXELS", "Segmentation instead of an image", "1 if the pixels are labels, else 0.", _OTHER),
    "FIELD_OF_VIEW": (
        "F-FIELD-OF-VIEW", "Field of view outside its range",
        "1 if the imaged extent is too small or too large for the pipeline, else 0.", _POSITIONING),
    "THICK_SLICES": ("F-THICK-SLICES", "Thick slices", "1 if slices are too thick for the pipeline, else 0.", _OTHER),
    "CONSTANT_IMAGE": ("F-CONSTANT", "Constant image", "1 if all pixels are equal, else 0.", _NO_IMAGE),
    "NOT_FINITE": ("F-NOT-FINITE", "Pixel values not finite", "1 if any pixel is not a number, else 0.", _SOFTWARE),
    "NO_VOLUME": ("F-NO-VOLUME", "No regular volume", "1 if the instances make no regular volume, else 0.", _NO_IMAGE),
    "EMPTY": ("F-NO-INSTANCES", "No instances", "1 if the series holds no image, else 0.", _NO_IMAGE),
    "NO_PIXELS": ("F-NO-PIXELS", "No pixels", "1 if the instances have no Pixel Data, else 0.", _NO_IMAGE),
    "UNDECODABLE_PIXELS": (
        "F-UNDECODABLE", "Undecodable pixels", "1 if the Pixel Data cannot be decoded, else 0.", _SOFTWARE),
    "SINGLE_SLICE": ("F-SINGLE-SLICE", "Single slice", "1 if the series has one slice only, else 0.", _NO_IMAGE),
    "MISSING_SLICES": ("F-MISSING", "Missing slices", "1 if slices are missing, else 0.", _NO_IMAGE),
    "DOUBLED_SLICES": ("F-DOUBLED", "Doubled slices", "1 if two slices share a position, else 0.", _SOFTWARE),
    "UNEVEN_SPACING": ("F-UNEVEN", "Uneven slice spacing", "1 if slice spacing varies, else 0.", _OTHER),
    "MIXED_ORIENTATION": ("F-MIXED-ORIENT", "Mixed orientations", "1 if slices are not parallel, else 0.", _OTHER),
    "MIXED_FRAME_OF_REFERENCE": (
        "F-MIXED-FOR", "Mixed frames of reference", "1 if there is more than one frame of reference, else 0.", _OTHER),
    "MIXED_MATRIX": ("F-MIXED-MATRIX", "Mixed matrix sizes", "1 if rows or columns vary, else 0.", _OTHER),
    "GANTRY_TILT": ("F-GANTRY-TILT", "Gantry tilt", "1 if slices are shifted against each other, else 0.", _OTHER),
    "NO_GEOMETRY": ("F-NO-GEOMETRY", "No geometry", "1 if position or orientation are absent, else 0.", _NO_IMAGE),
    "COLOR_PIXELS": ("F-COLOR", "Color pixels", "1 if the pixels are color, else 0.", _OTHER),
    "EFC": ("F-EFC", "Entropy focus criterion", "Normalised Shannon entropy of intensities; MRIQC.", _ARTIFACT),
    "FBER": (
        "F-FBER", "Foreground-background energy ratio", "Mean energy in the head over that outside.", _ARTIFACT),
    "SNR_AIR": ("F-SNR-AIR", "Signal to noise against air", "Tissue signal over the noise in air.", _ARTIFACT),
    "CNR": ("F-CNR", "Contrast to noise ratio", "Tissue contrast over the noise; MRIQC.", _ARTIFACT),
    "CJV": ("F-CJV", "Coefficient of joint variation", "Joint variation of two tissue classes; MRIQC.", _ARTIFACT),
    "QI1": ("F-QI1", "Artifact share of the background", "Share of background voxels with artifacts (QI1).", _ARTIFACT),
    "QI2": ("F-QI2", "Background noise goodness of fit", "Fit of the background to a noise model (QI2).", _ARTIFACT),
    "FWHM": ("F-FWHM", "Smoothness, full width at half maximum", "Spatial smoothness of the image.", _ARTIFACT),
    "INU": ("F-INU", "Intensity non-uniformity", "Spread or median of the estimated bias field.", _ARTIFACT),
    "MOTION": ("F-MOTION", "Motion", "Grade or probability of motion artifacts.", QualityReason.MOTION_BLUR),
    "NOISE": ("F-NOISE", "Noise", "Grade or probability of too much noise.", _ARTIFACT),
    "CONTRAST": ("F-CONTRAST", "Poor contrast", "Grade or probability of poor tissue contrast.", _ARTIFACT),
}  # fmt: skip

_SHORT_TITLES = {
    "FWHM": "Smoothness (FWHM)",
    "SECOND_COMPONENT": "Outside the main component",
    "PLAIN_OVERLAP": "Overlap with plain recipes",
    "FBER": "Energy head to air (FBER)",
    "QI1": "Artifacts in air (QI1)",
    "QI2": "Noise in air (QI2)",
    "SNR_AIR": "Signal to noise in air",
    "CJV": "Joint variation (CJV)",
    "SD_INTENSITY": "Spread of intensity",
    "LARGEST_COMPONENT": "Largest component",
}
_DICE = private("QC-DSC", "Dice coefficient")
_HD95 = private("QC-HD95", "Hausdorff distance, 95th percentile")

FINDING_CONCEPTS: dict[str, FindingConcept] = {
    "PREDICTED_DICE": FindingConcept(
        _DICE, "Dice coefficient of the segment: 2|A∩B| / (|A|+|B|).", _PROCESSING, PREDICTED, "Predicted Dice"
    ),
    "PREDICTED_HD95": FindingConcept(
        _HD95, "95th percentile of the symmetric surface distance.", _PROCESSING, PREDICTED, "Predicted HD95"
    ),
    "VOLUME": FindingConcept(_VOLUME, "Volume of the segment.", _PROCESSING),
    "SNR": FindingConcept(_SNR, "Signal to noise ratio; MRIQC.", _ARTIFACT),
} | {
    finding: FindingConcept(
        private(value, meaning),
        definition,
        reason,
        title=_SHORT_TITLES.get(finding, ""),
        is_rule=definition.startswith(_RULE),
    )
    for finding, (value, meaning, definition, reason) in _PRIVATE_FINDINGS.items()
}

_OTHER_CONCEPT = FindingConcept(OTHER_FINDING, "A finding named by its finding code.", QualityReason.OTHER)


def finding_concept(finding_code: str) -> FindingConcept:
    """Return how a finding is coded; `codes.OTHER_FINDING` for one that the table does not have."""
    return FINDING_CONCEPTS.get(finding_code, _OTHER_CONCEPT)


def finding_code_of(concept: Code, method: Code | None) -> str | None:
    """Return the finding code that is written as `concept` by `method`, or None; Code Meanings do not count."""
    for finding_code, known in FINDING_CONCEPTS.items():
        if _same(known.code, concept) and _same(known.method, method):
            return finding_code
    return None


def finding_title(finding_code: str) -> str:
    """Return a name of the finding for people."""
    known = FINDING_CONCEPTS.get(finding_code)
    if known is None:
        return finding_code.replace("_", " ").capitalize()
    return known.title or known.code.meaning


def quality_reason(finding_code: str) -> Code:
    """Return the reason of CID 7011 that a finding stands for."""
    return QUALITY_REASONS[finding_concept(finding_code).reason]


def _same(one: Code | None, other: Code | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.value, one.scheme) == (other.value, other.scheme)
