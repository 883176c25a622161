"""The built-in segmenter: an ensemble of U-Nets whose mean probability decides and whose agreement is reported."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.errors import InvalidModel, UnusableVolume
from models.metrics import dice
from models.preprocess import Prepared, prepare
from models.registry import ModelCard
from models.segmentation.ensemble import read_ensemble
from models.segmentation.inference import Window, predict
from models.segmentation.segmenter import SegmentationResult, check_region

Labels = npt.NDArray[np.uint16]


class UNetSegmenter:
    """An ensemble of U-Nets.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``segmentation``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    window : Window, optional
        How large images are cut.

    Raises
    ------
    InvalidModel, FingerprintMismatch
        If the weights are not what the card says.
    """

    def __init__(self, card: ModelCard, *, device: str = "auto", window: Window | None = None) -> None:
        self.digest = card.digest
        self.card = card
        self._config, self._networks = read_ensemble(card.folder)
        classes = len(card.labels) + (0 if card.needs_region else 1)
        if self._config.shape.output_channels != classes:
            raise InvalidModel(
                f"the network gives {self._config.shape.output_channels} classes; its labels need {classes}"
            )
        self._device = torch.device(_resolved(device))
        self._window = window or Window()
        for network in self._networks:
            network.to(device=self._device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; see `models.segmentation.segmenter.Segmenter`.

        With a region, exactly its voxels are labelled. Without, a label is one connected piece of the most probable
        class only as far as the networks make it one: nothing is filled or removed afterwards.
        """
        check_region(region, volume.grid, needed=self.card.needs_region)
        if self.card.needs_region and region is not None and not region.any():
            return SegmentationResult(labels=np.zeros(volume.grid.shape, np.uint16), agreement={})
        prepared = prepare(volume, self._config.plan)
        probabilities = self._member_probabilities(prepared, region)
        members = [self._decide(p, region) for p in probabilities]
        mean = np.stack(probabilities).mean(axis=0, dtype=np.float32)
        labels = self._decide(mean, region)
        return SegmentationResult(
            labels=labels, agreement=self._agreement(members), probabilities=self._maps(mean, region)
        )

    def _member_probabilities(self, prepared: Prepared, region: Mask | None) -> list[npt.NDArray[np.float32]]:
        """Class probabilities of every member on the source grid, (class, z, y, x)."""
        channels = [prepared.voxels]
        if self.card.needs_region and region is not None:
            channels.append((prepared.apply(region.astype(np.uint8)) > 0.5).astype(np.float32))
        images = torch.from_numpy(np.stack(channels)).to(self._device)
        with _Deterministic():
            return [prepared.restore(self._predict(network, images).numpy()) for network in self._networks]

    def _predict(self, network: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        stride = self._config.shape.stride
        probabilities = predict(network, images, stride=stride, window=self._window)
        if not self._config.mirror:
            return probabilities
        mirrored = predict(network, images.flip(-1), stride=stride, window=self._window)
        return (probabilities + mirrored.flip(-1)) / 2

    def _decide(self, probabilities: npt.NDArray[np.float32], region: Mask | None) -> Labels:
        if not np.isfinite(probabilities).all():
            raise UnusableVolume("the network's answer is not finite; the image is unlike any it can work on")
        chosen = probabilities.argmax(axis=0).astype(np.uint16)
        if self.card.needs_region and region is not None:
            chosen = np.where(region, chosen + np.uint16(1), np.uint16(0))
        labels: Labels = chosen
        return labels

    def _maps(self, probabilities: npt.NDArray[np.float32], region: Mask | None) -> dict[int, npt.NDArray[np.float32]]:
        """Return the probability of each label value; outside the region it is 0, as no label is given there."""
        first = 0 if self.card.needs_region else 1
        maps = {value: probabilities[first + value - 1] for value in range(1, len(self.card.labels) + 1)}
        if not self.card.needs_region or region is None:
            return maps
        return {value: np.where(region, one, np.float32(0)) for value, one in maps.items()}

    def _agreement(self, members: list[Labels]) -> dict[int, float]:
        pairs = list(combinations(members, 2))
        if not pairs:
            return {}
        values = range(1, len(self.card.labels) + 1)
        return {value: float(np.mean([dice(a == value, b == value) for a, b in pairs])) for value in values}


class _Deterministic:
    """Ask torch for deterministic kernels inside the block, and put its setting back."""

    def __enter__(self) -> None:
        self._before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True, warn_only=True)

    def __exit__(self, *_: object) -> None:
        torch.use_deterministic_algorithms(self._before)


def _resolved(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
