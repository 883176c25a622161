"""The one thing a segmentation-QC stage calls: image and masks in, findings and pseudo ground truth out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Criterion, Finding
from dicom_sr.volume import Volume
from models.card import read_card
from models.errors import InvalidModel
from models.registry import ModelCard, verify
from models.segmentation_qc.calibrated import read_calibration

#: Kind of the card of quality control by rules alone, for brain and lesions.
BRAIN_KIND = "brain_qc"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentationQcResult:
    """What segmentation QC answers.

    Parameters
    ----------
    findings : tuple of Finding
        Per segment and between segments.
    pseudo_ground_truth : mapping of str to numpy.ndarray, (z, y, x), bool
        What the independent network would have segmented, by segment label, on the grid of the image; empty when it
        could not work on the image.
    worst_slices : mapping of str to tuple of int
        By segment label the slices (index z of the image) where mask and pseudo ground truth differ most, worst
        first; at most three, none where they agree.
    """

    findings: tuple[Finding, ...]
    pseudo_ground_truth: Mapping[str, Mask]
    worst_slices: Mapping[str, tuple[int, ...]]


class SegmentationQc(Protocol):
    """A loaded QC model.

    Attributes
    ----------
    digest : str
        SHA-256 (hex) of what the answer depends on besides the input.
    """

    digest: str

    def assess(
        self, volume: Volume, masks: Mapping[str, Mask], *, agreement: Mapping[str, float], stage: str
    ) -> SegmentationQcResult:
        """Judge the masks of one image.

        Parameters
        ----------
        volume : Volume
            The image that was segmented.
        masks : mapping of str to numpy.ndarray, (z, y, x), bool
            By segment label, on the grid of `volume`; they may overlap.
        agreement : mapping of str to float
            Agreement of the segmenting ensemble's members by segment label. A label named here is taken as made by a
            network and untouched since; leave out the label of an edited mask, which gets a wider interval.
        stage : str
            Name of the stage that asks, put into every finding.

        Returns
        -------
        SegmentationQcResult
            An image no network can work on gives findings without a value, never an error.

        Raises
        ------
        GeometryMismatch
            If a mask does not have the shape of the image.
        """
        ...


def load_segmentation_qc(card: ModelCard, *, device: str = "auto") -> SegmentationQc:
    """Load a model of kind ``segmentation_qc`` or ``brain_qc``, its files checked against the card.

    Raises
    ------
    TamperedWeights, InvalidModel, FingerprintMismatch
        If the model cannot be loaded as what its card says.
    """
    if card.kind == BRAIN_KIND:
        verify(card)
        from models.brain.quality import BrainQuality

        return BrainQuality(card)
    _check_kind(card)
    verify(card)
    if "companion" in read_card(card.folder):
        from models.segmentation_qc.nnqc.examiner import load_nnqc

        return load_nnqc(card, device=device)
    from models.segmentation_qc.judge import NetworkSegmentationQc

    return NetworkSegmentationQc(card, device=device)


def criteria_for(card: ModelCard) -> tuple[Criterion, ...]:
    """Return the criteria that turn findings into a verdict, each with the calibration it comes from; needs no torch.

    Raises
    ------
    InvalidModel
        If the card is of another kind, or its calibration is missing or damaged.
    """
    if card.kind == BRAIN_KIND:
        from models.brain.quality import CRITERIA

        return CRITERIA
    _check_kind(card)
    return read_calibration(card.folder).criteria


def _check_kind(card: ModelCard) -> None:
    if card.kind != "segmentation_qc":
        raise InvalidModel(f"model '{card.name}' is of kind '{card.kind}', which cannot judge segmentations")
