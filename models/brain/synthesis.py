"""Draw training images of heads: real ones, deformed, and synthetic ones with a random contrast for every tissue.

After SynthSeg and SynthStrip (Billot et al. 2023, Hoopes et al. 2022), in own code: a label map of a real head is
deformed, every label gets a random intensity, and the result is degraded as scanners do: thick slices, bias field,
noise. Half of the images keep the real voxels of one examination under the same deformation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from models.brain.heads import HeadCase
from models.image_qc.head import otsu_threshold
from models.preprocess import PreprocessPlan, normalise, prepare

_BRAIN_CLASSES = 4
_OTHER_CLASSES = 5
_RIM_MM = 6.0
_SOURCE_MM = 2.0
#: Fields of view of training images, voxels (z, y, x) of the network's 3 mm grid.
_PATCHES = ((64, 80, 64), (64, 72, 56), (80, 80, 64), (48, 72, 64), (72, 80, 72))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMap:
    """A head ready for synthesis, canonical axes, 2 mm.

    Parameters
    ----------
    channels : torch.Tensor, (3, z, y, x), float32
        Image as z-score; brain 0..1; distance to the brain outside it, mm, at most 6.
    labels : torch.Tensor, (1, z, y, x), float32
        0 air, then classes of brain intensity, then classes of the rest of the head.
    """

    channels: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A training image (1, 1, z, y, x) with its truth (1, z, y, x), int64; -1 is ignored."""

    images: torch.Tensor
    truth: torch.Tensor


def head_map(case: HeadCase) -> HeadMap:
    """Turn a head into a label map: brain and rest are each divided into classes by intensity."""
    prepared = prepare(case.volume, PreprocessPlan(spacing=(_SOURCE_MM,) * 3))
    image, brain = prepared.voxels, prepared.apply(case.brain.astype(np.uint8))
    inside = brain > 0.5
    head = _head_mask(image) & ~inside
    labels = np.zeros(image.shape, np.float32)
    labels[inside] = 1 + _classes(image[inside], _BRAIN_CLASSES)
    labels[head] = 1 + _BRAIN_CLASSES + _classes(image[head], _OTHER_CLASSES)
    distance = np.minimum(ndimage.distance_transform_edt(~inside, sampling=_SOURCE_MM), _RIM_MM)
    channels = np.stack([image, brain, distance]).astype(np.float32)
    return HeadMap(channels=torch.from_numpy(channels), labels=torch.from_numpy(labels)[None])


class HeadSampler:
    """Draws training images from heads; every person is as likely as any other.

    Parameters
    ----------
    cases : sequence of HeadCase
        What to draw from.
    """

    def __init__(self, cases: Sequence[HeadCase]) -> None:
        persons = sorted({case.source.person for case in cases})
        self._maps = [[head_map(c) for c in cases if c.source.person == person] for person in persons]

    def draw(self, generator: torch.Generator) -> Drawn:
        """Draw one image with its brain mask."""
        images = self._maps[_pick(len(self._maps), generator)]
        source = images[_pick(len(images), generator)]
        patch = _PATCHES[_pick(len(_PATCHES), generator)]
        grid = sampling_grid(source.labels.shape[1:], patch, generator)
        channels = functional.grid_sample(source.channels[None], grid, padding_mode="border", align_corners=True)[0]
        labels = functional.grid_sample(source.labels[None], grid, mode="nearest", align_corners=True)[0, 0]
        inside = _inside(grid)
        brain = (channels[1] * inside) > 0.5
        if chance(0.5, generator):
            image = _recoloured(channels[0], generator)
        else:
            image = _painted(labels.long(), channels[2], generator)
        image = torch.where(inside, image, image.amin())
        if chance(0.08, generator):
            image = torch.where(channels[2] < 0.5, image, image.amin())
        image = degraded(image, generator)
        return Drawn(images=image[None, None], truth=brain.long()[None])


def sampling_grid(
    size: Sequence[int], patch: tuple[int, int, int], generator: torch.Generator, *, step: float = 1.5
) -> torch.Tensor:
    """Return where each voxel of a deformed crop comes from, (1, z, y, x, 3) in grid_sample's (x, y, z) range.

    Parameters
    ----------
    size : sequence of int, (z, y, x)
        Source voxels.
    patch : tuple of int, (z, y, x)
        Voxels of the crop.
    generator : torch.Generator
        Random numbers.
    step : float
        Source voxels per voxel of the crop.
    """
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) * step
    angles = _uniform(3, generator) * torch.tensor([0.2, 0.2, 0.4])
    scales = torch.exp(_uniform(3, generator) * 0.12 + _uniform(1, generator) * 0.1)
    if chance(0.5, generator):
        scales[2] = -scales[2]
    bend = torch.zeros((1, 3, *patch))
    for knots, strength in ((4, 5.0), (8, 1.5)):
        coarse = torch.randn((1, 3, knots, knots, knots), generator=generator) * strength * _unit(generator)
        bend = bend + functional.interpolate(coarse, size=patch, mode="trilinear", align_corners=True)
    shift = _uniform(3, generator) * torch.tensor([18.0, 8.0, 8.0])
    centre = torch.tensor([(n - 1) / 2 for n in size]) + shift
    positions = (offsets * scales) @ _rotation(angles).T + bend[0].permute(1, 2, 3, 0) + centre
    spans = torch.tensor([max(n - 1, 1) / 2 for n in size])
    return ((positions / spans) - 1).flip(-1)[None]


def degraded(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Degrade an image (z, y, x) as scanners do, and bring it to the z-score of preprocessing."""
    if chance(0.7, generator):
        axis = 0 if chance(0.7, generator) else _pick(3, generator)
        image = _thick(image, axis, 1.0 + 1.4 * _unit(generator))
    if chance(0.3, generator):
        image = _soft(image, 0.3 + 0.5 * _unit(generator))
    low = image.amin()
    coarse = torch.randn((1, 1, 4, 4, 4), generator=generator) * 0.35 * _unit(generator)
    field = functional.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    image = (image - low) * torch.exp(field)
    level = float(image.std()) * 0.2 * _unit(generator) ** 2
    image = (image + level * torch.randn(image.shape, generator=generator)).abs()
    return torch.from_numpy(normalise(image.numpy(), PreprocessPlan()))


def chance(probability: float, generator: torch.Generator) -> bool:
    """Return True with this probability."""
    return _unit(generator) < probability


def _unit(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(count, generator=generator) - 1


def _pick(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _inside(grid: torch.Tensor) -> torch.Tensor:
    return (grid[0].abs() <= 1).all(dim=-1)


def _painted(labels: torch.Tensor, distance: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give every label a random mean and spread; air is dark; a rim of random depth around the brain is fluid."""
    count = 2 + _BRAIN_CLASSES + _OTHER_CLASSES
    means = torch.rand(count, generator=generator)
    means[0] = 0.03 if chance(0.9, generator) else 0.3 * float(means[0])
    spreads = 0.01 + 0.07 * torch.rand(count, generator=generator)
    if chance(0.6, generator):
        depth = 1.0 + 4.0 * _unit(generator)
        labels = torch.where((distance > 0.5) & (distance < depth), torch.full_like(labels, count - 1), labels)
    noise = torch.randn(labels.shape, generator=generator)
    return _soft(means[labels] + spreads[labels] * noise, 0.5)


def _recoloured(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Keep real voxels, under a random curve of intensity: gentle as a rule, any curve now and then."""
    low, high = float(image.amin()), float(image.amax())
    scaled = (image - low) / (high - low + 1e-6)
    if chance(0.25, generator):
        knots = torch.rand(7, generator=generator)
        knots[0] = 0.0
        at = scaled.clamp(0, 1) * 6
        floor = at.floor().clamp(max=5)
        return knots[floor.long()] * (1 - (at - floor)) + knots[floor.long() + 1] * (at - floor)
    return scaled ** math.exp(0.5 * (2 * _unit(generator) - 1))


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


def _head_mask(image: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Everything that is not air, holes (sinuses, skull) included slice by slice."""
    top = float(np.percentile(image, 90))
    bright = image > float(image.min()) + 0.6 * (otsu_threshold(np.minimum(image, top)) - float(image.min()))
    closed = ndimage.binary_closing(np.pad(bright, 3), iterations=3)[3:-3, 3:-3, 3:-3]
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def _classes(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Cluster intensities into `count` classes (k-means from quantiles, twelve rounds); 0 is the darkest."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(12):
        nearest = np.abs(values[:, None] - centres[None]).argmin(axis=1)
        centres = np.array([values[nearest == k].mean() if (nearest == k).any() else centres[k] for k in range(count)])
    found: npt.NDArray[np.int64] = np.abs(values[:, None] - np.sort(centres)[None]).argmin(axis=1)
    return found
