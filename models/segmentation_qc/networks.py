"""Networks of segmentation QC, built unlike the segmenter they judge so that their errors are their own.

`ResidualNet` paints the pseudo ground truth. `DilatedNet` is only a source of real failures for calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidualShape:
    """Architecture of a `ResidualNet`.

    Parameters
    ----------
    channels : tuple of int
        Feature channels per level, each a multiple of 4; each level halves the resolution.
    classes : int
        Output channels, background first.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    classes: int = 3

    @property
    def stride(self) -> int:
        """Every axis of the input must be a multiple of this."""
        return int(2 ** (len(self.channels) - 1))


class ResidualNet(nn.Module):
    """Residual encoder-decoder with group normalisation and additive skips (after Myronenko 2018, arXiv 1810.11654).

    Parameters
    ----------
    shape : ResidualShape
        Architecture.
    """

    def __init__(self, shape: ResidualShape) -> None:
        super().__init__()
        self.shape = shape
        first, *_ = shape.channels
        self.stem = nn.Conv3d(1, first, 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        self.encoder = nn.ModuleList([_Residual(first)])
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for shallow, deep in zip(shape.channels[:-1], shape.channels[1:], strict=True):
            self.down.append(nn.Conv3d(shallow, deep, 3, stride=2, padding=1, bias=False))
            self.encoder.append(nn.Sequential(_Residual(deep), _Residual(deep)))
            self.up.append(nn.Conv3d(deep, shallow, 1, bias=False))
            self.decoder.append(_Residual(shallow))
        self.head = nn.Sequential(nn.GroupNorm(4, first), nn.SiLU(), nn.Conv3d(first, shape.classes, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, class, z, y, x) for images (batch, 1, z, y, x)."""
        features = self.encoder[0](self.stem(images))
        skips = [features]
        for down, level in zip(self.down, list(self.encoder)[1:], strict=True):
            features = level(down(features))
            skips.append(features)
        for index in reversed(range(len(self.up))):
            raised = functional.interpolate(self.up[index](features), scale_factor=2, mode="trilinear")
            features = self.decoder[index](raised + skips[index])
        logits: torch.Tensor = self.head(features)
        return logits


class DilatedNet(nn.Module):
    """Plain stack of dilated convolutions at half resolution.

    Parameters
    ----------
    channels, classes : int
        Feature channels (a multiple of 4) and output channels, background first.
    """

    def __init__(self, *, channels: int = 16, classes: int = 3) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv3d(1, channels, 4, stride=2, padding=1)]
        for dilation in (1, 2, 4, 1):
            blocks += [
                nn.GroupNorm(4, channels),
                nn.ReLU(),
                nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation),
            ]
        self.body = nn.Sequential(*blocks, nn.ReLU(), nn.Conv3d(channels, classes, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, class, z, y, x) for images (batch, 1, z, y, x)."""
        logits: torch.Tensor = functional.interpolate(self.body(images), scale_factor=2, mode="trilinear")
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = features + self.body(features)
        return added
