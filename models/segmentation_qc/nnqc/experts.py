"""The Team of Experts: one looks at the image, one knows where in it a slice lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from models.segmentation_qc.nnqc.preset import Preset, Scan

_PATCH = 2  # latent voxels along each axis of a patch token


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What the visual expert says of a batch of images.

    Parameters
    ----------
    tokens : torch.Tensor, (batch, token, width)
        One per patch, or one in all.
    spatial : torch.Tensor or None, (batch, channel, ...)
        Feature map at latent resolution; None where the design has none.
    occupancy : torch.Tensor, (batch, class, ...)
        Logits of the share of each class in each latent voxel: a training aid that makes the expert learn early.
    """

    tokens: torch.Tensor
    spatial: torch.Tensor | None
    occupancy: torch.Tensor


class VisualExpert(nn.Module):
    """A small convolutional encoder, trained from scratch with the denoiser.

    Parameters
    ----------
    preset : Preset
        Design.
    classes : int
        Classes of the mask, background first.
    """

    def __init__(self, preset: Preset, *, classes: int) -> None:
        super().__init__()
        dims, (first, second, third) = preset.dimensions, preset.visual_channels
        conv = nn.Conv3d if dims == 3 else nn.Conv2d
        self._dims, self._scan = dims, preset.scan
        self.body = nn.Sequential(
            conv(preset.image_channels, first, 4, stride=2, padding=1),
            _Residual(conv, first),
            conv(first, second, 4, stride=2, padding=1),
            _Residual(conv, second),
            conv(second, third, 3, padding=1),
            _Residual(conv, third),
            _Residual(conv, third),
            nn.GroupNorm(4, third),
            nn.SiLU(),
        )
        self.tokens = nn.Linear(third, preset.token_width)
        self.spatial = conv(third, preset.spatial_channels, 1) if preset.spatial_channels else None
        self.occupancy = conv(third, classes, 1)

    def forward(self, images: torch.Tensor) -> Seen:
        """Look at images (batch, channel, ...)."""
        features = self.body(images)
        if self._scan is Scan.POOLED:
            pooled = features.flatten(2).mean(dim=2)
            tokens = functional.normalize(self.tokens(pooled), dim=-1)[:, None]
        else:
            pool = functional.avg_pool3d if self._dims == 3 else functional.avg_pool2d
            tokens = self.tokens(pool(features, _PATCH).flatten(2).transpose(1, 2))
        return Seen(
            tokens=tokens,
            spatial=self.spatial(features) if self.spatial is not None else None,
            occupancy=self.occupancy(features),
        )


class PositionalExpert(nn.Module):
    """Slice positions, 0..1, into tokens (published: 1 -> 32 -> 512 with GELU).

    Parameters
    ----------
    width : int
        Width of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(1, 32), nn.GELU(), nn.Linear(32, width))

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Return tokens (batch, slice, width) of positions (batch, slice)."""
        tokens: torch.Tensor = self.network(positions[..., None])
        return tokens


class _Residual(nn.Module):
    def __init__(self, conv: type[nn.Conv2d] | type[nn.Conv3d], channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            conv(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            conv(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = features + self.body(features)
        return added
