"""What the brain network sees: the image, the image flattened, and what the recipes say, in a box around the brain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from models.brain.consensus import Drafts
from models.preprocess import PreprocessPlan, normalise

Float32 = npt.NDArray[np.float32]
Place = tuple[float, float, float]
#: Channels of `clues`: image, flattened image, share of the recipes; the share is the last one.
CHANNELS = 3
#: The box (z, y, x), 192 x 240 x 192 mm, in voxels of 3 mm: so many steps of 1.5 voxels of the drafts.
BOX = (64, 80, 64)
_STEP = 1.5
_HIGHEST = 2.0


def middle_of(share: Float32) -> Place:
    """Return the middle of what the recipes take for brain, or of the image where they find none, voxels (z, y, x)."""
    brain = share > 0.5
    if not brain.any():
        brain = np.ones_like(brain)
    z, y, x = (float(n) for n in ndimage.center_of_mass(brain))
    return z, y, x


def clues_of(drafts: Drafts) -> torch.Tensor:
    """Return image, flattened image and share of the recipes, (3, z, y, x), float32, 2 mm."""
    flat = np.clip(drafts.flat, 0, _HIGHEST)
    return torch.from_numpy(np.stack([drafts.prepared.voxels, flat, drafts.share]).astype(np.float32))


def offsets() -> torch.Tensor:
    """Return how far every voxel of the box lies from its middle, (z, y, x, 3), voxels of the drafts."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * _STEP for n in BOX]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def sampled(channels: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Read channels (channel, z, y, x) at positions (z, y, x, 3), voxels; also return which lie in the image."""
    spans = torch.tensor([max(n - 1, 1) / 2 for n in channels.shape[1:]])
    grid = (positions / spans - 1).flip(-1)[None]
    found = functional.grid_sample(channels[None], grid, padding_mode="border", align_corners=True)[0]
    return found, (grid[0].abs() <= 1).all(dim=-1)


def as_seen(image: torch.Tensor, flat: torch.Tensor, share: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return the channels of the network, (3, z, y, x): where nothing was scanned there is air and no brain."""
    filled = torch.where(seen, image, image[seen].min())
    scored = torch.from_numpy(normalise(filled.numpy(), PreprocessPlan()))
    return torch.stack([scored, flat * seen, share.clamp(0, 1) * seen])


def box_of(drafts: Drafts) -> tuple[torch.Tensor, Place]:
    """Return what the network sees of an image, and the middle of the box."""
    middle = middle_of(drafts.share)
    (image, flat, share), seen = sampled(clues_of(drafts), offsets() + torch.tensor(middle))
    return as_seen(image, flat, share, seen), middle


def out_of_box(values: Float32, middle: Place, shape: tuple[int, ...]) -> Float32:
    """Bring values on the box back onto the grid of the drafts, 0 outside it."""
    offset = [(n - 1) / 2 - c / _STEP for n, c in zip(BOX, middle, strict=True)]
    back = ndimage.affine_transform(values, np.full(3, 1 / _STEP), offset, output_shape=shape, order=1)
    return np.asarray(back, np.float32)
