"""The examiner of the default QC model with nnQC as a further witness: what the model ``hippocampus-nnqc`` runs.

It completes the QC model named as ``companion`` in its card (second network, rules of anatomy, likeness of the image)
and is calibrated with it, so it serves with exactly that model and no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.card import read_card
from models.errors import InvalidModel
from models.image_qc.likeness import Reference, read_reference
from models.registry import ModelCard, find_model, verify
from models.segmentation_qc.evidence import DIFFUSION_EVIDENCE_NAMES, widen
from models.segmentation_qc.judge import Examination, Examiner, NetworkSegmentationQc
from models.segmentation_qc.nnqc.paint import DiffusionPainter, Look
from models.segmentation_qc.nnqc.weights import read_nnqc
from models.segmentation_qc.pseudo_truth import PseudoTruth
from models.segmentation_qc.weights import REFERENCE_FILE, QcWeights, read_weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SightedTruth(PseudoTruth):
    """What the second network painted, and what nnQC's experts saw in the same image.

    Parameters
    ----------
    look : Look
        Of nnQC.
    """

    look: Look


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DiffusionExamination(Examination):
    """What was found out about one image and its masks, nnQC's painting included.

    Parameters
    ----------
    painted : PseudoTruth
        For this candidate.
    blank : PseudoTruth
        From the image alone.
    """

    painted: PseudoTruth
    blank: PseudoTruth


class DiffusionExaminer(Examiner):
    """Gathers `DiffusionEvidence`.

    Parameters
    ----------
    weights : QcWeights
        Of the companion.
    reference : Reference
        Of the companion.
    painter : DiffusionPainter
        nnQC.
    device : str
        ``auto``, ``cpu`` or ``cuda``, for the second network.
    """

    def __init__(
        self, weights: QcWeights, reference: Reference, painter: DiffusionPainter, *, device: str = "auto"
    ) -> None:
        super().__init__(weights, reference, device=device)
        self.painter = painter

    @property
    def gathers(self) -> tuple[str, ...]:
        """Names of the evidence, in order."""
        return DIFFUSION_EVIDENCE_NAMES

    def paint(self, volume: Volume) -> SightedTruth:
        """Paint with the second network, and let nnQC look; raises `UnusableVolume`."""
        truth = super().paint(volume)
        return SightedTruth(probabilities=truth.probabilities, masks=truth.masks, look=self.painter.look(volume))

    def examine(
        self, volume: Volume, masks: Mapping[str, Mask], *, truth: PseudoTruth | None = None
    ) -> DiffusionExamination:
        """Gather the evidence on known masks; see `Examiner.examine`."""
        sight = truth if isinstance(truth, SightedTruth) else self.paint(volume)
        found = super().examine(volume, masks, truth=sight)
        painted, blank = self.painter.paint(sight.look, masks), sight.look.blank
        widened = {
            label: widen(
                evidence,
                masks[label],
                painted=(painted.masks[label], painted.probabilities[label]),
                blank=(blank.masks[label], blank.probabilities[label]),
                spacing=volume.grid.spacing,
            )
            for label, evidence in found.evidence.items()
        }
        return DiffusionExamination(
            truth=found.truth,
            image_distance=found.image_distance,
            evidence=widened,
            missing_mm=found.missing_mm,
            images=found.images,
            painted=painted,
            blank=blank,
        )


def companion_of(card: ModelCard) -> ModelCard:
    """Find and check the QC model that an nnQC model completes.

    Raises
    ------
    InvalidModel
        If the card names none, or one that has changed since calibration.
    """
    named = read_card(card.folder).get("companion")
    if not isinstance(named, dict) or not {"name", "digest"} <= set(named):
        raise InvalidModel("the card of an nnQC model names the QC model it completes, with its digest")
    companion = find_model(str(named["name"]), (card.folder.parent,))
    if companion.digest != named["digest"]:
        raise InvalidModel(
            "nnQC was calibrated with another version of the QC model it completes; calibrate it anew with "
            "`overread train nnqc-calibration`"
        )
    verify(companion)
    return companion


def diffusion_examiner(card: ModelCard, companion: ModelCard, *, device: str = "auto") -> DiffusionExaminer:
    """Load nnQC and what it needs of its companion.

    Raises
    ------
    InvalidModel, FingerprintMismatch
        If either cannot be loaded as what its card says, or they know different structures.
    """
    own, base = read_nnqc(card.folder), read_weights(companion.folder)
    if own.structures != base.plan:
        raise InvalidModel("nnQC and the QC model it completes know different structures")
    painter = DiffusionPainter(own.network, own.plan, own.structures, device=device)
    return DiffusionExaminer(base, read_reference(companion.folder / REFERENCE_FILE), painter, device=device)


def load_nnqc(card: ModelCard, *, device: str = "auto") -> NetworkSegmentationQc:
    """Load an nnQC model as a QC model; see `models.segmentation_qc.assess.load_segmentation_qc`."""
    companion = companion_of(card)
    examiner = diffusion_examiner(card, companion, device=device)
    return NetworkSegmentationQc(card, weights=read_weights(companion.folder), examiner=examiner, device=device)
