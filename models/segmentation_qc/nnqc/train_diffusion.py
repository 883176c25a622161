"""Stage 2: the denoiser and both experts learn to paint what the expert drew, whatever the candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import torch
from torch import nn
from torch.nn import functional

from models.segmentation_qc.nnqc.autoencoder import mask_loss
from models.segmentation_qc.nnqc.checkpoint import LoopSettings, optimise
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.examples import Examples, Known, draw_examples
from models.segmentation_qc.nnqc.preset import Prediction
from models.segmentation_qc.nnqc.sampler import TRAINING_STEPS, scheduler_of
from models.segmentation_qc.nnqc.units import UnitPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionSettings:
    """How to train stage 2.

    Parameters
    ----------
    loop : LoopSettings
        Steps, time, learning rate.
    batch : int
        Images per step.
    seed : int
        Of all randomness.
    mask_weight : float
        Weight of the loss on the decoded mask (published: 0.1, after a warm-up).
    mask_every : int
        Steps between two with that loss; decoding costs as much as all the rest.
    occupancy_weight : float
        Weight of the visual expert's own loss; not published.
    """

    loop: LoopSettings
    batch: int = 2
    seed: int = 4000
    mask_weight: float = 0.5
    mask_every: int = 3
    occupancy_weight: float = 0.3


def train_diffusion(
    network: Nnqc,
    known: Sequence[Known],
    plan: UnitPlan,
    *,
    settings: DiffusionSettings,
    path: Path,
    on_save: Callable[[int, nn.Module], None] | None = None,
) -> int:
    """Train the denoiser in place, the autoencoder frozen; returns the steps made."""
    network.autoencoder.requires_grad_(False).eval()
    alphas = scheduler_of(network.preset.prediction).alphas_cumprod

    def loss(step: int) -> torch.Tensor:
        seed = settings.seed + 7919 * step
        examples = draw_examples(known, network.preset, plan, count=settings.batch, seed=seed)
        return diffusion_loss(network, examples, alphas, settings, seed=seed, decoded=step % settings.mask_every == 0)

    made = optimise(network.denoiser, loss, settings.loop, path=path, on_save=on_save)
    network.eval()
    return made


def diffusion_loss(
    network: Nnqc,
    examples: Examples,
    alphas: torch.Tensor,
    settings: DiffusionSettings,
    *,
    seed: int,
    decoded: bool = True,
) -> torch.Tensor:
    """Return the loss of one batch: on the latent, on the decoded mask, and the visual expert's own.

    Parameters
    ----------
    network : Nnqc
        In training.
    examples : Examples
        Batch.
    alphas : torch.Tensor, (step,)
        Cumulated share of the signal at each noise level.
    settings : DiffusionSettings
        Weights of the parts.
    seed : int
        Of noise and noise levels.
    decoded : bool
        Whether the mask is decoded and its loss added.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        clean = network.autoencoder.encode(examples.truth)
    noise = torch.randn(clean.shape, generator=generator)
    times = torch.randint(TRAINING_STEPS, (len(clean),), generator=generator)
    share = alphas[times].reshape(-1, *[1] * (clean.dim() - 1))
    noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
    code = network.code(examples.candidates)
    # In float32: for small latents the bfloat16 convolution of this torch returns gradients that are not numbers.
    view = network.view(examples.images, examples.positions)
    answer = network.denoiser(noisy, times, view, code)
    prediction = network.preset.prediction
    total = functional.mse_loss(answer, _target(prediction, clean, noise, share))
    truth = examples.truth.argmax(dim=1)
    if settings.mask_weight and decoded:
        estimate = _clean(prediction, answer, noisy, share)
        total = total + settings.mask_weight * mask_loss(network.autoencoder.decode(estimate), truth)
    if settings.occupancy_weight:
        pool = functional.avg_pool3d if network.preset.dimensions == 3 else functional.avg_pool2d
        wanted = pool(examples.truth, network.preset.down)
        seen = functional.log_softmax(view.seen.occupancy, dim=1)
        total = total - settings.occupancy_weight * (wanted * seen).sum(dim=1).mean()
    return total


def _target(prediction: Prediction, clean: torch.Tensor, noise: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    match prediction:
        case Prediction.EPSILON:
            return noise
        case Prediction.SAMPLE:
            return clean
        case Prediction.VELOCITY:
            return share.sqrt() * noise - (1 - share).sqrt() * clean
        case _:
            assert_never(prediction)


def _clean(prediction: Prediction, answer: torch.Tensor, noisy: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Estimate the clean latent from what the denoiser answered."""
    match prediction:
        case Prediction.EPSILON:
            return (noisy - (1 - share).sqrt() * answer) / share.sqrt().clamp(min=0.05)
        case Prediction.SAMPLE:
            return answer
        case Prediction.VELOCITY:
            return share.sqrt() * noisy - (1 - share).sqrt() * answer
        case _:
            assert_never(prediction)
