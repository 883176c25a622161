"""The weights folder of a QC network: written whole, read strictly, like that of a segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from models.card import FINGERPRINT_FILE, WEIGHTS_FILE, read_card
from models.errors import FingerprintMismatch, InvalidModel
from models.fingerprint import DatasetFingerprint
from models.preprocess import PreprocessPlan
from models.segmentation_qc.networks import ResidualNet, ResidualShape
from models.segmentation_qc.structures import StructurePlan

REFERENCE_FILE = "reference.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QcWeights:
    """A QC network with what it was trained on.

    Parameters
    ----------
    network : ResidualNet
        In evaluation mode.
    preprocess : PreprocessPlan
        Preprocessing it was trained with.
    plan : StructurePlan
        What its classes mean.
    fingerprint : DatasetFingerprint
        Of its training patients; its labels are the plan's.
    """

    network: ResidualNet
    preprocess: PreprocessPlan
    plan: StructurePlan
    fingerprint: DatasetFingerprint

    def as_card(self) -> dict[str, Any]:
        """Return the part of a card that `read_weights` reads."""
        return {
            "architecture": asdict(self.network.shape),
            "preprocess": asdict(self.preprocess),
            **self.plan.as_card(),
        }


def write_weights(folder: Path, weights: QcWeights) -> None:
    """Write network (half precision: halves the size, moves Dice by less than 0.001) and fingerprint, not the card."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().half().contiguous().clone() for k, v in weights.network.state_dict().items()}
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"fingerprint_sha256": weights.fingerprint.digest()})
    (folder / FINGERPRINT_FILE).write_text(weights.fingerprint.to_json(), encoding="utf-8")


def read_weights(folder: Path) -> QcWeights:
    """Read a QC network.

    Raises
    ------
    InvalidModel
        If a file is missing, damaged, or not what the card describes.
    FingerprintMismatch
        If the network was trained with another fingerprint than the one beside it.
    """
    card = read_card(folder)
    try:
        shape = ResidualShape(
            channels=tuple(int(c) for c in card["architecture"]["channels"]),
            classes=int(card["architecture"]["classes"]),
        )
        preprocess = _plan(card["preprocess"])
        fingerprint = DatasetFingerprint.from_json((folder / FINGERPRINT_FILE).read_text(encoding="utf-8"))
        with safetensors.safe_open(folder / WEIGHTS_FILE, framework="pt") as opened:
            trained_with = (opened.metadata() or {}).get("fingerprint_sha256", "")
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InvalidModel("a file of the QC weights folder is missing or damaged") from error
    if trained_with != fingerprint.digest():
        raise FingerprintMismatch("the weights were trained with another fingerprint than the one beside them")
    return QcWeights(
        network=_network(shape, tensors),
        preprocess=preprocess,
        plan=StructurePlan.from_card(card),
        fingerprint=fingerprint,
    )


def _plan(raw: Mapping[str, Any]) -> PreprocessPlan:
    z, y, x = (float(v) for v in raw["spacing"])
    return PreprocessPlan(
        spacing=(z, y, x),
        lower_percentile=float(raw["lower_percentile"]),
        upper_percentile=float(raw["upper_percentile"]),
    )


def _network(shape: ResidualShape, tensors: Mapping[str, torch.Tensor]) -> ResidualNet:
    network = ResidualNet(shape)
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise InvalidModel("the QC weights are not those the card describes") from error
    return network.eval()
