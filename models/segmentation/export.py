"""Hand a built-in ensemble to other MONAI software: the same answer as a self-contained bundle without our code.

The ensemble becomes one TorchScript network that takes an image in MONAI's axis order and gives mean probabilities;
preprocessing becomes MONAI transforms. `models.segmentation.bundle` can run the result, which is how it is tested. The
answers are alike, not equal: a bundle pads before the network mirrors, the built-in segmenter after, so voxels at the
border of a mask may differ (Dice of the two above .98).
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from models.card import read_card
from models.errors import InvalidModel
from models.preprocess import PreprocessPlan
from models.registry import ModelCard, verify
from models.segmentation.ensemble import EnsembleConfig, read_ensemble

_EXAMPLE_VOXELS = 32


class _MeanProbability(torch.nn.Module):
    """All members and their mirrored views in one; images (batch, 1, x, y, z) with axes left, posterior, head."""

    def __init__(self, networks: tuple[torch.nn.Module, ...], *, mirror: bool) -> None:
        super().__init__()
        self.networks = torch.nn.ModuleList(networks)
        self.mirror = mirror

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return class probabilities (batch, class, x, y, z)."""
        turned = images.permute(0, 1, 4, 3, 2)
        answers = []
        for network in self.networks:
            answers.append(network(turned).softmax(dim=1))
            if self.mirror:
                answers.append(network(turned.flip(-1)).softmax(dim=1).flip(-1))
        return torch.stack(answers).mean(dim=0).permute(0, 1, 4, 3, 2)


def export_bundle(card: ModelCard, folder: Path) -> Path:
    """Write a built-in model as a MONAI bundle.

    Parameters
    ----------
    card : ModelCard
        Card of kind ``segmentation`` that needs no region.
    folder : Path
        Bundle folder to write; must not exist.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InvalidModel
        If the model needs a region, which a bundle's single image cannot carry, or the folder exists.
    TamperedWeights, FingerprintMismatch
        If the weights are not what the card says.
    """
    if card.kind != "segmentation" or card.needs_region:
        raise InvalidModel(f"'{card.name}' is not a segmenter of a single image; only such models can be exported")
    if folder.exists():
        raise InvalidModel("the folder to export to exists already")
    verify(card)
    config, networks = read_ensemble(card.folder)
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True)
    _write_network(folder / "models" / "model.ts", config, networks)
    _write_json(folder / "configs" / "inference.json", _inference(config))
    _write_json(folder / "configs" / "metadata.json", _metadata(card))
    (folder / "docs" / "README.md").write_text(_readme(card), encoding="utf-8")
    return folder


def _write_network(path: Path, config: EnsembleConfig, networks: tuple[torch.nn.Module, ...]) -> None:
    network = _MeanProbability(networks, mirror=config.mirror).eval()
    example = torch.zeros((1, 1, *[_EXAMPLE_VOXELS] * 3))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(path))


def _inference(config: EnsembleConfig) -> dict[str, Any]:
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(config.plan, config.shape.stride)},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "image",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }


def _preprocessing(plan: PreprocessPlan, stride: int) -> list[dict[str, Any]]:
    z, y, x = plan.spacing
    clip = {"lower": plan.lower_percentile, "upper": plan.upper_percentile}
    return [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "LPS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [x, y, z], "mode": "bilinear"},
        {"_target_": "ClipIntensityPercentilesd", "keys": "image", **clip},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
        {"_target_": "DivisiblePadd", "keys": "image", "k": stride, "method": "end", "mode": "edge"},
    ]


def _metadata(card: ModelCard) -> dict[str, Any]:
    account = read_card(card.folder)
    channels = {"0": "background"} | {str(n): label for n, label in enumerate(card.labels, start=1)}
    return {
        "name": card.name,
        "version": card.version,
        "task": account.get("purpose", ""),
        "data_source": account.get("data", ""),
        "intended_use": account.get("claim", ""),
        "network_data_format": {"outputs": {"pred": {"type": "image", "channel_def": channels}}},
    }


def _readme(card: ModelCard) -> str:
    account = read_card(card.folder)
    parts = [account.get(key, "") for key in ("purpose", "data", "limits", "claim")]
    return "\n\n".join([f"# {card.name} {card.version}", *filter(None, parts)]) + "\n"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
