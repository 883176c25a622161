"""Criteria of image QC with where each threshold comes from.

`overread evaluate image-qc` prints the distributions behind every number: real good images and graded degradations of
them, on patients the reference was not fitted on.
"""

from __future__ import annotations

from dicom_sr.acquisition import SeriesDefect
from dicom_sr.verdict import Criterion
from models.image_qc.targets import Target

REJECT_RULES = (
    "WRONG_MODALITY",
    "LOCALIZER",
    "NO_VOLUME",
    "NOT_FINITE",
    "CONSTANT_IMAGE",
    "DERIVED_PIXELS",
    "SEGMENTATION_PIXELS",
    "WRONG_SEQUENCE",
    "FIELD_OF_VIEW",
    "THICK_SLICES",
    "PHANTOM",
)
_RULE_SOURCE = "rule: 1 is violated"
_CROPS = "overread evaluate image-qc: 34 calibration crops, good and degraded"
_HEADS = "overread evaluate image-qc: 7 real heads, good and degraded"


def rules_for(target: Target) -> tuple[Criterion, ...]:
    """Return the criteria that judge the findings of one target."""
    codes = dict.fromkeys((*REJECT_RULES, *(str(defect) for defect in SeriesDefect)))
    rules = tuple(Criterion(code=code, reject_above=0.5, source=_RULE_SOURCE) for code in codes)
    if target.reference:
        return (*rules, *_CROP_METRICS)
    return (*rules, *_HEAD_METRICS) if target.is_head else rules


# Good crops: likeness at most 1.52, SNR 15.9-55, smoothness 2.3-3.4 mm, EFC 0.888-0.937.
_CROP_METRICS = (
    Criterion(code="OUT_OF_DISTRIBUTION", review_above=2.0, abstain_above=3.0, source=_CROPS),
    Criterion(code="QUALITY_TIER", review_above=2.0, source="tier 3 is severe; models trained on simulated artefacts"),
    Criterion(code="SNR", review_below=10.0, reject_below=3.6, source=_CROPS),
    Criterion(code="FWHM", review_below=1.8, review_above=4.4, reject_above=6.0, source=_CROPS),
    Criterion(code="EFC", review_below=0.86, review_above=0.96, source=_CROPS),
)
_HEAD_METRICS = (
    Criterion(code="SNR", review_below=6.0, reject_below=3.0, source=_HEADS),
    Criterion(code="FWHM", review_above=8.0, source=_HEADS),
)
