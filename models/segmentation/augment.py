"""Random variation of training crops, cheap enough for a CPU: one resampling does shift, turn, scale, flip and bend."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from models.segmentation.cases import TrainingCase


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How strongly crops are varied.

    Parameters
    ----------
    patch : tuple of int, (z, y, x)
        Voxels of a training crop.
    rotation : float
        Largest turn about each axis, radians.
    scale : float
        Largest relative change of size, each axis on its own.
    shift : float
        Largest shift of the crop's centre from the image's, voxels.
    bend : float
        Standard deviation of the elastic displacement at its control points, voxels.
    mirror_left_right : bool
        Whether half of the crops are mirrored across the sagittal plane: turns one person's side into the other.
    """

    patch: tuple[int, int, int] = (40, 56, 40)
    rotation: float = 0.26
    scale: float = 0.15
    shift: float = 4.0
    bend: float = 1.5
    mirror_left_right: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Training crops: images (batch, 1, z, y, x) and truth (batch, z, y, x), int64."""

    images: torch.Tensor
    truth: torch.Tensor


def draw_batch(cases: list[TrainingCase], settings: Augmentation, generator: torch.Generator) -> Batch:
    """Cut one varied crop from each of `cases`."""
    images, truths = [], []
    for case in cases:
        grid = _sampling_grid(case.image.shape[-3:], settings, generator)
        image = functional.grid_sample(case.image[None], grid, padding_mode="border", align_corners=True)[0]
        soft = functional.grid_sample(case.one_hot[None], grid, padding_mode="border", align_corners=True)[0]
        images.append(_vary_intensity(image, generator))
        truths.append(soft.argmax(dim=0))
    return Batch(images=torch.stack(images), truth=torch.stack(truths))


def disturb_region(region: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Swell and shrink masks (batch, 1, z, y, x) along their surface, as an upstream network's errors would."""
    soft = functional.avg_pool3d(functional.pad(region, (1,) * 6), 3, stride=1)
    coarse = torch.randn((region.shape[0], 1, 7, 9, 7), generator=generator)
    noise = functional.interpolate(coarse, size=region.shape[2:], mode="trilinear", align_corners=True)
    strength = 0.35 * torch.rand((region.shape[0], 1, 1, 1, 1), generator=generator)
    return (soft + strength * noise > 0.5).to(region.dtype)


def _sampling_grid(size: torch.Size, settings: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Where each voxel of the crop is taken from, (1, z, y, x, 3) in grid_sample's (x, y, z) range [-1, 1]."""
    patch = settings.patch
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    angles = (2 * torch.rand(3, generator=generator) - 1) * settings.rotation
    scales = 1 + (2 * torch.rand(3, generator=generator) - 1) * settings.scale
    if settings.mirror_left_right and torch.rand((), generator=generator) < 0.5:
        scales[2] = -scales[2]
    matrix = _rotation(angles) * scales[None, :]
    coarse = torch.randn((1, 3, 4, 5, 4), generator=generator) * settings.bend * torch.rand((), generator=generator)
    bend = functional.interpolate(coarse, size=patch, mode="trilinear", align_corners=True)[0]
    centre = torch.tensor([(n - 1) / 2 for n in size])
    centre = centre + (2 * torch.rand(3, generator=generator) - 1) * settings.shift
    positions = offsets @ matrix.T + bend.permute(1, 2, 3, 0) + centre
    spans = torch.tensor([max(n - 1, 1) / 2 for n in size])
    return ((positions / spans) - 1).flip(-1)[None]


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


def _vary_intensity(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random blur, bias field, gamma, contrast, noise; the image stays a z-score in size."""
    draw = torch.rand(6, generator=generator)
    if draw[0] < 0.2:
        sigma = 0.4 + 0.6 * float(torch.rand((), generator=generator))
        image = _blur(image, sigma)
    if draw[1] < 0.3:
        coarse = 0.2 * torch.randn((1, 1, 3, 3, 3), generator=generator)
        field = functional.interpolate(coarse, size=image.shape[-3:], mode="trilinear", align_corners=True)[0]
        low = image.amin()
        image = (image - low) * torch.exp(field) + low
    if draw[2] < 0.3:
        low, span = image.amin(), image.amax() - image.amin() + 1e-6
        gamma = torch.exp((2 * torch.rand((), generator=generator) - 1) * 0.4)
        image = ((image - low) / span) ** gamma * span + low
    image = (image - image.mean()) / (image.std() + 1e-6)
    if draw[3] < 0.5:
        image = image * (1 + 0.2 * torch.randn((), generator=generator)) + 0.2 * torch.randn((), generator=generator)
    if draw[4] < 0.3:
        level = 0.2 * torch.rand((), generator=generator)
        image = image + level * torch.randn(image.shape, generator=generator)
    return image


def _blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    taps = torch.exp(-(torch.arange(-2.0, 3.0) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    blurred = image[None]
    passes = (((5, 1, 1), (0, 0, 0, 0, 2, 2)), ((1, 5, 1), (0, 0, 2, 2, 0, 0)), ((1, 1, 5), (2, 2, 0, 0, 0, 0)))
    for shape, pad in passes:
        padded = functional.pad(blurred, pad, mode="replicate")
        blurred = functional.conv3d(padded, taps.reshape(1, 1, *shape))
    return blurred[0]
