"""A U-Net that works on blocks of voxels: it sees every voxel and answers for every voxel at the cost of a coarse grid.

Each block becomes channels, the U-Net gives one logit for each voxel of the block (Shi et al. 2016, sub-pixel
convolution, in three dimensions). Borders stay as fine as the image while the costly convolutions run on an eighth of
the voxels.
"""

from __future__ import annotations

import torch
from torch import nn

from models.segmentation.unet import UNet3d, UNetShape

Block = tuple[int, int, int]


class FoldedUNet(nn.Module):
    """Two classes, background and foreground.

    Parameters
    ----------
    inner : UNet3d
        Network on blocks: as many input channels as image channels times voxels of a block, as many outputs as voxels
        of a block.
    block : tuple of int, (z, y, x)
        Voxels of a block.
    trust : float
        How much of the last channel, a share 0..1, is the answer before the network says anything: the network then
        learns what to correct.
    """

    def __init__(self, inner: UNet3d, block: Block, *, trust: float = 0.0) -> None:
        super().__init__()
        self.inner = inner
        self.block = block
        self.trust = trust

    @property
    def strides(self) -> Block:
        """Every axis (z, y, x) of the input must be a multiple of this."""
        z, y, x = (self.inner.shape.stride * n for n in self.block)
        return z, y, x

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, 2, z, y, x) for images (batch, channel, z, y, x)."""
        logit = unfold(self.inner(fold(images, self.block)), self.block) + self.trust * (images[:, -1:] - 0.5)
        return torch.cat([torch.zeros_like(logit), logit], dim=1)


def folded_shape(block: Block, *, image_channels: int, channels: tuple[int, ...]) -> UNetShape:
    """Return the architecture of the network on blocks."""
    voxels = block[0] * block[1] * block[2]
    return UNetShape(input_channels=image_channels * voxels, output_channels=voxels, channels=channels)


def new_folded(block: Block, *, image_channels: int, channels: tuple[int, ...], trust: float = 0.0) -> FoldedUNet:
    """Make an untrained network; parameters as in `FoldedUNet`."""
    inner = UNet3d(folded_shape(block, image_channels=image_channels, channels=channels))
    return FoldedUNet(inner, block, trust=trust)


def fold(images: torch.Tensor, block: Block) -> torch.Tensor:
    """Turn (batch, channel, z, y, x) into one position per block, its voxels as channels."""
    batch, channels, *size = images.shape
    z, y, x = (n // b for n, b in zip(size, block, strict=True))
    split = images.reshape(batch, channels, z, block[0], y, block[1], x, block[2])
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, -1, z, y, x)


def unfold(blocks: torch.Tensor, block: Block) -> torch.Tensor:
    """Turn blocks back into voxels: the inverse of `fold` for one channel, (batch, 1, z, y, x)."""
    batch, _, z, y, x = blocks.shape
    split = blocks.reshape(batch, *block, z, y, x).permute(0, 4, 1, 5, 2, 6, 3)
    return split.reshape(batch, 1, z * block[0], y * block[1], x * block[2])
