"""Draw training images of heads: real ones, deformed, recoloured and degraded, with what the recipes made of them.

The recipes are not run again on every image: their drafts are deformed with it, and a random choice of them votes, so
that the network also meets votes that are worse than those of all twelve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional

from models.brain.clues import BOX, Place, as_seen, clues_of, middle_of, offsets, sampled
from models.brain.consensus import drafts_of
from models.brain.heads import HeadCase


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMap:
    """A head ready for training, canonical axes, 2 mm.

    Parameters
    ----------
    channels : torch.Tensor, (3, z, y, x), float32
        Image; flattened image; brain 0..1.
    votes : torch.Tensor, (recipe, z, y, x), bool
        Drafts that vote.
    middle : tuple of float, (z, y, x)
        Middle of the vote, voxels.
    """

    channels: torch.Tensor
    votes: torch.Tensor
    middle: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A training image (1, channel, z, y, x) with its truth (1, z, y, x): share of the voxel, negative is ignored."""

    images: torch.Tensor
    truth: torch.Tensor


def head_map(case: HeadCase) -> HeadMap:
    """Prepare a head: run the recipes, and bring the brain to their grid."""
    drafts = drafts_of(case.volume)
    clues = clues_of(drafts)
    clues[-1] = torch.from_numpy(drafts.prepared.apply(case.brain.astype(np.uint8)))
    return HeadMap(channels=clues, votes=torch.from_numpy(np.stack(drafts.voters)), middle=middle_of(drafts.share))


class HeadSampler:
    """Draws training images from heads; every person is as likely as any other.

    Parameters
    ----------
    cases : sequence of HeadCase
        What to draw from.
    """

    def __init__(self, cases: Sequence[HeadCase]) -> None:
        self._cases = tuple(cases)

    @cached_property
    def _maps(self) -> list[list[HeadMap]]:
        """The heads of each person; made with the first draw, because a finished training is not drawn for."""
        persons = sorted({case.source.person for case in self._cases})
        return [[head_map(c) for c in self._cases if c.source.person == person] for person in persons]

    def draw(self, generator: torch.Generator) -> Drawn:
        """Draw one image with its brain mask."""
        images = self._maps[_pick(len(self._maps), generator)]
        source = images[_pick(len(images), generator)]
        share = _voted(source.votes, generator)
        channels = torch.cat([source.channels, share[None]])
        (image, flat, brain, share), seen = sampled(channels, _positions(source.middle, generator))
        seen &= _field_of_view(generator)
        image = _degraded(_recoloured(image, generator), generator)
        flat = _degraded(flat, generator) if chance(0.5, generator) else flat
        truth = torch.where(seen, brain.clamp(0, 1), -torch.ones_like(brain))
        return Drawn(images=as_seen(image, flat, share, seen)[None], truth=truth[None])


def chance(probability: float, generator: torch.Generator) -> bool:
    """Return True with this probability."""
    return _unit(generator) < probability


def _voted(votes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Let all recipes vote, or a random choice of them."""
    if chance(0.5, generator):
        return votes.float().mean(dim=0)
    chosen = torch.randperm(len(votes), generator=generator)[: 1 + _pick(len(votes), generator)]
    return votes[chosen].float().mean(dim=0)


def _positions(middle: Place, generator: torch.Generator) -> torch.Tensor:
    """Return where each voxel of a deformed box comes from, (z, y, x, 3), voxels of the source."""
    angles = _uniform(3, generator) * torch.tensor([0.2, 0.2, 0.3])
    scales = torch.exp(_uniform(3, generator) * 0.1 + _uniform(1, generator) * 0.08)
    if chance(0.5, generator):
        scales[2] = -scales[2]
    bend = torch.zeros((1, 3, *BOX))
    for knots, strength in ((4, 4.0), (8, 1.5)):
        coarse = torch.randn((1, 3, knots, knots, knots), generator=generator) * strength * _unit(generator)
        bend = bend + functional.interpolate(coarse, size=BOX, mode="trilinear", align_corners=True)
    centre = torch.tensor(middle) + _uniform(3, generator) * torch.tensor([6.0, 5.0, 5.0])
    return (offsets() * scales) @ _rotation(angles).T + bend[0].permute(1, 2, 3, 0) + centre


def _field_of_view(generator: torch.Generator) -> torch.Tensor:
    """Return the part of the box that was scanned: slices end somewhere, now and then inside the brain."""
    seen = torch.ones(BOX, dtype=torch.bool)
    for axis, probability in ((0, 0.3), (1, 0.1), (2, 0.2)):
        if chance(probability, generator):
            low, high = (int(0.2 * BOX[axis] * _unit(generator)) for _ in range(2))
            keep = torch.zeros(BOX[axis], dtype=torch.bool)
            keep[low : BOX[axis] - high] = True
            seen &= keep.reshape([-1 if a == axis else 1 for a in range(3)])
    return seen


def _recoloured(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Keep real voxels, under a random curve of intensity: gentle as a rule, any curve now and then."""
    low, high = float(image.amin()), float(image.amax())
    scaled = (image - low) / (high - low + 1e-6)
    if chance(0.2, generator):
        knots = torch.rand(7, generator=generator)
        knots[0] = 0.0
        at = scaled.clamp(0, 1) * 6
        floor = at.floor().clamp(max=5)
        return knots[floor.long()] * (1 - (at - floor)) + knots[floor.long() + 1] * (at - floor)
    return scaled ** math.exp(0.5 * (2 * _unit(generator) - 1))


def _degraded(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Degrade an image (z, y, x) as scanners do: thick slices, blur, bias field, noise."""
    if chance(0.4, generator):
        image = _thick(image, _pick(3, generator), 1.0 + 1.2 * _unit(generator))
    if chance(0.3, generator):
        image = _soft(image, 0.3 + 0.4 * _unit(generator))
    low = image.amin()
    coarse = torch.randn((1, 1, 4, 4, 4), generator=generator) * 0.3 * _unit(generator)
    field = functional.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    level = float(image.std()) * 0.2 * _unit(generator) ** 2
    noise = level * torch.randn(image.shape, generator=generator)
    return ((image - low) * torch.exp(field) + noise).abs() + low


def _unit(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(count, generator=generator) - 1


def _pick(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _thick(image: torch.Tensor, axis: int, factor: float) -> torch.Tensor:
    """Average over thick slices along one axis, then interpolate linearly between them as preprocessing does."""
    size = list(image.shape)
    size[axis] = max(4, round(size[axis] / factor))
    blurred = _soft(image, 0.42 * factor, axis=axis)
    coarse = functional.interpolate(blurred[None, None], size=size, mode="trilinear")
    return functional.interpolate(coarse, size=image.shape, mode="trilinear")[0, 0]


def _soft(image: torch.Tensor, sigma: float, axis: int | None = None) -> torch.Tensor:
    """Blur by a Gaussian of `sigma` voxels along one axis or all."""
    radius = max(1, math.ceil(2.5 * sigma))
    taps = torch.exp(-(torch.arange(-radius, radius + 1, dtype=torch.float32) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    blurred = image[None, None]
    for along in range(3) if axis is None else (axis,):
        shape, pad = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + along] = len(taps)
        pad[2 * (2 - along)] = pad[2 * (2 - along) + 1] = radius
        blurred = functional.conv3d(functional.pad(blurred, pad, mode="replicate"), taps.reshape(shape))
    return blurred[0, 0]


def _rotation(angles: torch.Tensor) -> torch.Tensor:
    matrix = torch.eye(3)
    for axis in range(3):
        cosine, sine = torch.cos(angles[axis]), torch.sin(angles[axis])
        first, second = [a for a in range(3) if a != axis]
        turn = torch.eye(3)
        turn[first, first], turn[second, second] = cosine, cosine
        turn[first, second], turn[second, first] = -sine, sine
        matrix = matrix @ turn
    return matrix
