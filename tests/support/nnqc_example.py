"""A tiny nnQC over phantoms: every part of the real one, small enough to make in a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch

from dicom_sr.volume import Grid, Volume
from models.fingerprint import DatasetFingerprint
from models.phantom import hippocampus_phantom
from models.preprocess import PreprocessPlan
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.preset import FAITHFUL, IMPROVED, AutoencoderShape, DenoiserShape, Preset
from models.segmentation_qc.nnqc.units import UnitPlan, plan_units
from models.segmentation_qc.nnqc.weights import NnqcWeights
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.train import qc_fingerprint

_AUTOENCODER = AutoencoderShape(channels=(4, 8, 8), blocks=1, latent_channels=2, groups=2)
_DENOISER = DenoiserShape(channels=(16, 16), attention=(False, True), head_channels=8, blocks=1, groups=4)
TINY = replace(
    IMPROVED,
    name="tiny",
    autoencoder=_AUTOENCODER,
    denoiser=_DENOISER,
    visual_channels=(4, 8, 8),
    token_width=16,
    spatial_channels=4,
)
#: The published design, sizes apart: slices, one pooled token, nothing of the image beside the latent.
TINY_FAITHFUL = replace(
    FAITHFUL,
    name="tiny faithful",
    side=32,
    autoencoder=replace(_AUTOENCODER, attention=True),
    denoiser=_DENOISER,
    visual_channels=(4, 8, 8),
    token_width=16,
    steps=2,
)
#: Slices that see their neighbours, everything else as improved.
TINY_NEIGHBOURS = replace(TINY, name="tiny 2.5-D", dimensions=2, neighbours=1)
TINY_PRESETS = (TINY, TINY_FAITHFUL, TINY_NEIGHBOURS)


@cache
def phantom_case(seed: int) -> LabelledVolume:
    volume, labels = hippocampus_phantom(seed)
    return LabelledVolume(name=f"phantom_{seed}", volume=volume, expert=labels.astype(np.uint16))


@cache
def phantom_fingerprint() -> DatasetFingerprint:
    return qc_fingerprint([phantom_case(0), phantom_case(1)])


def tiny_plan(preset: Preset) -> UnitPlan:
    return replace(plan_units(phantom_fingerprint(), preset, label=HIPPOCAMPUS_PLAN.whole), preprocess=PreprocessPlan())


def small_volume() -> Volume:
    """A corner of a phantom: enough for geometry, quick to paint."""
    volume = phantom_case(0).volume
    grid = Grid(shape=(13, 18, 15), affine=volume.grid.affine)
    return replace(volume, grid=grid, voxels=volume.voxels[10:23, 15:33, 8:23].copy())


def small_plan(preset: Preset) -> UnitPlan:
    """The same plan with training crops a CPU goes through in no time."""
    return replace(tiny_plan(preset), size=(16, 24, 16))


def tiny_network(preset: Preset = TINY, *, seed: int = 0, awake: bool = True) -> Nnqc:
    """An untrained network; `awake` gives the layers that start at zero a value, as the first training step would."""
    torch.manual_seed(seed)
    network = Nnqc(preset, classes=3, slice_axis=tiny_plan(preset).slice_axis).eval()
    if awake:
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.2)
    return network


def tiny_weights(change: Callable[[Nnqc], None] | None = None) -> NnqcWeights:
    network = tiny_network()
    network.load_state_dict(
        {k: v.half().float() if k.startswith("denoiser.") else v for k, v in network.state_dict().items()}
    )
    if change is not None:
        change(network)
    return NnqcWeights(
        network=network, plan=tiny_plan(TINY), structures=HIPPOCAMPUS_PLAN, fingerprint=phantom_fingerprint()
    )
