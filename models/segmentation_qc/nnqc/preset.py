"""What nnQC is built of, as data: the published design, and ours with each change a switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from models.errors import InvalidModel

_DOWN = 4  # a latent voxel covers this many voxels along each axis: two halvings in the autoencoder


class Scan(StrEnum):
    """How the visual expert tells the denoiser about the image through cross-attention.

    ``POOLED``: one L2-normalised vector for the whole image, as published. ``PATCHES``: one vector per patch.
    """

    POOLED = "pooled"
    PATCHES = "patches"


class Prediction(StrEnum):
    """What the denoiser predicts; the values are MONAI's names."""

    EPSILON = "epsilon"
    SAMPLE = "sample"
    VELOCITY = "v_prediction"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderShape:
    """The VAE-GAN.

    Parameters
    ----------
    channels : tuple of int
        Three levels: each but the first halves the resolution.
    blocks, latent_channels, groups : int
        Residual blocks per level, channels of the latent, groups of the normalisation.
    attention : bool
        Non-local attention at the lowest level.
    """

    channels: tuple[int, int, int] = (8, 16, 32)
    blocks: int = 1
    latent_channels: int = 4
    groups: int = 4
    attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DenoiserShape:
    """The diffusion U-Net in latent space.

    Parameters
    ----------
    channels : tuple of int
        Per level; each but the first halves the resolution.
    attention : tuple of bool
        Levels with cross-attention.
    head_channels, blocks, groups : int
        Channels of an attention head, residual blocks per level, groups of the normalisation.
    """

    channels: tuple[int, ...] = (32, 64)
    attention: tuple[bool, ...] = (False, True)
    head_channels: int = 32
    blocks: int = 1
    groups: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One design of nnQC.

    Parameters
    ----------
    name : str
        ``faithful`` or ``improved``, or a name of your own.
    dimensions : int
        2: one slice at a time; 3: the whole volume at once.
    neighbours : int
        Slices on each side that a slice is seen with (2.5-D); 0 for `dimensions` 3.
    side : int or None
        Slices are resized to this many pixels a side; None: the size follows from the fingerprint, nothing is resized.
    autoencoder, denoiser : AutoencoderShape, DenoiserShape
        Networks.
    visual_channels : tuple of int
        Channels of the visual expert: at half resolution, and twice at the resolution of the latent.
    token_width : int
        Width of the tokens of both experts.
    scan : Scan
        Tokens of the visual expert.
    spatial_channels : int
        Channels of the image's feature map beside the noisy latent; 0: the image reaches the denoiser through
        cross-attention only, as published.
    gated : bool
        Whether the weighted conditional module weighs each token by a learned gate.
    mask_state : bool
        Whether one token says how much the candidate holds.
    area_candidate : bool
        Whether the candidate is brought to latent resolution by area (soft one-hot); else by nearest neighbour.
    candidate_dropout : float
        Share of training examples whose candidate is blanked, so that the image alone must do.
    prediction : Prediction
        What the denoiser predicts.
    steps : int
        DDIM steps.
    """

    name: str
    dimensions: int = 3
    neighbours: int = 0
    side: int | None = None
    autoencoder: AutoencoderShape = AutoencoderShape()
    denoiser: DenoiserShape = DenoiserShape()
    visual_channels: tuple[int, int, int] = (16, 48, 64)
    token_width: int = 64
    scan: Scan = Scan.PATCHES
    spatial_channels: int = 32
    gated: bool = True
    mask_state: bool = True
    area_candidate: bool = True
    candidate_dropout: float = 0.15
    prediction: Prediction = Prediction.SAMPLE
    steps: int = 3

    @property
    def down(self) -> int:
        """Voxels along each axis that a latent voxel covers."""
        return _DOWN

    @property
    def multiple(self) -> int:
        """Every axis of a unit must be a multiple of this."""
        return int(_DOWN * 2 ** (len(self.denoiser.channels) - 1))

    @property
    def image_channels(self) -> int:
        """Channels of the image: the slice and its neighbours."""
        return 1 + 2 * self.neighbours

    def as_card(self) -> dict[str, Any]:
        """Return the JSON that `from_card` reads."""
        return asdict(self)

    @classmethod
    def from_card(cls, raw: Mapping[str, Any]) -> Preset:
        """Read a preset from a card; raises `InvalidModel` when it holds none."""
        try:
            autoencoder, denoiser = dict(raw["autoencoder"]), dict(raw["denoiser"])
            autoencoder["channels"] = _three(autoencoder["channels"])
            denoiser["channels"] = tuple(int(c) for c in denoiser["channels"])
            denoiser["attention"] = tuple(bool(a) for a in denoiser["attention"])
            return cls(
                **{
                    **raw,
                    "autoencoder": AutoencoderShape(**autoencoder),
                    "denoiser": DenoiserShape(**denoiser),
                    "visual_channels": _three(raw["visual_channels"]),
                    "scan": Scan(raw["scan"]),
                    "prediction": Prediction(raw["prediction"]),
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidModel("the card does not describe an nnQC network") from error


def _three(values: Any) -> tuple[int, int, int]:
    first, second, third = (int(v) for v in values)
    return first, second, third


# Published sizes and conditioning (`configs/*/config.json` of the authors' code). UniMedCLIP cannot be had offline: a
# convolutional expert of the same width, trained with the rest, stands in for it. Provable defects are not rebuilt:
# both experts reach the denoiser as tokens of their own, and the slice range is the image's, not the candidate's.
FAITHFUL = Preset(
    name="faithful",
    dimensions=2,
    side=256,
    autoencoder=AutoencoderShape(channels=(64, 128, 256), blocks=2, latent_channels=2, groups=32, attention=True),
    denoiser=DenoiserShape(
        channels=(32, 64, 128, 256), attention=(False, True, True, True), head_channels=32, blocks=2, groups=32
    ),
    visual_channels=(32, 64, 128),
    token_width=512,
    scan=Scan.POOLED,
    spatial_channels=0,
    gated=False,
    mask_state=False,
    area_candidate=False,
    candidate_dropout=0.0,
    prediction=Prediction.EPSILON,
    steps=5,
)
IMPROVED = Preset(name="improved")
# The published design on slices that a CPU can train: what the conditioning alone is worth, at equal size.
POOLED_3D = replace(
    IMPROVED,
    name="pooled",
    scan=Scan.POOLED,
    spatial_channels=0,
    gated=False,
    mask_state=False,
    area_candidate=False,
    candidate_dropout=0.0,
)
