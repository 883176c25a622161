"""What each kind of stage does: one function a kind, from inputs on one grid to outputs in memory. Reaches torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from dicom_sr.acquisition import Acquisition
from dicom_sr.segmentation import Mask, Segment, Segmentation
from dicom_sr.verdict import Finding
from dicom_sr.volume import Volume
from gateway.domain.errors import StageFailed
from gateway.domain.pipeline import PROBABILITIES, Stage, StageKind
from gateway.store.artifacts import Maps
from models.image_qc.assess import assess_image
from models.measure import measure
from models.registry import ModelCard
from models.segmentation.command import CommandSegmenter
from models.segmentation.segmenter import SegmentationResult, Segmenter, load_segmenter
from models.segmentation_qc.assess import SegmentationQc, load_segmentation_qc

#: Finding code of the agreement between the members of an ensemble.
AGREEMENT = "ENSEMBLE_AGREEMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageInputs:
    """What a stage works on.

    Parameters
    ----------
    stage : Stage
        As declared.
    acquisition : Acquisition
        Technical facts of the series.
    volume : Volume or None
        The image; None when the series makes no volume.
    segmentations : mapping of str to Segmentation
        Outputs of the segmentation stages it needs, by stage.
    findings : tuple of Finding
        Findings of the stages it needs.
    """

    stage: Stage
    acquisition: Acquisition
    volume: Volume | None
    segmentations: Mapping[str, Segmentation]
    findings: tuple[Finding, ...]

    def require_volume(self) -> Volume:
        """Return the volume.

        Raises
        ------
        StageFailed
            If the series makes none.
        """
        if self.volume is None:
            defects = ", ".join(self.acquisition.defects) or "no pixels"
            raise StageFailed(f"the series makes no regular volume: {defects}", code="NO_VOLUME")
        return self.volume


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutputs:
    """What a stage put out."""

    segmentation: Segmentation | None = None
    findings: tuple[Finding, ...] = ()
    pseudo_ground_truth: Segmentation | None = None
    worst_slices: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    probabilities: Maps = field(default_factory=dict)
    model: Mapping[str, str] = field(default_factory=dict)
    model_seconds: float = 0.0


class WarmModels:
    """Loaded models by digest: each is loaded once in the life of a stage host.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._segmenters: dict[str, Segmenter] = {}
        self._quality: dict[str, SegmentationQc] = {}

    def segmenter(self, stage: Stage, card: ModelCard | None) -> Segmenter:
        """Return the segmenter of a stage: its command, or its model, loaded at the first call."""
        if card is None:
            timeout_s = float(str(stage.parameters.get("timeout_s", 600)))
            return CommandSegmenter(argv=stage.command, timeout_s=timeout_s, digest="")
        if card.digest not in self._segmenters:
            self._segmenters[card.digest] = load_segmenter(card, device=self._device)
        return self._segmenters[card.digest]

    def quality_control(self, card: ModelCard) -> SegmentationQc:
        """Return the segmentation QC of a stage, loaded at the first call."""
        if card.digest not in self._quality:
            self._quality[card.digest] = load_segmentation_qc(card, device=self._device)
        return self._quality[card.digest]


Work = Callable[[StageInputs, "ModelCard | None", WarmModels], StageOutputs]


def grade_image(inputs: StageInputs, card: ModelCard | None, models: WarmModels) -> StageOutputs:  # noqa: ARG001
    """Grade the image: reject rules and quality metrics."""
    started = time.perf_counter()
    target = str(inputs.stage.parameters.get("target", "any"))
    findings = assess_image(inputs.volume, inputs.acquisition, target=target, stage=inputs.stage.name)
    settled = tuple(_settled(finding) for finding in findings)
    return StageOutputs(findings=settled, model_seconds=time.perf_counter() - started)


def segment(inputs: StageInputs, card: ModelCard | None, models: WarmModels) -> StageOutputs:
    """Segment the image, inside the union of the structures it needs where it needs any."""
    volume = inputs.require_volume()
    segmenter = models.segmenter(inputs.stage, card)
    started = time.perf_counter()
    result = segmenter.segment(volume, region=_union(inputs.segmentations))
    seconds = time.perf_counter() - started
    declared = inputs.stage.segments
    if result.masks is not None:
        segmentation = Segmentation.from_masks(volume.grid, result.masks, declared)
    else:
        segmentation = Segmentation.from_labelmap(volume.grid, result.labels, declared)
    named = {segment.number: segment.label for segment in declared}
    findings = tuple(
        Finding(stage=inputs.stage.name, code=AGREEMENT, value=value, segment=named[number])
        for number, value in sorted(result.agreement.items())
        if number in named
    )
    return StageOutputs(
        segmentation=segmentation,
        findings=findings,
        probabilities=_asked_maps(inputs.stage, result),
        model_seconds=seconds,
    )


def measure_segments(inputs: StageInputs, card: ModelCard | None, models: WarmModels) -> StageOutputs:  # noqa: ARG001
    """Measure every segment: volume and shape."""
    found: list[Finding] = []
    for name in inputs.stage.needs:
        if name in inputs.segmentations:
            found += measure(inputs.segmentations[name], inputs.volume, stage=inputs.stage.name)
    return StageOutputs(findings=tuple(found))


def grade_segmentation(inputs: StageInputs, card: ModelCard | None, models: WarmModels) -> StageOutputs:
    """Grade the segmentations: predicted Dice and HD95 with intervals, agreement, plausibility, pseudo ground truth."""
    if card is None:
        return StageOutputs()
    volume = inputs.require_volume()
    masks: dict[str, Mask] = {}
    for segmentation in inputs.segmentations.values():
        masks |= {segment.label: segmentation.mask(segment) for segment in segmentation.segments}
    agreement = {f.segment: f.value for f in inputs.findings if f.code == AGREEMENT and f.value is not None}
    quality = models.quality_control(card)
    started = time.perf_counter()
    result = quality.assess(volume, masks, agreement=agreement, stage=inputs.stage.name)
    seconds = time.perf_counter() - started
    segments = {s.label: s for segmentation in inputs.segmentations.values() for s in segmentation.segments}
    return StageOutputs(
        findings=tuple(_settled(finding) for finding in result.findings),
        pseudo_ground_truth=_pseudo_ground_truth(volume, result.pseudo_ground_truth, segments),
        worst_slices=result.worst_slices,
        model_seconds=seconds,
    )


#: What does the work of each kind; reports are made from the database by `services.report`.
WORK: Mapping[StageKind, Work] = {
    StageKind.IMAGE_QC: grade_image,
    StageKind.SEGMENTATION: segment,
    StageKind.MEASURE: measure_segments,
    StageKind.SEGMENTATION_QC: grade_segmentation,
}


def _settled(finding: Finding) -> Finding:
    """Round what was measured to nine digits: the last bits of a sum depend on how many threads added it up."""
    value, low, high = (
        None if number is None else float(f"{number:.9g}") for number in (finding.value, finding.low, finding.high)
    )
    return replace(finding, value=value, low=low, high=high)


def _asked_maps(stage: Stage, result: SegmentationResult) -> Maps:
    """Return the probability map of each segment where the stage is to keep them and the model gives them."""
    if not stage.parameters.get(PROBABILITIES) or result.probabilities is None:
        return {}
    return {s.label: result.probabilities[s.number] for s in stage.segments if s.number in result.probabilities}


def _union(segmentations: Mapping[str, Segmentation]) -> Mask | None:
    masks = [np.any(segmentation.layers > 0, axis=0) for segmentation in segmentations.values()]
    if not masks:
        return None
    union: Mask = np.any(np.stack(masks), axis=0)
    return union


def _pseudo_ground_truth(
    volume: Volume, masks: Mapping[str, Mask], segments: Mapping[str, Segment]
) -> Segmentation | None:
    known = [segments[label] for label in masks if label in segments]
    if not known:
        return None
    numbered = [replace(segment, number=number) for number, segment in enumerate(known, 1)]
    by_number = {segment.number: masks[segment.label] for segment in numbered}
    return Segmentation.from_masks(volume.grid, by_number, numbered)
