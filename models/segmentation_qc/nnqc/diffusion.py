"""The latent denoiser and the whole network around it."""

from __future__ import annotations

from typing import cast

import torch
from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet
from torch import nn
from torch.nn import functional

from models.segmentation_qc.nnqc.autoencoder import MaskAutoencoder
from models.segmentation_qc.nnqc.conditional import View, WeightedConditionalModule
from models.segmentation_qc.nnqc.preset import Preset


class LatentDenoiser(nn.Module):
    """Predicts the clean latent (or its noise) from a noisy one, told image, position and candidate.

    Parameters
    ----------
    preset : Preset
        Design.
    classes : int
        Classes of the mask, background first.
    slice_axis : int
        Axis along which positions run, for whole volumes.
    """

    def __init__(self, preset: Preset, *, classes: int, slice_axis: int) -> None:
        super().__init__()
        shape = preset.denoiser
        self.conditional = WeightedConditionalModule(preset, classes=classes, slice_axis=slice_axis)
        self.network = DiffusionModelUNet(
            spatial_dims=preset.dimensions,
            in_channels=preset.autoencoder.latent_channels + classes + preset.spatial_channels,
            out_channels=preset.autoencoder.latent_channels,
            num_res_blocks=(shape.blocks,) * len(shape.channels),
            channels=shape.channels,
            attention_levels=shape.attention,
            norm_num_groups=shape.groups,
            num_head_channels=shape.head_channels,
            with_conditioning=True,
            cross_attention_dim=preset.token_width,
        )

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, view: View, candidate: torch.Tensor) -> torch.Tensor:
        """Predict from a noisy latent (batch, channel, ...).

        Parameters
        ----------
        noisy : torch.Tensor, (batch, latent channel, ...)
            Latent with noise.
        times : torch.Tensor, (batch,), int64
            How much noise.
        view : View
            What the experts say.
        candidate : torch.Tensor, (batch, class, ...)
            Candidate at latent resolution, see `Nnqc.code`.
        """
        parts = [noisy, candidate] if view.spatial is None else [noisy, candidate, view.spatial]
        context = self.conditional.context(view, candidate)
        return cast(torch.Tensor, self.network(torch.cat(parts, dim=1), times, context=context))


class Nnqc(nn.Module):
    """Autoencoder and denoiser together: everything that is trained.

    Parameters
    ----------
    preset : Preset
        Design.
    classes : int
        Classes of the mask, background first.
    slice_axis : int
        Axis along which positions run, for whole volumes.
    """

    def __init__(self, preset: Preset, *, classes: int, slice_axis: int) -> None:
        super().__init__()
        self.preset, self.classes = preset, classes
        self.autoencoder = MaskAutoencoder(preset, classes=classes)
        self.denoiser = LatentDenoiser(preset, classes=classes, slice_axis=slice_axis)

    def view(self, images: torch.Tensor, positions: torch.Tensor) -> View:
        """Ask the experts; see `WeightedConditionalModule.view`."""
        return self.denoiser.conditional.view(images, positions)

    def code(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Bring candidates (batch, class, ...), one-hot, to latent resolution: one channel per class, never ordinal."""
        if not self.preset.area_candidate:
            return functional.interpolate(one_hot, scale_factor=1 / self.preset.down, mode="nearest")
        pool = functional.avg_pool3d if self.preset.dimensions == 3 else functional.avg_pool2d
        return pool(one_hot, self.preset.down)
