"""Train and measure the brain mask and the lesions: heads come from DICOM and NIfTI below one data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.commands.heads import read_folder
from models.brain import brain_mask, lesions, quality_weights
from models.brain.heads import read_heads, read_lesion_masks
from models.brain.train import BrainTrainingSettings
from models.registry import find_model


def train_brain_mask(data: Path, out: Path, *, work: Path, settings: BrainTrainingSettings) -> list[Path]:
    """Train the brain mask and write the fingerprint its quality control judges by.

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
        brain_mask.train(heads, out / name, work=work / name, settings=settings),
        quality_weights.write(heads, masks, out / quality_weights.NAME),
    ]


def train_lesions(data: Path, out: Path, *, work: Path, settings: BrainTrainingSettings) -> list[Path]:
    """Train the lesions; parameters as in `train_brain_mask`."""
    heads = list(read_heads(data, read_folder))
    masks = list(read_lesion_masks(data))
    return [lesions.train(heads, masks, out / lesions.NAME, work=work / lesions.NAME, settings=settings)]


def evaluate_brain_mask(data: Path, out: Path | None) -> Mapping[str, Any]:
    """Measure the shipped brain mask on heads of sites that the measured network did not see."""
    return brain_mask.evaluate(list(read_heads(data, read_folder)), find_model(brain_mask.NAME), out)


def evaluate_lesions(data: Path, out: Path | None) -> Mapping[str, Any]:
    """Measure the shipped lesion networks on the patient kept out, and on new lesions."""
    return lesions.evaluate(list(read_heads(data, read_folder)), data, find_model(lesions.NAME), out)
