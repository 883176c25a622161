"""What two minutes of CPU training of nnQC are worth, and what it costs to paint: on real crops of patients left out.

Skeptic's test 13 of `qc_models.md`: the trainer is measured, not asserted. Needs the shared data set.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.corruptions import SMOOTH, corrupt
from models.metrics import dice
from models.preprocess import canonical_view
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.candidates import on_image_grid, random_for
from models.segmentation_qc.nnqc.checkpoint import LoopSettings
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.examples import known_cases
from models.segmentation_qc.nnqc.paint import DiffusionPainter
from models.segmentation_qc.nnqc.preset import IMPROVED, AutoencoderShape, DenoiserShape
from models.segmentation_qc.nnqc.train import training_patients
from models.segmentation_qc.nnqc.train_autoencoder import AutoencoderSettings, train_autoencoder
from models.segmentation_qc.nnqc.train_diffusion import DiffusionSettings, train_diffusion
from models.segmentation_qc.nnqc.units import plan_units
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of
from models.segmentation_qc.train import TASK, qc_fingerprint
from tests.bench.row import Row

_SMALL = replace(
    IMPROVED,
    name="two minutes",
    autoencoder=AutoencoderShape(channels=(4, 8, 16)),
    denoiser=DenoiserShape(channels=(32, 32), attention=(False, True)),
)
_MINUTES = (0.6, 1.4)
_PER_CASE = 12
_FLOOR = 0.8


def run() -> list[Row]:
    """Train for two minutes, then score corrupted masks of patients left out by their Dice with what is painted."""
    shared = Path(os.environ.get("OVERREAD_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    data = shared / "data" / "hippocampus_msd"
    logging.basicConfig(level=logging.INFO)
    torch.set_num_threads(2)
    labelled, left_out = training_patients(data)
    plan = plan_units(qc_fingerprint(labelled), _SMALL, label=HIPPOCAMPUS_PLAN.whole)
    known = known_cases(labelled, TASK, plan, undertrained={}, failures=0, seed=0)
    network = Nnqc(_SMALL, classes=3, slice_axis=plan.slice_axis)
    with tempfile.TemporaryDirectory() as name:
        first, second = (LoopSettings(steps=10_000, minutes=m, learning_rate=2e-3, averaging=0.98) for m in _MINUTES)
        train_autoencoder(
            network.autoencoder,
            known,
            _SMALL,
            plan,
            settings=AutoencoderSettings(loop=first),
            path=Path(name) / "autoencoder.safetensors",
        )
        train_diffusion(
            network,
            known,
            plan,
            settings=DiffusionSettings(loop=second),
            path=Path(name) / "diffusion.safetensors",
        )
    painter = DiffusionPainter(network, plan, HIPPOCAMPUS_PLAN, device="cpu")
    began = time.process_time()
    pairs = [pair for case in left_out for pair in _scored(painter, case)]
    seconds = (time.process_time() - began) / len(pairs)
    truth, scored = np.array(pairs).T
    correlation = float(np.corrcoef(truth, scored)[0, 1])
    note = (
        f"{len(left_out)} images of patients left out, corrupted masks of Dice {truth.min():.2f} to {truth.max():.2f}"
    )
    return [
        Row(
            what="nnQC after two minutes: r of Dice with the mask it paints",
            value=correlation,
            unit="",
            bar=_FLOOR,
            at_least=True,
            repetitions=len(pairs),
            note=note,
        ),
        Row(what="nnQC: painting for one candidate", value=seconds, unit="s of CPU", repetitions=len(pairs)),
    ]


def _scored(painter: DiffusionPainter, case: LabelledVolume) -> list[tuple[float, float]]:
    """True Dice and Dice with the painting, of corrupted masks of one case."""
    whole, look = HIPPOCAMPUS_PLAN.whole, painter.look(case.volume)
    random = random_for(case.name, "bench")
    expert, spacing = canonical_view(case.expert.astype(np.uint8), case.volume.grid)
    found = []
    for number in range(_PER_CASE):
        kind = SMOOTH[number % len(SMOOTH)]
        wrong = corrupt(expert, kind, float(random.uniform(0.05, 1.0)), spacing=spacing, random=random)
        masks = masks_of(on_image_grid(wrong, case.volume), HIPPOCAMPUS_PLAN)
        painted = painter.paint(look, masks).masks[whole]
        found.append((dice(masks[whole], case.expert > 0), dice(masks[whole], painted)))
    return found
