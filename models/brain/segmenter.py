"""Segment the brain in a whole head, or bright lesions inside a brain: ensembles of U-Nets on coarse grids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.extract import largest_piece
from models.brain.view import brain_view
from models.errors import InvalidModel, UnusableVolume
from models.metrics import dice
from models.preprocess import Prepared, prepare
from models.registry import ModelCard
from models.segmentation.ensemble import read_ensemble
from models.segmentation.inference import Window, predict
from models.segmentation.segmenter import SegmentationResult, check_region
from models.segmentation.unet import UNet3d

Probability = npt.NDArray[np.float32]
_SURE = 0.5


class BrainSegmenter:
    """An ensemble that knows one label.

    Without a region it segments the brain in a head: the largest piece is kept and its holes are filled, because a
    brain is one piece. With a region (the brain) it segments what it was trained for inside that region only.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``brain``.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    members : sequence of int, optional
        Use only these networks of the ensemble: evaluation asks those that did not see a head.

    Raises
    ------
    InvalidModel, FingerprintMismatch
        If the weights are not what the card says.
    """

    def __init__(self, card: ModelCard, *, device: str = "auto", members: Sequence[int] | None = None) -> None:
        self.digest = card.digest
        self.card = card
        self._config, networks = read_ensemble(card.folder)
        channels = 2 if card.needs_region else 1
        if len(card.labels) != 1 or (self._config.shape.input_channels, self._config.shape.output_channels) != (
            channels,
            2,
        ):
            raise InvalidModel("the networks do not tell one label from background in the channels its card implies")
        self._networks = networks if members is None else tuple(networks[n] for n in members)
        self._device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        for network in self._networks:
            network.to(device=self._device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; see `models.segmentation.segmenter.Segmenter`."""
        check_region(region, volume.grid, needed=self.card.needs_region)
        prepared = prepare(volume, self._config.plan)
        if not self.card.needs_region:
            return self._answer(prepared, [self._predict(n, prepared.voxels[None]) for n in self._networks], None)
        assert region is not None
        inside: Mask = prepared.apply(region.astype(np.uint8)) > 0.5
        if not inside.any():
            return SegmentationResult(labels=np.zeros(volume.grid.shape, np.uint16), agreement={})
        view = brain_view(prepared.voxels, inside)
        members = []
        for network in self._networks:
            whole = np.zeros(prepared.voxels.shape, np.float32)
            whole[view.box] = self._predict(network, view.channels) * view.channels[1]
            members.append(whole)
        return self._answer(prepared, members, region)

    def _predict(self, network: UNet3d, channels: npt.NDArray[np.float32]) -> Probability:
        images = torch.from_numpy(channels).to(self._device)
        window = Window(largest=192 if self.card.needs_region else 112)
        found = predict(network, images, stride=network.shape.stride, window=window)[1]
        if self._config.mirror:
            mirrored = predict(network, images.flip(-1), stride=network.shape.stride, window=window)[1]
            found = (found + mirrored.flip(-1)) / 2
        return found.numpy()

    def _answer(self, prepared: Prepared, members: list[Probability], region: Mask | None) -> SegmentationResult:
        mean: Probability = np.stack(members).mean(axis=0, dtype=np.float32)
        if not np.isfinite(mean).all():
            raise UnusableVolume("the network's answer is not finite; the image is unlike any it can work on")
        if region is None:
            mean = mean * largest_piece(mean > _SURE * 0.6)
        probability = prepared.restore(mean[None])[0]
        mask: Mask = probability > _SURE
        mask = ndimage.binary_fill_holes(largest_piece(mask)) if region is None else mask & region
        decided = [member > _SURE for member in members]
        pairs = [dice(a, b) for a, b in combinations(decided, 2)]
        return SegmentationResult(
            labels=mask.astype(np.uint16),
            agreement={1: float(np.mean(pairs))} if pairs else {},
        )
