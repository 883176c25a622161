"""Dice plus cross-entropy, over the whole crop or only inside a region."""

from __future__ import annotations

import torch
from torch.nn import functional

_SMOOTH = 1.0


def segmentation_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Soft Dice of the foreground classes over the batch, plus cross-entropy.

    Parameters
    ----------
    logits : torch.Tensor, (batch, class, z, y, x)
        Class 0 is background.
    truth : torch.Tensor, (batch, z, y, x), int64
        Class of each voxel.
    """
    entropy = functional.cross_entropy(logits, truth)
    probabilities = logits.softmax(dim=1)[:, 1:]
    target = functional.one_hot(truth, logits.shape[1]).movedim(-1, 1)[:, 1:].to(logits.dtype)
    return entropy + 1 - _soft_dice(probabilities, target)


def region_loss(logits: torch.Tensor, truth: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
    """Return the same loss for a network that only divides a region: voxels outside it, or of no class, do not count.

    Parameters
    ----------
    logits : torch.Tensor, (batch, class, z, y, x)
        One channel per label; no background.
    truth : torch.Tensor, (batch, z, y, x), int64
        Label value, 0 where the experts gave none.
    region : torch.Tensor, (batch, 1, z, y, x)
        1 inside the region.
    """
    counted = (truth > 0) & (region[:, 0] > 0.5)
    target = torch.where(counted, truth - 1, torch.full_like(truth, -1))
    entropy = functional.cross_entropy(logits, target, ignore_index=-1)
    probabilities = logits.softmax(dim=1) * counted[:, None]
    one_hot = functional.one_hot(target.clamp(min=0), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    return entropy + 1 - _soft_dice(probabilities, one_hot * counted[:, None])


def _soft_dice(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    axes = (0, 2, 3, 4)
    shared = (probabilities * target).sum(axes)
    total = probabilities.sum(axes) + target.sum(axes)
    return ((2 * shared + _SMOOTH) / (total + _SMOOTH)).mean()
