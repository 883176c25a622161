"""The weights folder of a U-Net ensemble: written whole, read strictly.

``model.safetensors`` holds every member (``member0.encoder...``) in half precision and, in its header, the SHA-256 of
the fingerprint it was trained with; ``card.json`` holds architecture, preprocessing, labels, and the SHA-256 of both.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from models.card import FINGERPRINT_FILE, WEIGHTS_FILE, read_card, write_card
from models.errors import FingerprintMismatch, InvalidModel
from models.fingerprint import DatasetFingerprint
from models.preprocess import PreprocessPlan
from models.segmentation.unet import UNet3d, UNetShape


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """How the members of an ensemble are built and used.

    Parameters
    ----------
    shape : UNetShape
        Architecture of every member.
    members : int
        Count of members.
    plan : PreprocessPlan
        Preprocessing they were trained with.
    mirror : bool
        Whether each member also sees the image mirrored left to right, its two answers averaged.
    """

    shape: UNetShape
    members: int
    plan: PreprocessPlan
    mirror: bool

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> EnsembleConfig:
        """Read the configuration from a card; raises `InvalidModel` when it does not hold one."""
        try:
            shape, plan = dict(card["architecture"]), dict(card["preprocess"])
            return cls(
                shape=UNetShape(
                    input_channels=int(shape["input_channels"]),
                    output_channels=int(shape["output_channels"]),
                    channels=tuple(int(n) for n in shape["channels"]),
                ),
                members=int(card["members"]),
                plan=PreprocessPlan(**{**plan, "spacing": _triple(plan["spacing"])}),
                mirror=bool(card["mirror"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidModel("the card does not describe a U-Net ensemble") from error

    def as_card(self) -> dict[str, Any]:
        """Return the part of a card that `from_card` reads."""
        return {
            "architecture": asdict(self.shape),
            "members": self.members,
            "preprocess": asdict(self.plan),
            "mirror": self.mirror,
        }


def write_ensemble(
    folder: Path,
    networks: list[UNet3d],
    *,
    config: EnsembleConfig,
    fingerprint: DatasetFingerprint,
    card: dict[str, Any],
) -> None:
    """Write a weights folder; a folder already there is replaced in one step.

    Parameters
    ----------
    folder : Path
        Weights folder.
    networks : list of UNet3d
        The members.
    config : EnsembleConfig
        How they are built and used.
    fingerprint : DatasetFingerprint
        Of the training data.
    card : dict
        Name, version, kind, labels and the account of the training.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors = {
        f"member{number}.{key}": value.detach().half().contiguous().clone()
        for number, network in enumerate(networks)
        for key, value in network.state_dict().items()
    }
    save_file(tensors, partial / WEIGHTS_FILE, metadata={"fingerprint_sha256": fingerprint.digest()})
    (partial / FINGERPRINT_FILE).write_text(fingerprint.to_json(), encoding="utf-8")
    write_card(partial, {**card, **config.as_card()})
    previous = folder.with_name(f".{folder.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def read_ensemble(folder: Path) -> tuple[EnsembleConfig, tuple[UNet3d, ...]]:
    """Read the members of a weights folder, in evaluation mode, on the CPU.

    Raises
    ------
    InvalidModel
        If weights are missing, truncated, or are not exactly those the card describes.
    FingerprintMismatch
        If the weights were trained with another fingerprint than the one beside them.
    """
    config = EnsembleConfig.from_card(read_card(folder))
    fingerprint = _read_fingerprint(folder)
    try:
        with safetensors.safe_open(folder / WEIGHTS_FILE, framework="pt") as opened:
            trained_with = (opened.metadata() or {}).get("fingerprint_sha256", "")
        tensors = {key: value.float() for key, value in load_file(folder / WEIGHTS_FILE).items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise InvalidModel(f"{WEIGHTS_FILE} is missing or damaged") from error
    if trained_with != fingerprint.digest():
        raise FingerprintMismatch("the weights were trained with another fingerprint than the one beside them")
    return config, tuple(_member(tensors, number, config) for number in range(config.members))


def _member(tensors: dict[str, torch.Tensor], number: int, config: EnsembleConfig) -> UNet3d:
    prefix = f"member{number}."
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    network = UNet3d(config.shape)
    try:
        network.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise InvalidModel(f"the weights of member {number} are not those the card describes") from error
    network.eval()
    return network


def _read_fingerprint(folder: Path) -> DatasetFingerprint:
    try:
        text = (folder / FINGERPRINT_FILE).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidModel(f"{FINGERPRINT_FILE} is missing") from error
    return DatasetFingerprint.from_json(text)


def _triple(values: Any) -> tuple[float, float, float]:
    z, y, x = (float(v) for v in values)
    return z, y, x
