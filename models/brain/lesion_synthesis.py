"""Draw training images of lesions: lesion shapes that experts drew, put into other people's brains.

The shapes lie where they lay, brain box upon brain box, so periventricular lesions stay periventricular. In FLAIR of
patients the brain keeps its own lesions: where they are certain they count as lesions, where a bright spot may be one
it counts as nothing. T1 brains are repainted as FLAIR along a random curve. Only what surrounds the crop is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from dicom_sr.segmentation import Mask
from models.brain.heads import HeadCase, LesionMask
from models.brain.synthesis import Drawn, chance
from models.brain.view import HIGHEST, LOWEST, brain_view
from models.preprocess import PreprocessPlan, canonical_view, prepare
from models.segmentation.augment import disturb_region

#: Grid of the lesion networks, mm: thick slices as 2-D FLAIR has them, fine in plane.
PLAN = PreprocessPlan(spacing=(3.0, 1.0, 1.0), lower_percentile=0.0, upper_percentile=99.99)
PATCH = (24, 96, 96)
_SPACING = (3.0, 1.0, 1.0)
_DEEP_MM = 3.0
_SURROUNDINGS_MM = 8.0
# Robust spreads above the surroundings: bright enough to be left open, bright enough to be taken as a lesion.
_SUSPECT, _CERTAIN = 0.9, 2.0
_LEAST_CERTAIN_VOXELS = 4
#: Least share of patients with a lesion near there.
LIKELY = 0.03
_TURN, _STRETCH = 0.25, 0.15
#: What has to be computed for a crop that is turned and stretched, voxels on each side (z, y, x).
_HALF = (15, 70, 70)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BrainSource:
    """A brain that lesions are put into, on the grid of the lesion networks.

    Parameters
    ----------
    image : numpy.ndarray, (z, y, x), float32
        Robust spreads from the median; of a T1 image the rank 0..1 of its intensity within the brain.
    brain : numpy.ndarray, (z, y, x), bool
    deep : numpy.ndarray, (z, y, x), bool
        At least 3 mm below the surface.
    own : numpy.ndarray, (z, y, x), int8
        The brain's own lesions: 1 certain, -1 open, 0 none.
    is_flair : bool
        Whether `image` is real FLAIR.
    """

    image: Float32
    brain: Mask
    deep: Mask
    own: npt.NDArray[np.int8]
    is_flair: bool


class LesionSampler:
    """Draws crops with lesions.

    Parameters
    ----------
    heads : sequence of HeadCase
        T1 and FLAIR heads; others are left out.
    masks : sequence of LesionMask
        Shapes to put in.
    """

    def __init__(self, heads: Sequence[HeadCase], masks: Sequence[LesionMask]) -> None:
        self._heads = [head for head in heads if head.source.sequence in ("FLAIR", "T1")]
        self._shapes = [boxed(mask) for mask in masks]

    @cached_property
    def _sources(self) -> list[BrainSource]:
        """The heads; made with the first draw, because a finished training is not drawn for."""
        return [brain_source(head, self._shapes) for head in self._heads]

    def draw(self, generator: torch.Generator) -> Drawn:
        """Draw one crop with its lesions; -1 where a bright spot may or may not be one."""
        random = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        flair = [s for s in self._sources if s.is_flair]
        painted = [s for s in self._sources if not s.is_flair]
        pool = flair if not painted or (flair and random.random() < 0.6) else painted
        source = pool[int(random.integers(len(pool)))]
        shape = self._shapes[int(random.integers(len(self._shapes)))]
        placement = _Placement.drawn(shape, source.brain.shape, random)
        wanted = placement.inverse(np.argwhere(shape)) if random.random() < 0.7 else np.argwhere(source.brain)
        centre = wanted[int(random.integers(len(wanted)))] + random.normal(0, (4, 16, 16))
        window = _window_around(centre, source.brain.shape)
        image = source.image[window].copy() if source.is_flair else _painted_flair(source, window, random)
        lesions = placement.placed(shape, window, random) | _blobs(image.shape, random)
        lesions &= source.deep[window] & (image > -1.5) & (image < 1.8)
        image, added = _brightened(image, lesions, random)
        truth = np.where(added, np.int8(1), source.own[window])
        inner = centre - [part.start for part in window]
        return _cropped(image, source.brain[window], truth, (inner, random, generator))


def brain_source(head: HeadCase, shapes: Sequence[Mask]) -> BrainSource:
    """Prepare a head for lesions; `shapes` say where lesions are likely."""
    prepared = prepare(head.volume, PLAN)
    brain: Mask = prepared.apply(head.brain.astype(np.uint8)) > 0.5
    view = brain_view(prepared.voxels, brain)
    image, inside = view.channels[0], view.channels[1] > 0.5
    deep: Mask = ndimage.distance_transform_edt(inside, sampling=_SPACING) > _DEEP_MM
    is_flair = head.source.sequence == "FLAIR"
    own = np.zeros(inside.shape, np.int8)
    if is_flair:
        likely = likelihood(shapes, inside.shape) > LIKELY
        contrast = above_surroundings(image, inside)
        suspect = (contrast > _SUSPECT) & deep & likely
        own[ndimage.binary_dilation(suspect, np.ones((1, 3, 3), bool))] = -1
        if head.changed is not None:
            changed = (prepared.apply(head.changed.astype(np.uint8)) > 0.5)[view.box]
            own[changed & inside] = -1
            own[_large((contrast > _CERTAIN) & deep & likely)] = 1
            own[changed & (contrast > _SUSPECT)] = 1
    else:
        image = _ranked(image, inside)
    return BrainSource(image=image, brain=inside, deep=deep, own=own, is_flair=is_flair)


def above_surroundings(scored: Float32, brain: Mask) -> Float32:
    """Return how much brighter each place is than the tissue within about 8 mm.

    Parameters
    ----------
    scored : numpy.ndarray, (z, y, x), float32
        Robust spreads from the brain's median, 0 outside; 3 x 1 x 1 mm.
    brain : numpy.ndarray, (z, y, x), bool
        What counts, without what is dark as fluid.
    """
    sigma = [_SURROUNDINGS_MM / s for s in _SPACING]
    counted = brain & (scored > -1.5)
    weight = ndimage.gaussian_filter(counted.astype(np.float32), sigma)
    mean = ndimage.gaussian_filter(np.where(counted, scored, 0).astype(np.float32), sigma) / np.maximum(weight, 1e-3)
    above: Float32 = (ndimage.gaussian_filter(scored, (0.0, 0.6, 0.6)) - mean).astype(np.float32)
    return above


def boxed(mask: LesionMask) -> Mask:
    """Cut the lesions out by the box of the brain, canonical axes, (z, y, x)."""
    brain, _ = canonical_view(mask.brain, mask.grid)
    lesions, _ = canonical_view(mask.lesions, mask.grid)
    where = np.argwhere(brain)
    (z0, y0, x0), (z1, y1, x1) = where.min(axis=0), where.max(axis=0) + 1
    return lesions[z0:z1, y0:y1, x0:x1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Placement:
    """Where a place of a brain comes from in a shape: shape = stretch * brain + offset, mirrored or not."""

    stretch: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]
    mirrored: bool

    @classmethod
    def drawn(cls, shape: Mask, size: tuple[int, ...], random: np.random.Generator) -> _Placement:
        """Stretch the box of one brain onto that of another, a little displaced, mirrored half of the time."""
        stretch = np.array(shape.shape) / np.array(size) * random.uniform(0.95, 1.05, 3)
        offset = (np.array(shape.shape) - stretch * np.array(size)) / 2 + random.normal(0, 2.0, 3)
        return cls(stretch=stretch, offset=offset, mirrored=bool(random.random() < 0.5))

    def inverse(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Take places of the shape (n, 3) into the brain; left and right are not told apart here."""
        return (places - self.offset) / self.stretch

    def placed(self, shape: Mask, window: tuple[slice, slice, slice], random: np.random.Generator) -> Mask:
        """Return the lesions that fall into a window of the brain; now and then only those of some region."""
        turned = shape[:, :, ::-1] if self.mirrored else shape
        size = tuple(part.stop - part.start for part in window)
        offset = self.offset + self.stretch * [part.start for part in window]
        soft = ndimage.affine_transform(turned.astype(np.float32), self.stretch, offset, output_shape=size, order=1)
        placed: Mask = soft > random.uniform(0.25, 0.6)
        if random.random() < 0.3:
            placed &= _coarse_field(size, random) > 0
        return placed


def _window_around(centre: npt.NDArray[np.float64], size: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """Return the part of the brain's box from which a crop at `centre` can be cut; at least half a crop lies inside."""
    starts = [max(0, min(round(float(c)) - h, n - h)) for c, h, n in zip(centre, _HALF, size, strict=True)]
    stops = [min(n, max(round(float(c)) + h, h)) for c, h, n in zip(centre, _HALF, size, strict=True)]
    z, y, x = (slice(a, b) for a, b in zip(starts, stops, strict=True))
    return z, y, x


def likelihood(shapes: Sequence[Mask], size: tuple[int, ...]) -> Float32:
    """Return the share of patients with a lesion near each place of the brain's box, both sides alike.

    Parameters
    ----------
    shapes : sequence of numpy.ndarray, (z, y, x), bool
        From `boxed`.
    size : tuple of int, (z, y, x)
        Voxels the box is divided into.
    """
    total = np.zeros(size, np.float64)
    for shape in shapes:
        stretch = np.array(shape.shape) / np.array(size)
        fine = ndimage.gaussian_filter(shape.astype(np.float32), np.maximum(stretch / 2.5, 0.0))
        total += ndimage.affine_transform(fine, stretch, (stretch - 1) / 2, output_shape=size, order=1)
    spread = ndimage.gaussian_filter(total / len(shapes), [0.03 * n for n in size])
    both: Float32 = ((spread + spread[:, :, ::-1]) / 2).astype(np.float32)
    return both


def _blobs(size: tuple[int, ...], random: np.random.Generator) -> Mask:
    """Draw a few small ellipsoids anywhere."""
    found = np.zeros(size, bool)
    for _ in range(int(random.poisson(2))):
        centre = [random.uniform(0.1, 0.9) * n for n in size]
        radii = np.exp(random.uniform(np.log(1.2), np.log(5.0))) * random.uniform(0.7, 1.4, 3) / np.array(_SPACING)
        low = [max(0, int(c - r) - 1) for c, r in zip(centre, radii, strict=True)]
        high = [min(n, int(c + r) + 2) for c, r, n in zip(centre, radii, size, strict=True)]
        axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        distance = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, centre, radii, strict=True))
        found[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] |= distance <= 1
    return found


def _brightened(image: Float32, lesions: Mask, random: np.random.Generator) -> tuple[Float32, Mask]:
    """Brighten lesions by an amount that varies over the brain, with soft edges."""
    soft = ndimage.gaussian_filter(
        lesions.astype(np.float32), (0.3, random.uniform(0.4, 0.9), random.uniform(0.4, 0.9))
    )
    strength = np.exp(random.uniform(np.log(1.2), np.log(3.5))) * np.exp(0.2 * _coarse_field(image.shape, random))
    pieces, count = ndimage.label(ndimage.binary_dilation(lesions, iterations=2))
    own = np.exp(random.normal(0, 0.3, count + 1)).astype(np.float32)
    target = random.uniform(0.3, 1.0)
    raised = image * (1 - target * soft) + target * soft * np.median(image[lesions]) if lesions.any() else image
    bright = (raised + soft * strength * own[pieces]).astype(np.float32)
    return bright, lesions & (soft > 0.3)


def _painted_flair(source: BrainSource, window: tuple[slice, slice, slice], random: np.random.Generator) -> Float32:
    """Give a T1 brain the contrast of FLAIR: fluid dark, grey brighter than white matter, along its ranks."""
    white, step = random.normal(-0.5, 0.2), random.uniform(0.3, 1.4)
    fluid, steps = random.uniform(-4.0, -2.0), np.cumsum(random.uniform(0.05, 0.25, 4))
    knots = np.array([0.0, *(steps / steps[-1] * random.uniform(0.6, 0.8)), 1.0])
    levels = np.array([fluid, fluid * random.uniform(0.4, 0.9), white + step * random.uniform(0.5, 1.0), white + step])
    image = np.interp(source.image[window], knots, [*levels, white, white - random.uniform(0, 0.2)])
    grain = ndimage.gaussian_filter(random.normal(size=image.shape), (0.5, 0.8, 0.8)) * random.uniform(0.3, 1.5)
    return np.where(source.brain[window], image + grain, 0.0).astype(np.float32)


def _cropped(
    image: Float32,
    brain: Mask,
    truth: npt.NDArray[np.int8],
    chances: tuple[npt.NDArray[np.float64], np.random.Generator, torch.Generator],
) -> Drawn:
    """Cut a crop around a place, turned and stretched; then degrade it."""
    centre, random, generator = chances
    grid = _crop_grid(image.shape, centre, random)
    stacked = torch.from_numpy(np.stack([image, brain.astype(np.float32)]))
    sampled = functional.grid_sample(stacked[None], grid, padding_mode="zeros", align_corners=True)[0]
    labels = torch.from_numpy(truth.astype(np.float32))[None, None]
    values = functional.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=True)[0, 0]
    inside = sampled[1] > 0.5
    worse = _degraded(sampled[0].numpy(), random)
    scored = torch.from_numpy(np.clip(worse, LOWEST, HIGHEST)) * inside
    if chance(0.3, generator):
        inside &= disturb_region(inside.float()[None, None], generator)[0, 0] > 0.5
        scored = scored * inside
    channels = torch.stack([scored, inside.float()])[None]
    return Drawn(images=channels, truth=torch.where(inside, values.round(), torch.zeros_like(values)).long()[None])


def _crop_grid(size: tuple[int, ...], centre: npt.NDArray[np.float64], random: np.random.Generator) -> torch.Tensor:
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in PATCH]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    angle, scales = random.uniform(-_TURN, _TURN), np.exp(random.uniform(-_STRETCH, _STRETCH, 3))
    if random.random() < 0.5:
        scales[2] = -scales[2]
    y, x = y * scales[1], x * scales[2]
    turned = (z * scales[0], y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle))
    spans = [max(n - 1, 1) / 2 for n in size]
    places = [(axis + c) / span - 1 for axis, c, span in zip(turned, centre, spans, strict=True)]
    return torch.from_numpy(np.stack(places[::-1], axis=-1).astype(np.float32))[None]


def _degraded(image: Float32, random: np.random.Generator) -> Float32:
    if random.random() < 0.5:
        image = ndimage.gaussian_filter(image, (random.uniform(0, 0.5), *[random.uniform(0, 0.9)] * 2))
    if random.random() < 0.4:
        image = _thick(image, random.uniform(1.0, 2.2))
    image = image * random.uniform(0.75, 1.3) + random.normal(0, 0.2)
    image = image + 0.5 * random.random() * _coarse_field(image.shape, random)
    noise = random.normal(size=image.shape).astype(np.float32)
    return (image + 0.4 * random.random() ** 2 * noise).astype(np.float32)


def _thick(image: Float32, factor: float) -> Float32:
    """Average over slices `factor` times as thick, then interpolate linearly between them as preprocessing does."""
    depth, rest = image.shape[0], [np.arange(n) for n in image.shape[1:]]
    count = max(4, round(depth / factor))
    places = (np.arange(count) + 0.5) * depth / count - 0.5
    blurred = ndimage.gaussian_filter1d(image, 0.42 * factor, axis=0)
    planes = ndimage.map_coordinates(blurred, np.meshgrid(places, *rest, indexing="ij"), order=1)
    back = np.clip((np.arange(depth) + 0.5) * count / depth - 0.5, 0, count - 1)
    return np.asarray(ndimage.map_coordinates(planes, np.meshgrid(back, *rest, indexing="ij"), order=1), np.float32)


def _coarse_field(size: tuple[int, ...], random: np.random.Generator) -> Float32:
    """Return a smooth field of unit spread that changes a few times over the image."""
    coarse = torch.from_numpy(random.normal(size=(1, 1, 4, 5, 5)).astype(np.float32))
    return functional.interpolate(coarse, size=tuple(size), mode="trilinear", align_corners=True)[0, 0].numpy()


def _ranked(image: Float32, inside: Mask) -> Float32:
    """Return the rank 0..1 of every voxel's intensity within the brain, 0 outside."""
    order = np.sort(image[inside])
    ranks = np.searchsorted(order, image) / max(len(order), 1)
    return np.where(inside, ranks, 0.0).astype(np.float32)


def _large(mask: Mask) -> Mask:
    pieces, _ = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept: Mask = (sizes >= _LEAST_CERTAIN_VOXELS)[pieces]
    return kept
