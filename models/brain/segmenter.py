"""Segment the brain in a whole head, or bright lesions inside a brain: ensembles of folded U-Nets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Volume
from models.brain.clues import CHANNELS, box_of, out_of_box
from models.brain.consensus import drafts_of, vote
from models.brain.extract import largest_piece
from models.brain.folded import Block, FoldedUNet, folded_shape
from models.brain.view import brain_view
from models.card import read_card
from models.errors import InvalidModel, UnusableVolume
from models.metrics import dice
from models.preprocess import prepare
from models.registry import ModelCard
from models.segmentation.ensemble import read_ensemble
from models.segmentation.inference import Window, predict
from models.segmentation.segmenter import SegmentationResult, check_region

Probability = npt.NDArray[np.float32]
_PERHAPS, _SURE = 0.3, 0.5
_WINDOW = Window(largest=192)


class BrainSegmenter:
    """An ensemble that knows one label.

    Without a region it segments the brain in a head: recipes of threshold and morphology vote, the networks correct
    the vote, the largest piece is kept and its holes are filled, because a brain is one piece. With a region (the
    brain) it segments what it was trained for inside that region only.

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
        block, self._sure = _block(card), _number(card, "threshold", _SURE)
        shape = self._config.shape
        channels = 2 if card.needs_region else CHANNELS
        if len(card.labels) != 1 or shape != folded_shape(block, image_channels=channels, channels=shape.channels):
            raise InvalidModel("the networks do not tell one label from background in the channels its card implies")
        chosen = networks if members is None else tuple(networks[n] for n in members)
        self._networks = tuple(
            FoldedUNet(network, block, trust=_number(card, "trust", 0.0)).eval() for network in chosen
        )
        self._device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        for network in self._networks:
            network.inner.to(device=self._device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def segment(self, volume: Volume, *, region: Mask | None = None) -> SegmentationResult:
        """Segment one image; see `models.segmentation.segmenter.Segmenter`."""
        check_region(region, volume.grid, needed=self.card.needs_region)
        if not self.card.needs_region:
            return self._brain(volume)
        assert region is not None
        prepared = prepare(volume, self._config.plan)
        inside: Mask = prepared.apply(region.astype(np.uint8)) > _SURE
        if not inside.any():
            return SegmentationResult(labels=np.zeros(volume.grid.shape, np.uint16), agreement={})
        view = brain_view(prepared.voxels, inside)
        members = []
        for network in self._networks:
            whole = np.zeros(prepared.voxels.shape, np.float32)
            whole[view.box] = self._predict(network, view.channels) * view.channels[1]
            members.append(whole)
        return self._result((prepared.restore(_mean(members)[None])[0] > self._sure) & region, members)

    def _brain(self, volume: Volume) -> SegmentationResult:
        drafts = drafts_of(volume)
        channels, middle = box_of(drafts)
        members = [self._predict(network, channels.numpy()) for network in self._networks]
        probability = out_of_box(_mean(members), middle, drafts.flat.shape)
        probability *= largest_piece(probability > _PERHAPS)
        mask = drafts.prepared.restore(probability[None])[0] > self._sure
        brain = ndimage.binary_fill_holes(largest_piece(mask)) if mask.any() else vote(drafts)
        return self._result(brain, members)

    def _predict(self, network: FoldedUNet, channels: Probability) -> Probability:
        images = torch.from_numpy(channels).to(self._device)
        stride = max(network.strides)
        found = predict(network, images, stride=stride, window=_WINDOW)[1]
        if self._config.mirror:
            mirrored = predict(network, images.flip(-1), stride=stride, window=_WINDOW)[1]
            found = (found + mirrored.flip(-1)) / 2
        return found.numpy()

    def _result(self, mask: Mask, members: list[Probability]) -> SegmentationResult:
        decided = [member > self._sure for member in members]
        pairs = [dice(a, b) for a, b in combinations(decided, 2)]
        return SegmentationResult(labels=mask.astype(np.uint16), agreement={1: float(np.mean(pairs))} if pairs else {})


def _mean(members: list[Probability]) -> Probability:
    mean: Probability = np.stack(members).mean(axis=0, dtype=np.float32)
    if not np.isfinite(mean).all():
        raise UnusableVolume("the network's answer is not finite; the image is unlike any it can work on")
    return mean


def _block(card: ModelCard) -> Block:
    try:
        z, y, x = (int(n) for n in read_card(card.folder)["block"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidModel("the card does not say which block of voxels its networks fold") from error
    return z, y, x


def _number(card: ModelCard, name: str, default: float) -> float:
    value = read_card(card.folder).get(name, default)
    if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise InvalidModel(f"'{name}' in the card is not a number of 0 or more")
    return float(value)
