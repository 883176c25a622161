"""Pseudo ground truth: what an independent network would have segmented in the same image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.errors import UnusableVolume
from models.preprocess import PreprocessPlan, prepare
from models.segmentation.inference import Window, predict
from models.segmentation_qc.networks import ResidualNet
from models.segmentation_qc.structures import StructurePlan

Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PseudoTruth:
    """The second network's answer for one image, on the image's own grid.

    Parameters
    ----------
    probabilities : mapping of str to numpy.ndarray, (z, y, x), float32
        Probability of each structure, by label.
    masks : mapping of str to numpy.ndarray, (z, y, x), bool
        Its most probable mask: the union of the classes that win.
    """

    probabilities: Mapping[str, Probabilities]
    masks: Mapping[str, Mask]


def truth_of(probabilities: Probabilities, structures: StructurePlan) -> PseudoTruth:
    """Read class probabilities (class, z, y, x), background first, as structures."""
    winner = probabilities.argmax(axis=0)
    return PseudoTruth(
        probabilities={
            s.label: probabilities[list(s.classes)].sum(axis=0, dtype=np.float32) for s in structures.structures
        },
        masks={s.label: np.isin(winner, s.classes) for s in structures.structures},
    )


class PseudoTruthPainter:
    """Paints pseudo ground truth with a `ResidualNet`, the image also seen mirrored left to right.

    Parameters
    ----------
    network : ResidualNet
        Trained, in evaluation mode.
    plan : PreprocessPlan
        Preprocessing it was trained with.
    structures : StructurePlan
        What its classes mean.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(
        self, network: ResidualNet, plan: PreprocessPlan, structures: StructurePlan, *, device: str = "auto"
    ) -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._device = torch.device(chosen)
        self._network = network.to(self._device)
        self._plan = plan
        self._structures = structures

    def paint(self, volume: Volume) -> PseudoTruth:
        """Segment the image without looking at any candidate.

        Raises
        ------
        UnusableVolume
            If no network can work on the image, or the answer is not finite.
        """
        prepared = prepare(volume, self._plan)
        images = torch.from_numpy(prepared.voxels[None].copy()).to(self._device)
        straight = self._predict(images)
        mirrored = self._predict(images.flip(-1)).flip(-1)
        probabilities = prepared.restore(((straight + mirrored) / 2).numpy())
        if not np.isfinite(probabilities).all():
            raise UnusableVolume("the QC network's answer is not finite; the image is unlike any it can work on")
        return truth_of(probabilities, self._structures)

    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        return predict(self._network, images, stride=self._network.shape.stride, window=Window())
