"""Stage 1: the autoencoder learns to keep masks, the discriminator keeps it from blurring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.losses.adversarial_loss import PatchAdversarialLoss
from torch import nn

from models.segmentation_qc.nnqc.autoencoder import MaskAutoencoder, discriminator_of, mask_loss
from models.segmentation_qc.nnqc.checkpoint import LoopSettings, optimise
from models.segmentation_qc.nnqc.examples import Known, draw_truth
from models.segmentation_qc.nnqc.preset import Preset
from models.segmentation_qc.nnqc.units import UnitPlan

# Published: 1e-6 and 0.5. A perceptual loss is published too, on a thresholded mask, through which no gradient flows.
_KL, _ADVERSARIAL = 1e-6, 0.5
_ADVERSARY_FROM = 0.3  # share of the steps after which the discriminator joins in


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderSettings:
    """How to train stage 1.

    Parameters
    ----------
    loop : LoopSettings
        Steps, time, learning rate.
    batch : int
        Images per step.
    seed : int
        Of all randomness.
    """

    loop: LoopSettings
    batch: int = 2
    seed: int = 3000


def train_autoencoder(
    network: MaskAutoencoder,
    known: Sequence[Known],
    preset: Preset,
    plan: UnitPlan,
    *,
    settings: AutoencoderSettings,
    path: Path,
) -> int:
    """Train in place and measure the latent's scale; returns the steps made. The adversary starts anew on resuming."""
    torch.manual_seed(settings.seed)
    adversary = _Adversary(discriminator_of(preset, classes=network.classes), settings.loop.learning_rate)

    def loss(step: int) -> torch.Tensor:
        masks = draw_truth(known, preset, plan, count=settings.batch, seed=settings.seed + 7919 * step)
        mean, deviation = network.distribution(masks)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(settings.seed + step))
        logits = network.decode_unscaled(mean + deviation * noise)
        total = mask_loss(logits, masks.argmax(dim=1)) + _KL * divergence(mean, deviation)
        if step >= _ADVERSARY_FROM * settings.loop.steps:
            painted = logits.softmax(dim=1)
            adversary.learn(masks, painted.detach())
            total = total + _ADVERSARIAL * adversary.against(painted)
        return total

    made = optimise(network, loss, settings.loop, path=path)
    network.set_scale(draw_truth(known, preset, plan, count=8, seed=settings.seed))
    return made


def divergence(mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Return the Kullback-Leibler divergence from the unit normal, summed over each latent, mean over the batch."""
    square = deviation.square()
    each = 0.5 * (mean.square() + square - torch.log(square.clamp(min=1e-12)) - 1)
    return each.flatten(1).sum(dim=1).mean()


class _Adversary:
    """The patch discriminator with its own optimiser; least-squares loss."""

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        self._network = network.train()
        self._optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate / 2)
        self._loss = PatchAdversarialLoss(criterion="least_squares")

    def against(self, painted: torch.Tensor) -> torch.Tensor:
        """Return how clearly `painted` is seen through; the gradient goes to what painted it."""
        for parameter in self._network.parameters():
            parameter.requires_grad_(False)
        found: torch.Tensor = self._loss(self._network(painted)[-1], target_is_real=True, for_discriminator=False)
        return found

    def learn(self, real: torch.Tensor, painted: torch.Tensor) -> None:
        """Make one step towards telling painted masks from real ones."""
        for parameter in self._network.parameters():
            parameter.requires_grad_(True)
        self._optimiser.zero_grad(set_to_none=True)
        on_real = self._loss(self._network(real)[-1], target_is_real=True, for_discriminator=True)
        on_painted = self._loss(self._network(painted)[-1], target_is_real=False, for_discriminator=True)
        (0.5 * (on_real + on_painted)).backward()
        self._optimiser.step()
