"""Train one network after the other from a sampler of images; what is finished is kept and not trained again."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from models.brain.folded import FoldedUNet
from models.brain.synthesis import Drawn

_log = logging.getLogger(__name__)
_SMOOTH = 1.0
_LARGEST_GRADIENT = 12.0
Draw = Callable[[torch.Generator], Drawn]
Build = Callable[[], FoldedUNet]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainTrainingSettings:
    """How to train.

    Parameters
    ----------
    minutes : float or None
        Wall-clock budget of one network; None: `steps`.
    steps : int or None
        Steps of one network where there is no budget of time; None: what the family has settled on.
    learning_rate, weight_decay : float
        AdamW, cosine from the peak to nothing.
    seed : int
        Network n starts from ``seed + n``.
    threads : int
        CPU threads.
    channels : tuple of int
        Feature channels per level of the U-Net.
    """

    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0
    threads: int = 1
    channels: tuple[int, ...] = (16, 32, 48, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network and how many steps made it."""

    network: FoldedUNet
    steps: int


def train_network(build: Build, draw: Draw, settings: BrainTrainingSettings, *, seed: int, kept: Path) -> Trained:
    """Train a network, or read it if an earlier, interrupted training finished it.

    Parameters
    ----------
    build : callable
        Makes the untrained network.
    draw : callable
        Draws one training image.
    settings : BrainTrainingSettings
        How to train.
    seed : int
        Where random numbers start.
    kept : Path
        File (safetensors) that the finished network is kept in.
    """
    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)
    network = build()
    if kept.is_file():
        tensors = load_file(kept)
        steps = int(tensors.pop("steps"))
        network.inner.load_state_dict(tensors, strict=True)
        return Trained(network=network.eval(), steps=steps)
    network.inner.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    steps = _run(network, draw, settings, torch.Generator().manual_seed(seed))
    kept.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().contiguous().clone() for key, value in network.inner.state_dict().items()}
    save_file({**state, "steps": torch.tensor(steps)}, kept)
    return Trained(network=network.eval(), steps=steps)


def _run(network: FoldedUNet, draw: Draw, settings: BrainTrainingSettings, generator: torch.Generator) -> int:
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    network.train()
    started, step, recent = time.monotonic(), 0, math.nan
    while True:
        elapsed = time.monotonic() - started
        progress = step / (settings.steps or 1) if settings.minutes is None else elapsed / (60 * settings.minutes)
        if progress >= 1:
            return step
        rate = settings.learning_rate * min(1.0, (step + 1) / 40) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005)
        for group in optimizer.param_groups:
            group["lr"] = rate
        drawn = draw(generator)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(drawn.images)
        loss = partial_loss(logits.float(), drawn.truth)
        loss.backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)):
            optimizer.step()
        recent = float(loss.detach()) if math.isnan(recent) else 0.98 * recent + 0.02 * float(loss.detach())
        step += 1
        if step % 50 == 0:
            _log.info("step %d, loss %.4f, %.2f s per step", step, recent, elapsed / step)


def partial_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice of the foreground, both without the voxels whose truth is negative.

    Parameters
    ----------
    logits : torch.Tensor, (batch, 2, z, y, x)
        Background first.
    truth : torch.Tensor, (batch, z, y, x)
        Share of the voxel that is foreground, 0..1, or negative where nobody knows.
    """
    known = (truth >= 0).to(logits.dtype)
    target = truth.clamp(min=0).to(logits.dtype)
    logit = logits[:, 1] - logits[:, 0]
    each = functional.binary_cross_entropy_with_logits(logit, target, reduction="none")
    entropy = (each * known).sum() / known.sum().clamp(min=1)
    probability = logit.sigmoid() * known
    shared, total = (probability * target).sum(), probability.sum() + target.sum()
    return entropy + 1 - (2 * shared + _SMOOTH) / (total + _SMOOTH)
