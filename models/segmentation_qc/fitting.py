"""Fit one network to labelled crops, keeping snapshots on the way.

Early snapshots are the real failures that QC is calibrated on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from models.segmentation.augment import Augmentation, draw_batch
from models.segmentation.cases import TrainingCase
from models.segmentation.loss import segmentation_loss

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How to fit one network.

    Parameters
    ----------
    steps : int
        Optimiser steps; the learning rate follows one cosine over them.
    minutes : float or None
        Wall-clock limit: the cosine is over whichever ends first.
    batch : int
        Crops per step.
    learning_rate, weight_decay : float
        AdamW.
    seed : int
        Of weights and crops.
    averaging : float
        Decay of the exponential moving average of the weights that is returned; 0 returns the last weights.
    augmentation : Augmentation
        How crops are varied.
    """

    steps: int
    minutes: float | None = None
    batch: int = 2
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 1000
    averaging: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)


def fit(
    network: nn.Module,
    cases: Sequence[TrainingCase],
    settings: FitSettings,
    *,
    snapshot_steps: Sequence[int] = (),
    on_snapshot: Callable[[int, nn.Module], None] | None = None,
) -> int:
    """Fit `network` in place; return the number of steps made.

    Parameters
    ----------
    network : nn.Module
        Maps (batch, 1, z, y, x) to logits (batch, class, z, y, x).
    cases : sequence of TrainingCase
        Training crops with one-hot truth.
    settings : FitSettings
        How.
    snapshot_steps : sequence of int
        After these steps `on_snapshot(step, network)` is called, the network in evaluation mode.
    on_snapshot : callable, optional
        Receives the network as it then is.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, foreach=True
    )
    average = {key: value.detach().clone() for key, value in network.state_dict().items()}
    started, step, recent = time.monotonic(), 0, math.nan
    network.train()
    while step < settings.steps:
        progress = _progress(step, settings, started)
        if progress >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = (
                settings.learning_rate * min(1.0, (step + 1) / 30) * (0.5 + 0.5 * math.cos(math.pi * progress))
            )
        loss = _step(network, cases, settings, optimiser, generator)
        recent = loss if math.isnan(recent) else 0.97 * recent + 0.03 * loss
        step += 1
        _average(average, network, min(settings.averaging, (step + 1) / (step + 10)))
        if step % 50 == 0:
            _log.info("step %d, loss %.4f, %.2f s per step", step, recent, (time.monotonic() - started) / step)
        if step in snapshot_steps and on_snapshot is not None:
            network.eval()
            on_snapshot(step, network)
            network.train()
    if settings.averaging:
        network.load_state_dict(average)
    network.eval()
    return step


def _progress(step: int, settings: FitSettings, started: float) -> float:
    by_time = (time.monotonic() - started) / (60 * settings.minutes) if settings.minutes else 0.0
    return max(step / settings.steps, by_time)


def _step(
    network: nn.Module,
    cases: Sequence[TrainingCase],
    settings: FitSettings,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> float:
    chosen = torch.randint(len(cases), (settings.batch,), generator=generator)
    batch = draw_batch([cases[i] for i in chosen.tolist()], settings.augmentation, generator)
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(batch.images.contiguous(memory_format=torch.channels_last_3d))
    loss = segmentation_loss(logits.float(), batch.truth)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 12.0)
    optimiser.step()
    return float(loss.detach())


def _average(average: dict[str, torch.Tensor], network: nn.Module, decay: float) -> None:
    if decay <= 0:
        return
    for key, value in network.state_dict().items():
        average[key].lerp_(value.detach(), 1 - decay) if value.is_floating_point() else average[key].copy_(value)
