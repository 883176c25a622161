"""Networks stopped too early, so that QC is calibrated on failures that networks really make."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.segmentation.augment import Augmentation
from models.segmentation.cases import TrainingCase
from models.segmentation.unet import UNet3d, UNetShape
from models.segmentation_qc.fitting import FitSettings, fit
from models.segmentation_qc.networks import DilatedNet

# After these steps a snapshot is taken: Dice from near 0 to nearly as good as the deployed segmenter.
SNAPSHOT_STEPS: Mapping[str, tuple[int, ...]] = {
    "undertrained": (12, 25, 40, 60, 90, 140, 220, 350),
    "dilated": (30, 80, 200, 500),
}
_SETTINGS = FitSettings(steps=1, batch=2, seed=2000, augmentation=Augmentation(patch=(32, 48, 32), shift=6.0))


def train_failures(cases: Sequence[TrainingCase]) -> dict[str, list[nn.Module]]:
    """Train both networks to their last snapshot; returns the snapshots by source, earliest first."""
    taken: dict[str, list[nn.Module]] = {}
    for source, steps in SNAPSHOT_STEPS.items():
        network = _network(source)
        snapshots: list[nn.Module] = []
        fit(
            network,
            cases,
            replace(_SETTINGS, steps=steps[-1], seed=_SETTINGS.seed + len(taken)),
            snapshot_steps=steps,
            on_snapshot=lambda _, trained, kept=snapshots: kept.append(copy.deepcopy(trained)),  # type: ignore[misc]
        )
        taken[source] = snapshots
    return taken


def write_failures(snapshots: Mapping[str, Sequence[nn.Module]], path: Path) -> None:
    """Keep snapshots in one safetensors file; a working file, not shipped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"{source}.{number}.{key}": value.detach().float().contiguous().clone()
        for source, networks in snapshots.items()
        for number, network in enumerate(networks)
        for key, value in network.state_dict().items()
    }
    save_file(tensors, path)


def read_failures(path: Path) -> dict[str, list[nn.Module]]:
    """Read what `write_failures` kept."""
    tensors = load_file(path)
    return {source: [_loaded(source, n, tensors) for n in range(len(s))] for source, s in SNAPSHOT_STEPS.items()}


def _loaded(source: str, number: int, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    prefix = f"{source}.{number}."
    network = _network(source)
    network.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return network.eval()


def _network(source: str) -> nn.Module:
    torch.manual_seed(_SETTINGS.seed)
    if source == "dilated":
        return DilatedNet()
    return UNet3d(UNetShape(input_channels=1, output_channels=3, channels=(16, 32, 64, 128)))
