"""The weights folder of nnQC: written whole, read strictly, bound to its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from models.card import FINGERPRINT_FILE, WEIGHTS_FILE, read_card
from models.errors import FingerprintMismatch, InvalidModel
from models.fingerprint import DatasetFingerprint
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.preset import Preset
from models.segmentation_qc.nnqc.units import UnitPlan
from models.segmentation_qc.structures import StructurePlan

# The denoiser is kept in half precision; the autoencoder is not: see `autoencoder`.
_HALF = "denoiser."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NnqcWeights:
    """A trained nnQC network with what belongs to it.

    Parameters
    ----------
    network : Nnqc
        In evaluation mode; its autoencoder holds the scale of the latent.
    plan : UnitPlan
        How images are cut.
    structures : StructurePlan
        What its classes mean.
    fingerprint : DatasetFingerprint
        Of its training images.
    """

    network: Nnqc
    plan: UnitPlan
    structures: StructurePlan
    fingerprint: DatasetFingerprint

    def as_card(self) -> dict[str, Any]:
        """Return the part of a card that `read_nnqc` reads."""
        return {
            "preset": self.network.preset.as_card(),
            "classes": self.network.classes,
            "units": self.plan.as_card(),
            **self.structures.as_card(),
        }


def write_nnqc(folder: Path, weights: NnqcWeights) -> None:
    """Write network and fingerprint, not the card; the scale of the latent is a tensor among the others."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.detach().half() if name.startswith(_HALF) else value.detach().float()).contiguous().clone()
        for name, value in weights.network.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"fingerprint_sha256": weights.fingerprint.digest()})
    (folder / FINGERPRINT_FILE).write_text(weights.fingerprint.to_json(), encoding="utf-8")


def read_nnqc(folder: Path) -> NnqcWeights:
    """Read a trained nnQC network.

    Raises
    ------
    InvalidModel
        If a file is missing, damaged, or not what the card describes.
    FingerprintMismatch
        If the network was trained with another fingerprint than the one beside it.
    """
    card = read_card(folder)
    try:
        preset, plan = Preset.from_card(card["preset"]), UnitPlan.from_card(card["units"])
        classes = int(card["classes"])
        fingerprint = DatasetFingerprint.from_json((folder / FINGERPRINT_FILE).read_text(encoding="utf-8"))
        with safetensors.safe_open(folder / WEIGHTS_FILE, framework="pt") as opened:
            trained_with = (opened.metadata() or {}).get("fingerprint_sha256", "")
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise InvalidModel("a file of the nnQC weights folder is missing or damaged") from error
    if trained_with != fingerprint.digest():
        raise FingerprintMismatch("the weights were trained with another fingerprint than the one beside them")
    network = Nnqc(preset, classes=classes, slice_axis=plan.slice_axis)
    load_strictly(network, tensors)
    return NnqcWeights(
        network=network.eval(), plan=plan, structures=StructurePlan.from_card(card), fingerprint=fingerprint
    )


def load_strictly(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Load tensors into a network.

    Raises
    ------
    InvalidModel
        If a tensor is missing, too many, of another shape, or not finite.
    """
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()}, strict=True)
    except RuntimeError as error:
        raise InvalidModel("the nnQC weights are not those the card describes") from error
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise InvalidModel("the nnQC weights hold values that are not finite")
