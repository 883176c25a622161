"""Quality control of brain and lesion masks without calibration: rules that ask a person, never accept alone.

There is one full lesion truth and no set of failures of these networks with expert masks, so nothing can be calibrated.
Every finding is measured and shown; the verdict is REVIEW at best, and says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Criterion, Finding
from dicom_sr.volume import Volume
from models.brain.consensus import drafts_of, vote
from models.brain.view import score_intensity
from models.card import FINGERPRINT_FILE
from models.errors import InvalidModel, UnusableVolume
from models.fingerprint import DatasetFingerprint
from models.metrics import dice
from models.preprocess import check_usable
from models.registry import ModelCard
from models.segmentation_qc.assess import SegmentationQcResult
from models.segmentation_qc.plausibility import check_anatomy
from models.segmentation_qc.structures import Structure, StructurePlan

BRAIN, LESIONS = "Brain", "White matter lesions"
_PLAN = StructurePlan(structures=(Structure(label=BRAIN, classes=(1,)),))
_WORST = 3
_ANATOMY = "rule of anatomy; 10 heads and 20 brains of adults measured"
_ASKS = "asks a person; not calibrated"

#: Thresholds of the verdict; none of them can make it ACCEPT, because NOT_CALIBRATED always asks a person.
CRITERIA = (
    Criterion(code="NOT_CALIBRATED", review_above=0.5, required=True, source="one patient with a full lesion truth"),
    Criterion(code="EMPTY_SEGMENT", segment=BRAIN, reject_above=0.5, source="rule of anatomy"),
    Criterion(
        code="VOLUME_OUT_OF_RANGE",
        segment=BRAIN,
        reject_below=-6.0,
        review_below=-3.0,
        review_above=3.0,
        reject_above=6.0,
        source="standard deviations of log volume over the brains at hand",
    ),
    Criterion(code="SECOND_COMPONENT", segment=BRAIN, review_above=0.01, source=_ANATOMY),
    Criterion(code="HOLES", segment=BRAIN, review_above=0.01, source=_ANATOMY),
    Criterion(code="SLICE_GAP", segment=BRAIN, review_above=0.0, source="rule of anatomy"),
    Criterion(code="TOUCHES_BORDER", segment=BRAIN, review_above=0.06, source=_ANATOMY),
    Criterion(code="PLAIN_OVERLAP", segment=BRAIN, review_below=0.88, source=_ASKS),
    Criterion(code="ENSEMBLE_AGREEMENT", segment=BRAIN, review_below=0.93, source=_ASKS),
    Criterion(code="ENSEMBLE_AGREEMENT", segment=LESIONS, review_below=0.5, source=_ASKS),
    Criterion(code="OUTSIDE_BRAIN", segment=LESIONS, review_above=0.01, source="rule of anatomy"),
    Criterion(code="LESION_LOAD", segment=LESIONS, review_above=0.05, source="20 MS patients reach 0.036"),
    Criterion(code="LESION_CONTRAST", segment=LESIONS, review_below=0.5, source=_ASKS),
)


class BrainQuality:
    """See `models.segmentation_qc.assess.SegmentationQc`.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``brain_qc``; its folder holds the fingerprint of brains.

    Raises
    ------
    InvalidModel
        If the fingerprint is missing.
    """

    def __init__(self, card: ModelCard) -> None:
        self.digest = card.digest
        try:
            text = (card.folder / FINGERPRINT_FILE).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidModel(f"{FINGERPRINT_FILE} is missing") from error
        self._fingerprint = DatasetFingerprint.from_json(text)

    def assess(
        self, volume: Volume, masks: Mapping[str, Mask], *, agreement: Mapping[str, float], stage: str
    ) -> SegmentationQcResult:
        """Judge the masks of one image; the pseudo ground truth is the vote of threshold and morphology."""
        for mask in masks.values():
            if mask.shape != volume.grid.shape:
                raise GeometryMismatch(f"a mask of shape {mask.shape} for an image of shape {volume.grid.shape}")
        findings = [_not_calibrated(stage)]
        findings += [_agreement(label, agreement[label], stage) for label in masks if label in agreement]
        truth: dict[str, Mask] = {}
        worst: dict[str, tuple[int, ...]] = {}
        try:
            check_usable(volume)
        except UnusableVolume as error:
            findings.append(Finding(stage=stage, code="EMPTY_SEGMENT", value=None, segment=BRAIN, detail=error.detail))
            return SegmentationQcResult(findings=tuple(findings), pseudo_ground_truth={}, worst_slices={})
        if BRAIN in masks:
            findings += check_anatomy(masks, volume.grid, self._fingerprint, _PLAN, stage=stage)
            truth[BRAIN] = vote(drafts_of(volume))
            worst[BRAIN] = _largest_slices(masks[BRAIN] ^ truth[BRAIN])
            findings.append(_overlap(masks[BRAIN], truth[BRAIN], stage))
            if LESIONS in masks and masks[BRAIN].any():
                worst[LESIONS] = _largest_slices(masks[LESIONS])
                findings += _lesions(volume, masks[BRAIN], masks[LESIONS], stage)
        return SegmentationQcResult(findings=tuple(findings), pseudo_ground_truth=truth, worst_slices=worst)


def _not_calibrated(stage: str) -> Finding:
    return Finding(
        stage=stage,
        code="NOT_CALIBRATED",
        value=1.0,
        detail="too few patients with expert masks to calibrate this verdict: a person has to look at every result",
    )


def _agreement(label: str, value: float, stage: str) -> Finding:
    return Finding(
        stage=stage,
        code="ENSEMBLE_AGREEMENT",
        value=round(value, 4),
        segment=label,
        detail=f"the members of the segmenting ensemble agree on {label} with a mean Dice of {value:.2f}",
    )


def _overlap(brain: Mask, plain: Mask, stage: str) -> Finding:
    value = dice(brain, plain)
    return Finding(
        stage=stage,
        code="PLAIN_OVERLAP",
        value=round(value, 4),
        segment=BRAIN,
        detail=f"the mask and the brain found by threshold and morphology have a Dice of {value:.2f}",
    )


def _lesions(volume: Volume, brain: Mask, lesions: Mask, stage: str) -> Iterator[Finding]:
    def found(code: str, value: float, detail: str) -> Finding:
        return Finding(stage=stage, code=code, value=round(value, 4), segment=LESIONS, detail=detail)

    count = int(np.count_nonzero(lesions))
    load = count / int(np.count_nonzero(brain))
    yield found("LESION_LOAD", load, f"lesions take {load:.2%} of the brain")
    if not count:
        return
    outside = int(np.count_nonzero(lesions & ~brain)) / count
    yield found("OUTSIDE_BRAIN", outside, f"{outside:.1%} of the lesions lie outside the brain mask")
    scored = score_intensity(volume.voxels, brain | lesions)[lesions]
    contrast = float(scored.mean())
    yield found(
        "LESION_CONTRAST",
        contrast,
        f"lesions are {abs(contrast):.1f} robust spreads {'brighter' if contrast >= 0 else 'darker'} than the brain",
    )


def _largest_slices(mask: Mask) -> tuple[int, ...]:
    """Return the slices that hold most of a mask: of what is disputed, or of lesions, which have no second opinion."""
    counts = np.count_nonzero(mask, axis=(1, 2))
    order = np.argsort(-counts, kind="stable")[:_WORST]
    return tuple(int(z) for z in order if counts[z] > 0)
