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
#: Voxel size of the networks, mm, and the box (z, y, x) they see: 200 x 240 x 200 mm around the brain.
GRID_MM = 2.5
BOX = (80, 96, 80)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadMap:
    """A head ready for synthesis, canonical axes, 2 mm.

    Parameters
    ----------
    channels : torch.Tensor, (3, z, y, x), float32
        Image as z-score; brain 0..1; distance to the brain outside it, mm, at most 6.
    labels : torch.Tensor, (1, z, y, x), float32
        0 air, then classes of brain intensity, then classes of the rest of the head.
    centre : tuple of float, (z, y, x)
        Middle of the brain, voxels.
    """

    channels: torch.Tensor
    labels: torch.Tensor
    centre: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A training image (1, channel, z, y, x) with its truth (1, z, y, x): share of the voxel, negative is ignored."""

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
    z, y, x = (float(n) for n in ndimage.center_of_mass(inside))
    return HeadMap(channels=torch.from_numpy(channels), labels=torch.from_numpy(labels)[None], centre=(z, y, x))


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
        grid = sampling_grid(source, generator)
        channels = functional.grid_sample(source.channels[None], grid, padding_mode="border", align_corners=True)[0]
        labels = functional.grid_sample(source.labels[None], grid, mode="nearest", align_corners=True)[0, 0].long()
        brain, distance = channels[1].clamp(0, 1), channels[2]
        image = _drawn(channels[0], labels, distance, generator)
        if chance(0.06, generator):
            image = torch.where(distance < 0.5, image, image.amin())
        elif chance(0.2, generator):
            image = torch.where(_face(distance, generator), image.amin(), image)
        seen = (grid[0].abs() <= 1).all(dim=-1) & _field_of_view(generator)
        image = degraded(image, generator)
        image = torch.where(seen, image, image[seen].min())
        image = torch.from_numpy(normalise(image.numpy(), PreprocessPlan()))
        return Drawn(images=image[None, None], truth=torch.where(seen, brain, -torch.ones_like(brain))[None])


def sampling_grid(source: HeadMap, generator: torch.Generator) -> torch.Tensor:
    """Return where each voxel of a deformed box comes from, (1, z, y, x, 3) in grid_sample's (x, y, z) range."""
    size = source.labels.shape[1:]
    step = GRID_MM / _SOURCE_MM
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in BOX]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) * step
    angles = _uniform(3, generator) * torch.tensor([0.2, 0.2, 0.35])
    scales = torch.exp(_uniform(3, generator) * 0.12 + _uniform(1, generator) * 0.1)
    if chance(0.5, generator):
        scales[2] = -scales[2]
    bend = torch.zeros((1, 3, *BOX))
    for knots, strength in ((4, 5.0), (8, 1.5)):
        coarse = torch.randn((1, 3, knots, knots, knots), generator=generator) * strength * _unit(generator)
        bend = bend + functional.interpolate(coarse, size=BOX, mode="trilinear", align_corners=True)
    near = torch.tensor([6.0, 5.0, 5.0]) if chance(0.6, generator) else torch.tensor([20.0, 10.0, 10.0])
    centre = torch.tensor(source.centre) + _uniform(3, generator) * near
    positions = (offsets * scales) @ _rotation(angles).T + bend[0].permute(1, 2, 3, 0) + centre
    spans = torch.tensor([max(n - 1, 1) / 2 for n in size])
    return ((positions / spans) - 1).flip(-1)[None]


def degraded(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Degrade an image (z, y, x) as scanners do: thick slices, blur, bias field, noise."""
    if chance(0.7, generator):
        axis = 0 if chance(0.6, generator) else _pick(3, generator)
        image = _thick(image, axis, 1.0 + 1.8 * _unit(generator))
    if chance(0.3, generator):
        image = _soft(image, 0.3 + 0.6 * _unit(generator))
    low = image.amin()
    coarse = torch.randn((1, 1, 4, 4, 4), generator=generator) * 0.5 * _unit(generator)
    field = functional.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    image = (image - low) * torch.exp(field)
    level = float(image.std()) * 0.25 * _unit(generator) ** 2
    return (image + level * torch.randn(image.shape, generator=generator)).abs()


def chance(probability: float, generator: torch.Generator) -> bool:
    """Return True with this probability."""
    return _unit(generator) < probability


def _unit(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.rand(count, generator=generator) - 1


def _pick(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))


def _drawn(
    image: torch.Tensor, labels: torch.Tensor, distance: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Real voxels, painted ones, or real texture on painted contrast."""
    if chance(0.5, generator):
        return _recoloured(image, generator)
    painted = _painted(labels, distance, generator)
    if chance(0.5, generator):
        return painted
    low, high = painted.amin(), painted.amax()
    share = 0.2 + 0.6 * _unit(generator)
    return (1 - share) * (painted - low) / (high - low + 1e-6) + share * _recoloured(image, generator)


def _face(distance: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the face as defacing removes it: far from the brain, in front of and below a plane."""
    z, y = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in BOX[:2]], indexing="ij")
    slope, offset = 0.5 + 1.5 * _unit(generator), 0.2 + 0.5 * _unit(generator)
    return (distance > 0.8 * _RIM_MM) & (-(y + slope * z) > offset)[..., None]


def _field_of_view(generator: torch.Generator) -> torch.Tensor:
    """Return the part of the box that was scanned: slices end somewhere, now and then inside the brain."""
    seen = torch.ones(BOX, dtype=torch.bool)
    for axis, probability in ((0, 0.5), (1, 0.2), (2, 0.3)):
        if not chance(probability, generator):
            continue
        count = BOX[axis]
        least = 0.18 if chance(0.25, generator) else 0.06
        low, high = (int(count * least * _unit(generator) * 1.6) for _ in range(2))
        keep = torch.zeros(count, dtype=torch.bool)
        keep[low : count - high] = True
        seen &= keep.reshape([-1 if a == axis else 1 for a in range(3)])
    return seen


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
