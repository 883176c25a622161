"""Judge whether an image is fit for the pipeline it is meant for."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_sr.acquisition import Acquisition, SeriesDefect
from dicom_sr.verdict import Criterion, Finding
from dicom_sr.volume import Volume
from models.image_qc import header_rules, pixel_rules
from models.image_qc.criteria import rules_for
from models.image_qc.grading import shipped_grades, texture_features
from models.image_qc.head import find_head, not_a_head
from models.image_qc.likeness import features_of, shipped_reference
from models.image_qc.metrics import QualityMetrics, measure_quality
from models.image_qc.targets import Target, target_named

_UNITS = {"FWHM": "mm"}
_BEFORE_MEASURING = (
    ("NOT_FINITE", pixel_rules.not_finite),
    ("CONSTANT_IMAGE", pixel_rules.constant_image),
    ("SEGMENTATION_PIXELS", pixel_rules.segmentation_pixels),
)
_TIERS = {1: "clean", 2: "mildly degraded", 3: "severely degraded"}
_AIR_METRICS = ("FBER", "SNR_AIR", "QI1")
_NAMES = {
    "efc": "EFC",
    "fber": "FBER",
    "snr": "SNR",
    "snr_air": "SNR_AIR",
    "qi1": "QI1",
    "fwhm_mm": "FWHM",
    "inu": "INU",
    "cnr": "CNR",
}


def assess_image(volume: Volume | None, acquisition: Acquisition, *, target: str, stage: str) -> tuple[Finding, ...]:
    """Find out what is wrong with an image, and measure how good it is.

    Rules give 1 (violated) or 0; metrics give their value, or None with the reason when not measurable. Pixels are
    measured only if they can be: not after NOT_FINITE, CONSTANT_IMAGE or SEGMENTATION_PIXELS, and quality metrics not
    outside the wanted field of view, where their criteria mean nothing.

    Parameters
    ----------
    volume : Volume or None
        The image; None when its instances make no regular volume (then `acquisition.defects` says why).
    acquisition : Acquisition
        Technical description; an attribute that is absent is not held against the image.
    target : str
        ``t1-hippocampus-crop``, ``t1-brain``, ``flair-brain`` or ``any``.
    stage : str
        Name of the stage that asks, put into every finding.

    Returns
    -------
    tuple of Finding
        Rules first, then metrics.

    Raises
    ------
    UnknownTarget
        If `target` is none of the declared ones.
    """
    wanted = target_named(target)
    return (
        *_header_findings(volume, acquisition, wanted, stage),
        *(_pixel_findings(volume, wanted, stage) if volume is not None and not _no_volume(volume) else ()),
    )


def criteria_for(target: str) -> tuple[Criterion, ...]:
    """Return the criteria that turn the findings of `assess_image` into a verdict.

    Raises
    ------
    UnknownTarget
        If `target` is none of the declared ones.
    """
    return rules_for(target_named(target))


def _header_findings(volume: Volume | None, acquisition: Acquisition, target: Target, stage: str) -> Iterator[Finding]:
    yield _rule("WRONG_MODALITY", header_rules.wrong_modality(acquisition, target), stage)
    yield _rule("LOCALIZER", header_rules.localizer(acquisition), stage)
    yield _rule("NO_VOLUME", _no_volume(volume), stage)
    for defect in acquisition.defects:
        if defect is not SeriesDefect.LOCALIZER:
            yield _rule(defect, header_rules.DEFECT_SENTENCES[defect], stage)
    yield _rule("DERIVED_PIXELS", header_rules.derived_pixels(acquisition), stage)
    yield _rule("WRONG_SEQUENCE", header_rules.wrong_sequence(acquisition, target), stage)


def _no_volume(volume: Volume | None) -> str:
    if volume is None:
        return "the instances do not make one regular volume"
    return pixel_rules.unusable_geometry(volume)


def _pixel_findings(volume: Volume, target: Target, stage: str) -> Iterator[Finding]:
    field_of_view = pixel_rules.field_of_view(volume, target)
    yield _rule("FIELD_OF_VIEW", field_of_view, stage)
    yield _rule("THICK_SLICES", pixel_rules.thick_slices(volume, target), stage)
    for code, ask in _BEFORE_MEASURING:
        violation = ask(volume)
        yield _rule(code, violation, stage)
        if violation:
            return
    if target.is_head:
        yield _rule("PHANTOM", not_a_head(find_head(volume)), stage)
    if not field_of_view:
        yield from _likeness(volume, target, stage)
        yield from _tier(volume, target, stage)
        yield from _metrics(measure_quality(volume, has_air=target.is_head), target, stage)


def _likeness(volume: Volume, target: Target, stage: str) -> Iterator[Finding]:
    if not target.reference:
        return
    features, reference = features_of(volume), shipped_reference(target.reference)
    value = None if features is None else round(reference.distance(features), 3)
    sentence = f"intensity and texture compared with {reference.images} training images; 1 is typical"
    detail = sentence if value is not None else "too few voxels along an axis to compare"
    yield Finding(stage=stage, code="OUT_OF_DISTRIBUTION", value=value, detail=detail)


def _tier(volume: Volume, target: Target, stage: str) -> Iterator[Finding]:
    features = texture_features(volume) if target.reference else None
    if features is None:
        return
    grade = shipped_grades(target.reference).grade(features)
    named = f", most like {grade.artefact.replace('_', ' ').lower()}" if grade.artefact else ""
    yield Finding(
        stage=stage,
        code="QUALITY_TIER",
        value=float(grade.tier),
        detail=f"{_TIERS[grade.tier]}{named} (probability of a severe artefact {grade.probability:.2f})",
    )


def _metrics(metrics: QualityMetrics, target: Target, stage: str) -> Iterator[Finding]:
    for name, code in _NAMES.items():
        if code in _AIR_METRICS and not target.is_head:
            continue  # a crop has no air around it: nothing is missing
        value: float | None = getattr(metrics, name)
        detail = "" if value is not None else "not measurable in this image"
        yield Finding(stage=stage, code=code, value=value, unit=_UNITS.get(code, "1"), detail=detail)


def _rule(code: str, violation: str, stage: str) -> Finding:
    return Finding(stage=stage, code=str(code), value=1.0 if violation else 0.0, detail=violation)
