"""Paint pseudo ground truth with nnQC: for the image alone, and for the image with a candidate, on the image's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from dicom_sr.errors import GeometryMismatch
from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.errors import UnusableVolume
from models.preprocess import Prepared, prepare
from models.segmentation_qc.nnqc.conditional import View
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.sampler import Sampling, sample
from models.segmentation_qc.nnqc.units import Cut, UnitPlan, cut_units
from models.segmentation_qc.pseudo_truth import Probabilities, PseudoTruth, truth_of
from models.segmentation_qc.structures import StructurePlan

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """An image that the experts have looked at, and what nnQC paints when the candidate is empty.

    Parameters
    ----------
    prepared : Prepared
        The image as the network sees it, and the way back.
    cut : Cut
        How it was cut into units.
    views : tuple of View
        What the experts say, a few units each.
    classes : numpy.ndarray, (class, z, y, x), float32
        Class probabilities painted from the image alone, on the image's grid.
    blank : PseudoTruth
        The same, as structures.
    """

    prepared: Prepared
    cut: Cut
    views: tuple[View, ...]
    classes: Probabilities
    blank: PseudoTruth


class DiffusionPainter:
    """Paints with one trained network; nothing is loaded again between calls.

    Parameters
    ----------
    network : Nnqc
        Trained, in evaluation mode.
    plan : UnitPlan
        How images are cut.
    structures : StructurePlan
        What its classes mean.
    sampling : Sampling, optional
        None: the preset's steps.
    batch : int
        Units worked on at once; the answer does not depend on it beyond rounding.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        network: Nnqc,
        plan: UnitPlan,
        structures: StructurePlan,
        *,
        sampling: Sampling | None = None,
        batch: int = 8,
        device: str = "auto",
    ) -> None:
        chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        self._device = torch.device(chosen)
        self._network = network.to(self._device).eval()
        self._plan, self._structures, self._batch = plan, structures, batch
        self._sampling = sampling or Sampling(steps=network.preset.steps)

    def look(self, volume: Volume) -> Look:
        """Let the experts look at an image, and paint from it alone.

        Raises
        ------
        UnusableVolume
            If no network can work on the image, it is far larger than the training images, or the answer is not finite.
        """
        prepared = prepare(volume, self._plan.preprocess)
        units = cut_units(prepared.voxels.copy(), self._network.preset, self._plan)
        with torch.inference_mode():
            views = tuple(
                self._network.view(images.to(self._device), positions.to(self._device))
                for images, positions in zip(
                    torch.split(units.images, self._batch), torch.split(units.positions, self._batch), strict=True
                )
            )
        empty = np.zeros(prepared.voxels.shape, np.uint8)
        classes = self._probabilities(prepared, units.cut, views, empty, self._sampling)
        return Look(
            prepared=prepared, cut=units.cut, views=views, classes=classes, blank=truth_of(classes, self._structures)
        )

    def paint(self, look: Look, masks: Mapping[str, Mask]) -> PseudoTruth:
        """Paint what an expert would have drawn where the candidate is `masks`.

        Parameters
        ----------
        look : Look
            Of the image.
        masks : mapping of str to numpy.ndarray, (z, y, x), bool
            Candidate by segment label, on the image's grid. A part that is missing is taken from the whole, divided as
            `look` divides it.

        Raises
        ------
        GeometryMismatch
            If a mask does not have the shape of the image.
        UnusableVolume
            If the answer is not finite.
        """
        return truth_of(self._painted(look, masks, self._sampling), self._structures)

    def disagreement(self, look: Look, masks: Mapping[str, Mask], *, draws: int = 3) -> npt.NDArray[np.float32]:
        """Paint `draws` times from other noise; returns how far the answers scatter, (z, y, x), 0..1.

        The value is the standard deviation of the foreground's probability, doubled: 1 where half of the draws are
        certain of the structure and half are certain of none.
        """
        others = [
            Sampling(steps=self._sampling.steps, seed=seed, guidance=self._sampling.guidance) for seed in range(draws)
        ]
        foreground = np.stack([1.0 - self._painted(look, masks, sampling)[0] for sampling in others])
        scatter: npt.NDArray[np.float32] = np.clip(2.0 * foreground.std(axis=0), 0.0, 1.0).astype(np.float32)
        return scatter

    def _painted(self, look: Look, masks: Mapping[str, Mask], sampling: Sampling) -> Probabilities:
        labels = self._labels(look, masks)
        prepared = look.prepared
        one_hot = np.stack([prepared.apply((labels == c).astype(np.uint8)) for c in range(self._network.classes)])
        turned = one_hot.argmax(axis=0).astype(np.uint8)
        return self._probabilities(prepared, look.cut, look.views, turned, sampling)

    def _labels(self, look: Look, masks: Mapping[str, Mask]) -> Labels:
        """Merge masks, which may overlap, into one map of classes: parts first, then what only the whole holds."""
        shape = look.prepared.source.shape
        labels = np.zeros(shape, np.uint8)
        for structure in sorted(self._structures.structures, key=lambda s: len(s.classes)):
            mask = masks.get(structure.label)
            if mask is None:
                continue
            if mask.shape != shape:
                raise GeometryMismatch(f"a mask of shape {mask.shape} for an image of shape {shape}")
            likeliest = np.array(structure.classes)[look.classes[list(structure.classes)].argmax(axis=0)]
            labels = np.where(mask & (labels == 0), likeliest, labels).astype(np.uint8)
        return labels

    def _probabilities(
        self, prepared: Prepared, cut: Cut, views: tuple[View, ...], labels: Labels, sampling: Sampling
    ) -> Probabilities:
        one_hot = functional.one_hot(torch.from_numpy(labels.astype(np.int64)), self._network.classes).movedim(-1, 0)
        units = cut.masks(one_hot.float())
        answers = []
        with torch.inference_mode():
            for view, masks in zip(views, torch.split(units, self._batch), strict=True):
                code = self._network.code(masks.to(self._device))
                latent = sample(self._network, view, code, sampling)
                answers.append(self._network.autoencoder.decode(latent).softmax(dim=1).cpu())
            painted = cut.gather(torch.cat(answers))
        probabilities = prepared.restore(painted.contiguous().numpy().copy())
        if not np.isfinite(probabilities).all():
            raise UnusableVolume("nnQC's answer is not finite; the image is unlike any it can work on")
        return probabilities
