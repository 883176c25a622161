"""Train and measure the brain mask and the lesions: heads come from DICOM and NIfTI below one data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.commands.heads import read_folder
from models.brain import brain_mask, lesions, quality_weights
from models.brain.heads import read_heads, read_lesion_masks
from models.brain.train import BrainTrainingSettings
from models.card import CARD_FILE
from models.registry import find_model


def train_brain_mask(data: Path, out: Path, *, work: Path, settings: BrainTrainingSettings) -> list[Path]:
    """Train the brain mask, and write what its quality control judges by.

    Parameters
    ----------
    data : Path
        Folder that holds all data sets.
    out : Path
        Folder that gets a weights folder for each model.
    work : Path
        Folder for networks already finished.
    settings : BrainTrainingSettings
        How to train.
    """
    heads = list(read_heads(data, read_folder))
    masks = list(read_lesion_masks(data))
    name = brain_mask.NAME
    return [
        brain_mask.train(heads, out / name, work=work / "members" / name, settings=settings),
        quality_weights.write(heads, masks, out / quality_weights.NAME),
    ]


def train_lesions(data: Path, out: Path, *, work: Path, settings: BrainTrainingSettings) -> list[Path]:
    """Write the shipped lesion finder and train the networks beside it; parameters as in `train_brain_mask`."""
    heads = list(read_heads(data, read_folder))
    masks = list(read_lesion_masks(data))
    name = lesions.NETWORK_NAME
    return [
        lesions.write(masks, out / lesions.NAME),
        lesions.train(heads, masks, out / name, work=work / "members" / name, settings=settings),
    ]


def evaluate_brain_mask(data: Path, out: Path | None, *, work: Path) -> Mapping[str, Any]:  # noqa: ARG001
    """Measure the shipped brain mask, each person by the network that did not see that person; `work` is not needed."""
    return brain_mask.evaluate(list(read_heads(data, read_folder)), find_model(brain_mask.NAME), out)


def evaluate_lesions(data: Path, out: Path | None, *, work: Path) -> Mapping[str, Any]:
    """Measure the shipped lesion finder and the networks beside it on patients they did not see.

    The networks do not ship: where `work` has none they are trained first, five minutes of one core.
    """
    heads = list(read_heads(data, read_folder))
    name = lesions.NETWORK_NAME
    folder = work / name
    if not (folder / CARD_FILE).is_file():
        lesions.train(heads, list(read_lesion_masks(data)), folder, work=work / "members" / name)
    return lesions.evaluate(heads, data, find_model(lesions.NAME), out, networks=find_model(str(folder)))
