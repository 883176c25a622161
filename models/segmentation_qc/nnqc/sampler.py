"""From noise to a mask in a few DDIM steps, the same every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.schedulers.ddim import DDIMScheduler

from models.segmentation_qc.nnqc.conditional import View
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.preset import Prediction

TRAINING_STEPS = 1000


def scheduler_of(prediction: Prediction) -> DDIMScheduler:
    """Return the noise schedule: 1000 steps, scaled linear beta 0.0015 to 0.0195, as published."""
    return DDIMScheduler(
        num_train_timesteps=TRAINING_STEPS,
        schedule="scaled_linear_beta",
        beta_start=0.0015,
        beta_end=0.0195,
        prediction_type=str(prediction),
        clip_sample=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How masks are drawn.

    Parameters
    ----------
    steps : int
        DDIM steps; more is not better (the authors' optimum is 2 to 5).
    seed : int
        Of the noise every unit starts from: the same noise for each, so neither batch nor order matters.
    guidance : float
        1: as conditioned. Above 1 exaggerates, below 1 weakens what the candidate adds to the image; 0 ignores it.
    """

    steps: int
    seed: int = 0
    guidance: float = 1.0


def times_of(prediction: Prediction, steps: int) -> list[int]:
    """Return the noise levels of `steps` DDIM steps, the highest first.

    Clean latent or velocity can be asked for at pure noise, where sampling really starts. Noise cannot: dividing by
    what is left of the signal there (0.012) would blow any error up, so the published design starts lower.
    """
    stride = TRAINING_STEPS // steps
    first = stride * (steps - 1) if prediction is Prediction.EPSILON else TRAINING_STEPS - 1
    return [first - stride * number for number in range(steps)]


@torch.inference_mode()
def sample(network: Nnqc, view: View, code: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Draw the clean latent of each unit.

    Parameters
    ----------
    network : Nnqc
        In evaluation mode.
    view : View
        What the experts say of the units.
    code : torch.Tensor, (unit, class, ...)
        Candidates at latent resolution.
    sampling : Sampling
        How.

    Returns
    -------
    torch.Tensor, (unit, latent channel, ...), float32
        Scaled latent, to be decoded.
    """
    prediction = network.preset.prediction
    scheduler: Any = scheduler_of(prediction)
    scheduler.set_timesteps(sampling.steps)
    shape = (1, network.autoencoder.latent_channels, *code.shape[2:])
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(sampling.seed))
    latent = noise.to(code.device).expand(code.shape[0], *shape[1:])
    clean = latent
    for time in times_of(prediction, sampling.steps):
        at = torch.full((code.shape[0],), time, device=code.device)
        answer = network.denoiser(latent, at, view, code)
        if sampling.guidance != 1.0:
            alone = network.denoiser(latent, at, view, blank_code(code))
            answer = alone + sampling.guidance * (answer - alone)
        latent, clean = scheduler.step(answer, time, latent)
    return clean


def blank_code(code: torch.Tensor) -> torch.Tensor:
    """Return the code of an empty candidate: background everywhere."""
    blank = torch.zeros_like(code)
    blank[:, 0] = 1.0
    return blank
