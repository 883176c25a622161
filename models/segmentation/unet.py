"""A small 3-D U-Net with instance normalisation (Cicek et al. 2016, arXiv 1606.06650; Isensee et al. 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetShape:
    """Architecture of one network.

    Parameters
    ----------
    input_channels, output_channels : int
        Channels in and out; outputs are logits.
    channels : tuple of int
        Feature channels per level; each level halves the resolution of the one before.
    """

    input_channels: int
    output_channels: int
    channels: tuple[int, ...]

    @property
    def stride(self) -> int:
        """Every axis of the input must be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))


class UNet3d(nn.Module):
    """Encoder of two convolutions per level, strided downsampling, transposed-convolution decoder with skips.

    Parameters
    ----------
    shape : UNetShape
        Architecture.
    """

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.shape = shape
        channels = shape.channels
        inputs = (shape.input_channels, *channels[:-1])
        strides = (1, *[2] * (len(channels) - 1))
        self.encoder = nn.ModuleList(_level(i, o, s) for i, o, s in zip(inputs, channels, strides, strict=True))
        pairs = list(pairwise(channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(deep, shallow, 2, stride=2) for shallow, deep in pairs)
        self.decoder = nn.ModuleList(_level(2 * shallow, shallow, 1) for shallow, _ in pairs)
        self.head = nn.Conv3d(channels[0], shape.output_channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, class, z, y, x) for images (batch, channel, z, y, x)."""
        skips: list[torch.Tensor] = []
        features = images
        for level in self.encoder:
            features = level(features)
            skips.append(features)
        for index in reversed(range(len(self.up))):
            upsampled = self.up[index](features)
            features = self.decoder[index](torch.cat([upsampled, skips[index]], dim=1))
        logits: torch.Tensor = self.head(features)
        return logits


def _level(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
    )
