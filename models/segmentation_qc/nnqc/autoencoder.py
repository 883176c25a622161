"""The VAE-GAN: masks into a small latent and back, with a patch discriminator that keeps them crisp."""

from __future__ import annotations

from typing import cast

import torch
from monai.networks.nets.autoencoderkl import AutoencoderKL
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import nn

from models.segmentation.loss import segmentation_loss
from models.segmentation_qc.nnqc.preset import Preset


class MaskAutoencoder(nn.Module):
    """A variational autoencoder of one-hot masks; always computed in float32 (half precision gives NaN, see below).

    The group normalisation's epsilon, 1e-6, is subnormal in float16: constant regions of a mask divide by zero there.

    Parameters
    ----------
    preset : Preset
        Design.
    classes : int
        Classes of the mask, background first.
    """

    scale: torch.Tensor

    def __init__(self, preset: Preset, *, classes: int) -> None:
        super().__init__()
        shape = preset.autoencoder
        self.classes = classes
        self.latent_channels = shape.latent_channels
        self.network = AutoencoderKL(
            spatial_dims=preset.dimensions,
            in_channels=classes,
            out_channels=classes,
            num_res_blocks=(shape.blocks,) * len(shape.channels),
            channels=shape.channels,
            attention_levels=(False,) * len(shape.channels),
            latent_channels=shape.latent_channels,
            norm_num_groups=shape.groups,
            with_encoder_nonlocal_attn=shape.attention,
            with_decoder_nonlocal_attn=shape.attention,
        )
        # Part of the weights: measured once on training masks, never again on a candidate.
        self.register_buffer("scale", torch.ones(()))

    def distribution(self, one_hot: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the unscaled latent of masks (batch, class, ...)."""
        with torch.autocast(one_hot.device.type, enabled=False):
            mean, deviation = self.network.encode(one_hot.float())
        return mean, deviation

    def encode(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Return the scaled latent (batch, latent channel, ...) of masks (batch, class, ...), without noise."""
        return self.distribution(one_hot)[0] * self.scale

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, class, ...) of a scaled latent."""
        return self.decode_unscaled(latent.float() / self.scale)

    def decode_unscaled(self, latent: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, class, ...) of a latent as `distribution` gives it."""
        with torch.autocast(latent.device.type, enabled=False):
            logits: torch.Tensor = self.network.decode(latent.float())
        return logits

    def set_scale(self, one_hot: torch.Tensor) -> None:
        """Measure the scale that gives the latent of training masks (batch, class, ...) unit standard deviation."""
        with torch.no_grad():
            self.scale.copy_(1.0 / self.distribution(one_hot)[0].std().clamp(min=1e-6))


def mask_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return Dice plus cross-entropy of logits (batch, class, ...) against classes (batch, ...), slices or volumes."""
    if logits.dim() == 4:
        return segmentation_loss(logits[:, :, None], truth[:, None])
    return segmentation_loss(logits, truth)


def discriminator_of(preset: Preset, *, classes: int) -> nn.Module:
    """Build the patch discriminator of stage 1 (published: three layers, 32 channels, instance normalisation)."""
    small = preset.side is None
    return cast(
        nn.Module,
        PatchDiscriminator(
            spatial_dims=preset.dimensions,
            channels=16 if small else 32,
            in_channels=classes,
            num_layers_d=2 if small else 3,
            norm="INSTANCE",
        ),
    )
