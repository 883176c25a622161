"""The shipped QC model: pseudo ground truth by an independent network, rules of anatomy, calibrated scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass

import numpy as np

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Finding
from dicom_sr.volume import Volume
from models.errors import InvalidModel, UnusableVolume
from models.image_qc.likeness import Reference, features_of, read_reference
from models.preprocess import check_usable
from models.registry import ModelCard
from models.segmentation_qc.assess import SegmentationQcResult
from models.segmentation_qc.calibrated import Calibration, read_calibration
from models.segmentation_qc.evidence import EVIDENCE_NAMES, Evidence, gather_evidence
from models.segmentation_qc.missing import missing_end_mm
from models.segmentation_qc.plausibility import check_anatomy, shape_z
from models.segmentation_qc.pseudo_truth import PseudoTruth, PseudoTruthPainter
from models.segmentation_qc.weights import REFERENCE_FILE, QcWeights, read_weights

_WORST = 3


class NetworkSegmentationQc:
    """See `models.segmentation_qc.assess.SegmentationQc`.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``segmentation_qc``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    weights : QcWeights, optional
        None: those of the card.
    examiner : Examiner, optional
        What gathers the evidence that the card's calibration reads; None: one of the card's weights and reference.

    Raises
    ------
    InvalidModel, FingerprintMismatch
        If the model cannot be loaded as what its card says.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        device: str = "auto",
        weights: QcWeights | None = None,
        examiner: Examiner | None = None,
    ) -> None:
        self.digest = card.digest
        self._weights = weights or read_weights(card.folder)
        self._calibration = read_calibration(card.folder)
        self._examiner = examiner or Examiner(
            self._weights, read_reference(card.folder / REFERENCE_FILE), device=device
        )
        if self._calibration.evidence != self._examiner.gathers:
            raise InvalidModel("the calibration was made for other evidence than this model gathers")

    def assess(
        self, volume: Volume, masks: Mapping[str, Mask], *, agreement: Mapping[str, float], stage: str
    ) -> SegmentationQcResult:
        """Judge the masks of one image; see `models.segmentation_qc.assess.SegmentationQc`."""
        for mask in masks.values():
            if mask.shape != volume.grid.shape:
                raise GeometryMismatch(f"a mask of shape {mask.shape} for an image of shape {volume.grid.shape}")
        known = {label: masks[label] for label in self._weights.plan.labels if label in masks}
        try:
            examination = self._examiner.examine(volume, known)
        except UnusableVolume as error:
            return SegmentationQcResult(
                findings=tuple(_not_measured(label, error.detail, stage) for label in masks),
                pseudo_ground_truth={},
                worst_slices={},
            )
        findings = [
            *self.findings(examination, volume, known, by_machine=set(agreement), stage=stage),
            *(_agreement(label, agreement[label], stage) for label in known if label in agreement),
            *(
                _not_measured(label, "this QC model does not know the segment", stage)
                for label in masks
                if label not in known
            ),
        ]
        truth = examination.truth.masks
        return SegmentationQcResult(
            findings=tuple(findings),
            pseudo_ground_truth={label: truth[label] for label in known},
            worst_slices={label: worst_slices(known[label], truth[label]) for label in known},
        )

    @property
    def examiner(self) -> Examiner:
        """What gathers the evidence; evaluation asks it for many masks of one image."""
        return self._examiner

    def findings(
        self, examination: Examination, volume: Volume, masks: Mapping[str, Mask], *, by_machine: Set[str], stage: str
    ) -> tuple[Finding, ...]:
        """Turn an examination of known masks into findings; `by_machine` names those no person has touched."""
        return (
            *(
                f
                for label in masks
                for f in _scores(label, examination, self._calibration, by_machine=label in by_machine, stage=stage)
            ),
            *(_missing_end(label, examination, stage) for label in masks),
            *self._examiner.check(volume, masks, stage=stage),
            _unlike(examination, stage),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examination:
    """What was found out about one image and its masks, before calibration.

    Parameters
    ----------
    truth : PseudoTruth
        The independent network's answer.
    image_distance : float
        How unlike the training images the image is; 1 is typical.
    evidence : mapping of str to Evidence
        By segment label.
    missing_mm : mapping of str to float
        By segment label, how far the pseudo ground truth reaches beyond the mask, mm.
    images : int
        Training images behind `image_distance`.
    """

    truth: PseudoTruth
    image_distance: float
    evidence: Mapping[str, Evidence]
    missing_mm: Mapping[str, float]
    images: int


class Examiner:
    """Gathers evidence; the same code for calibration, evaluation and service.

    Parameters
    ----------
    weights : QcWeights
        Network, structures, fingerprint.
    reference : Reference
        Statistics of the training images.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(self, weights: QcWeights, reference: Reference, *, device: str = "auto") -> None:
        self._weights = weights
        self._reference = reference
        self._painter = PseudoTruthPainter(weights.network, weights.preprocess, weights.plan, device=device)

    @property
    def gathers(self) -> tuple[str, ...]:
        """Names of the evidence, in order."""
        return EVIDENCE_NAMES

    def paint(self, volume: Volume) -> PseudoTruth:
        """Paint the pseudo ground truth; raises `UnusableVolume`."""
        return self._painter.paint(volume)

    def check(self, volume: Volume, masks: Mapping[str, Mask], *, stage: str = "") -> tuple[Finding, ...]:
        """Apply the rules of anatomy to known masks."""
        weights = self._weights
        return tuple(check_anatomy(masks, volume.grid, weights.fingerprint, weights.plan, stage=stage))

    def examine(self, volume: Volume, masks: Mapping[str, Mask], *, truth: PseudoTruth | None = None) -> Examination:
        """Gather the evidence on known masks.

        Parameters
        ----------
        volume : Volume
            Image.
        masks : mapping of str to numpy.ndarray, (z, y, x), bool
            Labels the plan knows.
        truth : PseudoTruth, optional
            Painted before on the same image; None: painted now.

        Raises
        ------
        UnusableVolume
            If no network can work on the image.
        """
        check_usable(volume)
        painted = truth or self.paint(volume)
        features = features_of(volume)
        distance = 10.0 if features is None else self._reference.distance(features)
        fingerprint, grid = self._weights.fingerprint, volume.grid
        evidence = {
            label: gather_evidence(
                mask,
                painted.masks[label],
                painted.probabilities[label],
                spacing=grid.spacing,
                shape_z=shape_z(mask, grid, fingerprint, label),
                image_distance=distance,
            )
            for label, mask in masks.items()
        }
        missing = {label: missing_end_mm(mask, painted.masks[label], grid.spacing) for label, mask in masks.items()}
        return Examination(
            truth=painted,
            image_distance=distance,
            evidence=evidence,
            missing_mm=missing,
            images=self._reference.images,
        )


def worst_slices(mask: Mask, truth: Mask) -> tuple[int, ...]:
    """Return up to three slices (index z) where two masks differ most, worst first; none where they agree."""
    apart = np.count_nonzero(mask ^ truth, axis=(1, 2))
    order = np.argsort(-apart, kind="stable")[:_WORST]
    return tuple(int(z) for z in order if apart[z] > 0)


def _scores(
    label: str, examination: Examination, calibration: Calibration, *, by_machine: bool, stage: str
) -> Iterator[Finding]:
    structure = calibration.structure(label, by_machine=by_machine)
    basis = (
        f"{calibration.coverage:.0%} interval from {calibration.patients} calibration patients "
        f"({calibration.images} images) for masks of {'a network' if by_machine else 'any origin'}"
    )
    overlap = structure.predict_dice(examination.evidence[label])
    yield Finding(
        stage=stage,
        code="PREDICTED_DICE",
        value=round(overlap.value, 4),
        low=round(overlap.low, 4),
        high=round(overlap.high, 4),
        segment=label,
        detail=f"predicted Dice of {label} is {overlap.value:.2f} ({overlap.low:.2f} to {overlap.high:.2f}); {basis}",
    )
    far = structure.predict_hd95(examination.evidence[label])
    yield Finding(
        stage=stage,
        code="PREDICTED_HD95",
        value=round(far.value, 3),
        unit="mm",
        low=round(far.low, 3),
        high=round(far.high, 3),
        segment=label,
        detail=f"predicted HD95 of {label} is {far.value:.1f} mm ({far.low:.1f} to {far.high:.1f}); {basis}",
    )


def _missing_end(label: str, examination: Examination, stage: str) -> Finding:
    missing = examination.missing_mm[label]
    return Finding(
        stage=stage,
        code="MISSING_END",
        value=round(missing, 2),
        unit="mm",
        segment=label,
        detail=f"the independent network sees {label} reach {missing:.1f} mm beyond the mask",
    )


def _agreement(label: str, value: float, stage: str) -> Finding:
    return Finding(
        stage=stage,
        code="ENSEMBLE_AGREEMENT",
        value=round(value, 4),
        segment=label,
        detail=f"the members of the segmenting ensemble agree on {label} with a mean Dice of {value:.2f}",
    )


def _unlike(examination: Examination, stage: str) -> Finding:
    return Finding(
        stage=stage,
        code="OUT_OF_DISTRIBUTION",
        value=round(examination.image_distance, 3),
        detail=f"intensity and texture compared with {examination.images} training images; 1 is typical",
    )


def _not_measured(label: str, why: str, stage: str) -> Finding:
    return Finding(stage=stage, code="PREDICTED_DICE", value=None, segment=label, detail=f"not measured: {why}")
