"""The one thing a segmentation stage calls, whatever stands behind it: image in, labels on the same grid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Grid, Volume
from models.errors import InvalidModel, UnsuitableAnswer
from models.registry import ModelCard, verify


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentationResult:
    """What a segmenter answers.

    Parameters
    ----------
    labels : numpy.ndarray, (z, y, x), uint16
        On the input volume's grid; 0 is background, n is the n-th label of the model's card.
    agreement : mapping of int to float
        Mean pairwise Dice of the ensemble's members per label value; empty for a single network.
    masks : mapping of int to numpy.ndarray, (z, y, x), bool, or None
        One mask per label value where labels overlap; then they count and `labels` does not.
    probabilities : mapping of int to numpy.ndarray, (z, y, x), float32, or None
        Probability 0..1 of each label value on the same grid; None where the model gives none.
    """

    labels: npt.NDArray[np.uint16]
    agreement: Mapping[int, float]
    masks: Mapping[int, Mask] | None = None
    probabilities: Mapping[int, npt.NDArray[np.float32]] | None = None


class Segmenter(Protocol):
    """A loaded model, ready to segment.

    Attributes
    ----------
    digest : str
        SHA-256 (hex) of what the answer depends on besides the input.
    """

    digest: str

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image.

        Parameters
        ----------
        volume : Volume
            Image.
        region : numpy.ndarray, (z, y, x), bool, optional
            Mask of the upstream structure on the same grid; needed where the card says so.

        Returns
        -------
        SegmentationResult
            Labels on the grid of `volume`.

        Raises
        ------
        ModelError
            UnusableVolume, OutOfDeviceMemory, CommandFailed or UnsuitableAnswer.
        """
        ...


def load_segmenter(card: ModelCard, *, device: str = "auto", trusted: bool = False) -> Segmenter:
    """Load a model of kind ``segmentation``, ``brain``, ``bundle`` or ``command``, its files checked against the card.

    Parameters
    ----------
    card : ModelCard
        From `models.registry.find_model`.
    device : str
        ``auto`` (an accelerator where there is one), ``cpu`` or ``cuda``.
    trusted : bool
        Whether an administrator vouches for the code of a MONAI bundle, or for a command.

    Raises
    ------
    TamperedWeights, InvalidModel, FingerprintMismatch, UntrustedBundle
        If the model cannot be loaded as what its card says.
    """
    verify(card)
    if card.kind == "segmentation":
        from models.segmentation.unet_segmenter import UNetSegmenter

        return UNetSegmenter(card, device=device)
    if card.kind == "brain":
        from models.brain.load import load_brain

        return load_brain(card, device=device)
    if card.kind == "bundle":
        from models.segmentation.bundle import BundleSegmenter

        return BundleSegmenter(card, device=device, trusted=trusted)
    if card.kind == "command":
        from models.segmentation.command import command_of

        return command_of(card, trusted=trusted)
    raise InvalidModel(f"model '{card.name}' is of kind '{card.kind}', which cannot segment")


def check_region(region: Mask | None, grid: Grid, *, needed: bool) -> None:
    """Raise `UnsuitableAnswer` unless a region is given where it is needed and lies on `grid`."""
    if region is None:
        if needed:
            raise UnsuitableAnswer("the model divides an upstream structure, and its mask was not given")
        return
    if region.shape != grid.shape:
        raise UnsuitableAnswer(f"a region of shape {region.shape} was given for an image of shape {grid.shape}")
