"""The weighted conditional module: what the experts say becomes the context that the denoiser attends to.

In the first release of nnQC one image token and one position token met in a softmax over a single entry, which is 1
whatever the position. Here every expert keeps tokens of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from models.segmentation_qc.nnqc.experts import PositionalExpert, Seen, VisualExpert
from models.segmentation_qc.nnqc.preset import Preset


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """What is known of a batch of images before any candidate is looked at.

    Parameters
    ----------
    seen : Seen
        Of the visual expert.
    places : torch.Tensor, (batch, slice, width)
        Of the positional expert.
    spatial : torch.Tensor or None, (batch, channel, ...)
        Feature map with the place of each slice added; None where the design has none.
    """

    seen: Seen
    places: torch.Tensor
    spatial: torch.Tensor | None


class WeightedConditionalModule(nn.Module):
    """Weigh and gather the tokens.

    Parameters
    ----------
    preset : Preset
        Design.
    classes : int
        Classes of the mask, background first.
    slice_axis : int
        Axis (z, y, x) along which positions run, for whole volumes.
    """

    def __init__(self, preset: Preset, *, classes: int, slice_axis: int) -> None:
        super().__init__()
        width = preset.token_width
        self._dims, self._axis = preset.dimensions, slice_axis
        self.visual = VisualExpert(preset, classes=classes)
        self.positional = PositionalExpert(width)
        self.project = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.place = nn.Linear(width, preset.spatial_channels) if preset.spatial_channels else None
        self.state = nn.Sequential(nn.Linear(classes, 32), nn.GELU(), nn.Linear(32, width))
        self.gate = nn.Linear(2 * width, 1)
        self._gated, self._with_state = preset.gated, preset.mask_state

    def view(self, images: torch.Tensor, positions: torch.Tensor) -> View:
        """Ask both experts about images (batch, channel, ...) and slice positions (batch, slice)."""
        seen, places = self.visual(images), self.positional(positions)
        spatial = seen.spatial
        if spatial is not None and self.place is not None:
            spatial = spatial + self._along_slices(self.place(places))
        return View(seen=seen, places=places, spatial=spatial)

    def context(self, view: View, candidate: torch.Tensor) -> torch.Tensor:
        """Return the context (batch, token, width) for a candidate code (batch, class, ...)."""
        tokens = [self.project(view.seen.tokens), view.places]
        if self._with_state:
            tokens.append(self.state(candidate.flatten(2).mean(dim=2))[:, None])
        together = torch.cat(tokens, dim=1)
        if not self._gated:
            return together
        others = together.mean(dim=1, keepdim=True).expand_as(together)
        weights = 2.0 * torch.sigmoid(self.gate(torch.cat([together, others], dim=2)))
        return together * weights

    def _along_slices(self, places: torch.Tensor) -> torch.Tensor:
        """Lay (batch, slice, channel) out along the slice axis, (batch, channel, ...), 1 long along the others."""
        laid = places.transpose(1, 2)
        lengths = [1] * self._dims
        if self._dims == 3:
            lengths[self._axis] = laid.shape[2]
        return laid.reshape(*laid.shape[:2], *lengths)
