"""Fingerprint adaptation: how an image becomes what nnQC works on (slices, or the whole volume), and the way back.

Everything follows from the fingerprint of the training images and from the image. A candidate is cut the way its image
was; where it begins and ends changes nothing, so that a missing end stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.errors import InvalidModel, UnusableVolume
from models.fingerprint import DatasetFingerprint
from models.preprocess import PreprocessPlan
from models.segmentation_qc.nnqc.preset import Preset

_AXES = ("z", "y", "x")
_BEYOND = 1.5  # an image this many times longer than the longest training image is of something else


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """How images are cut into units; part of the weights.

    Parameters
    ----------
    preprocess : PreprocessPlan
        Spacing and intensities.
    size : tuple of int, (z, y, x)
        Voxels of a training crop: the median of the training images, rounded up to what the networks divide. An
        image of another size is seen whole all the same.
    largest : tuple of int, (z, y, x)
        Longer images are refused.
    slice_axis : int
        Canonical axis along which slices are counted: the one along which the structure is longest; 0 (axial) where
        slices are worked on one by one.
    """

    preprocess: PreprocessPlan
    size: tuple[int, int, int]
    largest: tuple[int, int, int]
    slice_axis: int

    def as_card(self) -> dict[str, Any]:
        """Return the JSON that `from_card` reads."""
        return asdict(self)

    @classmethod
    def from_card(cls, raw: Mapping[str, Any]) -> UnitPlan:
        """Read a plan from a card; raises `InvalidModel` when it holds none."""
        try:
            plan = raw["preprocess"]
            z, y, x = (float(v) for v in plan["spacing"])
            return cls(
                preprocess=PreprocessPlan(
                    spacing=(z, y, x),
                    lower_percentile=float(plan["lower_percentile"]),
                    upper_percentile=float(plan["upper_percentile"]),
                ),
                size=_three(raw["size"]),
                largest=_three(raw["largest"]),
                slice_axis=int(raw["slice_axis"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidModel("the card does not say how nnQC cuts images") from error


def plan_units(fingerprint: DatasetFingerprint, preset: Preset, *, label: str) -> UnitPlan:
    """Plan units from a fingerprint.

    Parameters
    ----------
    fingerprint : DatasetFingerprint
        Of the training images.
    preset : Preset
        Design.
    label : str
        Structure whose longest axis counts the slices.
    """
    preprocess = fingerprint.plan()
    lengths = [fingerprint.image[f"extent_mm_{axis}"] for axis in _AXES]
    typical = [e.median / s for e, s in zip(lengths, preprocess.spacing, strict=True)]
    longest = [e.high / s for e, s in zip(lengths, preprocess.spacing, strict=True)]
    extents = [fingerprint.labels[label][f"extent_mm_{axis}"].median for axis in _AXES]
    return UnitPlan(
        preprocess=preprocess,
        size=_three([_up(n, preset.multiple) for n in typical]),
        largest=_three([int(np.ceil(n * _BEYOND)) for n in longest]),
        slice_axis=0 if preset.dimensions == 2 else int(np.argmax(extents)),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """How one prepared image was cut, so that masks follow it and answers find their way back.

    Parameters
    ----------
    shape : tuple of int, (z, y, x)
        Prepared image.
    padded : tuple of int, (z, y, x)
        After padding at the far ends (`dimensions` 3).
    side : int or None
        Slices were resized to this.
    dimensions, multiple : int
        As in the preset.
    """

    shape: tuple[int, int, int]
    padded: tuple[int, int, int]
    side: int | None
    dimensions: int
    multiple: int

    def masks(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Cut one-hot masks (class, z, y, x) on the prepared image's grid; returns (unit, class, ...)."""
        if self.dimensions == 3:
            return _padded(one_hot[None], self.padded, background=True)
        slices = one_hot.transpose(0, 1)
        if self.side is not None:
            return functional.interpolate(slices, size=(self.side, self.side), mode="nearest")
        return _padded(slices, self.padded[1:], background=True)

    def gather(self, answers: torch.Tensor) -> torch.Tensor:
        """Put answers (unit, class, ...) together; returns (class, z, y, x) on the prepared image's grid."""
        z, y, x = self.shape
        if self.dimensions == 3:
            return answers[0, :, :z, :y, :x]
        if self.side is not None:
            return functional.interpolate(answers, size=(y, x), mode="bilinear").transpose(0, 1)
        return answers[:, :, :y, :x].transpose(0, 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """One image as nnQC works on it.

    Parameters
    ----------
    images : torch.Tensor, (unit, channel, ...), float32
        Slices with their neighbours, or the volume.
    positions : torch.Tensor, (unit, slice), float32
        Place of each slice of the unit in the image, 0..1 from one end of the image to the other.
    cut : Cut
        The way back.
    """

    images: torch.Tensor
    positions: torch.Tensor
    cut: Cut


def cut_units(voxels: npt.NDArray[np.float32] | torch.Tensor, preset: Preset, plan: UnitPlan) -> Units:
    """Cut a prepared image (z, y, x).

    Raises
    ------
    UnusableVolume
        If the image is far longer than any the network was trained on.
    """
    image = torch.as_tensor(voxels)
    z, y, x = (int(n) for n in image.shape)
    if any(n > most for n, most in zip((z, y, x), plan.largest, strict=True)):
        raise UnusableVolume(
            f"the image is more than {_BEYOND:g} times as long as any nnQC was trained on; crop it to the structure"
        )
    padded = _three([_up(n, preset.multiple) for n in (z, y, x)])
    cut = Cut(shape=(z, y, x), padded=padded, side=preset.side, dimensions=preset.dimensions, multiple=preset.multiple)
    if preset.dimensions == 3:
        images = _padded(image[None, None], padded, background=False)
        count, length = padded[plan.slice_axis] // preset.down, (z, y, x)[plan.slice_axis]
        centres = (torch.arange(count, dtype=torch.float32) + 0.5) * preset.down / length
        return Units(images=images, positions=centres.clamp(max=1.0)[None], cut=cut)
    stacked = _with_neighbours(image, preset.neighbours)
    if preset.side is not None:
        stacked = functional.interpolate(stacked, size=(preset.side, preset.side), mode="bilinear")
    else:
        stacked = _padded(stacked, padded[1:], background=False)
    positions = torch.arange(z, dtype=torch.float32) / max(z - 1, 1)
    return Units(images=stacked, positions=positions[:, None], cut=cut)


def _with_neighbours(image: torch.Tensor, count: int) -> torch.Tensor:
    """Stack each slice with `count` slices on each side, (slice, channel, y, x); ends are repeated."""
    places = torch.arange(image.shape[0])
    return torch.stack([image[(places + o).clamp(0, image.shape[0] - 1)] for o in range(-count, count + 1)], dim=1)


def _padded(values: torch.Tensor, shape: tuple[int, ...], *, background: bool) -> torch.Tensor:
    """Pad the far ends: images repeat their edge, one-hot masks continue as background."""
    missing = [want - have for want, have in zip(shape, values.shape[2:], strict=True)]
    amounts = [n for short in reversed(missing) for n in (0, short)]
    if not background:
        return functional.pad(values, amounts, mode="replicate")
    padded = functional.pad(values, amounts)
    padded[:, 0] = functional.pad(values[:, :1], amounts, value=1.0)[:, 0]
    return padded


def _up(length: float, multiple: int) -> int:
    return int(-(-np.ceil(length) // multiple) * multiple)


def _three(values: Any) -> tuple[int, int, int]:
    z, y, x = (int(v) for v in values)
    return z, y, x
