"""The two-headed network: one feature extractor, a head for each sequence, a domain classifier behind a reversal.

After Loizillon et al. (Medical Image Analysis 103, 2025, 103617) and their network in clinicadl (`Conv5_FC3_SSDA`).
Departures, with reasons: it looks at views (see `models.image_qc.views`) in place of registered heads; a view is
described by means and spreads over every block, because noise and blur live in the first blocks and motion in the
later ones; group in place of batch normalisation, so that no answer depends on what else is in the batch; descriptions
are standardised for each sequence by itself, which needs no label; the convolutions are trained once on the source and
stay, adaptation moves the dense layers behind them, which takes seconds on a CPU; 0.2 M in place of 126 M weights.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import Any

import torch
from torch import nn

_CHANNELS = (8, 16, 32, 48, 64)
_FEATURES = 64
_INPUTS = 4
_MIDDLE = 0.5  # the median of tissue in a view
_GAIN = 5.0
_MOST_SPREADS = 4.0
_LEAST_SPREAD = 1e-3
GRADED = ("motion", "noise", "contrast")
"""Artefacts with three grades each, in the order of the outputs; two outputs for reject come first."""
OUTPUTS = 2 + 3 * len(GRADED)
DESCRIPTION = 2 * (_INPUTS + sum(_CHANNELS))
"""Numbers that describe one view."""


class Domain(StrEnum):
    """The two sequences, each with a head of its own."""

    SOURCE = "T1"
    TARGET = "FLAIR"


class _Reversal(torch.autograd.Function):
    """Identity forward, gradient times -alpha backward (Ganin and Lempitsky, ICML 2015)."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, alpha: float) -> torch.Tensor:
        ctx.alpha = alpha
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.alpha * gradients[0], None


def reverse_gradient(features: torch.Tensor, alpha: float) -> torch.Tensor:
    """Pass `features` on and turn their gradient round, scaled by `alpha` (0: the classifier only watches)."""
    reversed_: torch.Tensor = _Reversal.apply(features, alpha)  # type: ignore[no-untyped-call]
    return reversed_


class Convolutions(nn.Module):
    """Five blocks of convolutions; a view (view, z, y, x), float32, becomes its description (view, DESCRIPTION)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (_INPUTS, *_CHANNELS)
        pairs = list(pairwise(widths))
        self.blocks = nn.ModuleList(_block(a, b, first=i == 0) for i, (a, b) in enumerate(pairs))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return mean and log spread over space of the inputs and of every block's output."""
        passed = _inputs(views)
        pooled = _pooled(passed)
        for number, block in enumerate(self.blocks):
            passed = block(nn.functional.max_pool3d(passed, 2, ceil_mode=True) if number > 1 else passed)
            pooled += _pooled(passed)
        return torch.cat(pooled, dim=1)


class TwoHeadedNetwork(nn.Module):
    """Grade views of T1w and FLAIR images; `forward` takes descriptions and gives shared features.

    Parameters
    ----------
    convolutions : Convolutions
        Trained on the source; their weights take no gradient here.

    Attributes
    ----------
    mean, scale : torch.Tensor, (2, DESCRIPTION), float32
        Of the descriptions of each domain; see `standardise_by`.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, convolutions: Convolutions) -> None:
        super().__init__()
        self.convolutions = convolutions.requires_grad_(requires_grad=False)
        self.register_buffer("mean", torch.zeros(len(Domain), DESCRIPTION))
        self.register_buffer("scale", torch.ones(len(Domain), DESCRIPTION))
        self.shared = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(DESCRIPTION, 2 * _FEATURES), nn.ReLU(),
            nn.Dropout(0.2), nn.Linear(2 * _FEATURES, _FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({str(domain): nn.Linear(_FEATURES, OUTPUTS) for domain in Domain})
        # Bounded inputs: otherwise features run away from a classifier that follows too slowly.
        bound = nn.LayerNorm(_FEATURES, elementwise_affine=False)
        self.domain = nn.Sequential(bound, nn.Linear(_FEATURES, 64), nn.ReLU(), nn.Linear(64, 2))

    def standardise_by(self, descriptions: torch.Tensor, *domains: Domain) -> None:
        """Take mean and spread of `descriptions`, (view, DESCRIPTION), for these domains; labels are not needed.

        References
        ----------
        Li et al., Pattern Recognition 80, 2018 (AdaBN): statistics of the target in place of those of the source.
        """
        for domain in domains:
            row = list(Domain).index(domain)
            self.mean[row] = descriptions.mean(0)
            self.scale[row] = descriptions.std(0).clamp(min=_LEAST_SPREAD)

    def forward(self, descriptions: torch.Tensor, domain: Domain) -> torch.Tensor:
        """Return the shared features, (view, feature), of descriptions (view, DESCRIPTION) of one domain."""
        row = list(Domain).index(domain)
        standard = (descriptions - self.mean[row]) / self.scale[row]
        # One odd number must not decide alone.
        features: torch.Tensor = self.shared(standard.clamp(-_MOST_SPREADS, _MOST_SPREADS))
        return features

    def grade(self, features: torch.Tensor, domain: Domain) -> torch.Tensor:
        """Return logits (view, 11) of the head of `domain`: reject no/yes, then grades 0/1/2 of each artefact."""
        logits: torch.Tensor = self.heads[str(domain)](features)
        return logits

    def tell_domain(self, features: torch.Tensor, alpha: float) -> torch.Tensor:
        """Return logits (view, 2) of source and target, behind the gradient reversal."""
        logits: torch.Tensor = self.domain(reverse_gradient(features, alpha))
        return logits


def split_logits(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Split (view, 11) logits into reject (view, 2) and motion, noise, contrast (view, 3)."""
    return torch.split(logits, [2, 3, 3, 3], dim=1)


def _inputs(views: torch.Tensor) -> torch.Tensor:
    """Stack the view and its second differences along each axis, (view, channel, z, y, x)."""
    channels = [views - _MIDDLE]
    for axis in (1, 2, 3):
        first = views.diff(dim=axis)
        inside = _GAIN * first.diff(dim=axis)
        pad = [0, 0, 0, 0, 0, 0]
        pad[2 * (3 - axis)] = pad[2 * (3 - axis) + 1] = 1
        channels.append(nn.functional.pad(inside, pad))
    return torch.stack(channels, dim=1)


def _pooled(passed: torch.Tensor) -> list[torch.Tensor]:
    flat = passed.flatten(2)
    return [flat.mean(2), (flat.var(2, unbiased=False) + 1e-5).log() / 2.0]


def _block(taken: int, given: int, *, first: bool) -> nn.Sequential:
    """Convolution, normalisation and activation.

    The first block samples every second voxel, which texture survives at an eighth of the cost, and is not normalised,
    which would divide away how bright and how noisy the view is.
    """
    norm = nn.Identity() if first else nn.GroupNorm(4, given)
    return nn.Sequential(nn.Conv3d(taken, given, 3, stride=2 if first else 1, padding=1), norm, nn.ReLU())
