"""Physically based degradations of a good image, with the grade each amounts to.

Motion is composited in k-space, noise is Rician, the rest is what scanners and converters really do. Every function
takes its randomness from the generator it is given.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Volume

Voxels = npt.NDArray[np.float32]


class Artefact(StrEnum):
    """The degradations that can be simulated."""

    MOTION = "MOTION"
    NOISE = "NOISE"
    BLUR = "BLUR"
    BIAS = "BIAS"
    SPIKE = "SPIKE"
    WRAP = "WRAP"
    LOW_CONTRAST = "LOW_CONTRAST"


def degrade(volume: Volume, artefact: Artefact, severity: float, random: np.random.Generator) -> Volume:
    """Return the volume with one artefact.

    Parameters
    ----------
    volume : Volume
        A good image.
    severity : float
        0 (nothing) to 1 (useless). Motion: 0.5 is 2 mm root mean square displacement. Noise: the signal-to-noise ratio
        is 4 / severity**1.5. Blur: the added full width is 5 mm * severity.
    random : numpy.random.Generator
        Source of all randomness.
    """
    voxels = volume.voxels.astype(np.float32)
    scale = float(np.percentile(voxels, 99.0)) or 1.0
    made = _apply(artefact, voxels, severity, volume.grid.spacing, random)
    return Volume(grid=volume.grid, voxels=np.clip(made, 0.0, 4.0 * scale).astype(np.float32), modality=volume.modality)


def _apply(
    artefact: Artefact,
    voxels: Voxels,
    severity: float,
    spacing: tuple[float, float, float],
    random: np.random.Generator,
) -> Voxels:
    match artefact:
        case Artefact.MOTION:
            return _motion(voxels, severity, spacing, random)
        case Artefact.NOISE:
            return _noise(voxels, severity, random)
        case Artefact.BLUR:
            return _blur(voxels, severity, spacing)
        case Artefact.BIAS:
            return _bias(voxels, severity, random)
        case Artefact.SPIKE:
            return _spike(voxels, severity, random)
        case Artefact.WRAP:
            return _wrap(voxels, severity)
        case Artefact.LOW_CONTRAST:
            return _low_contrast(voxels, severity)
        case _:
            assert_never(artefact)


def _motion(
    voxels: Voxels, severity: float, spacing: tuple[float, float, float], random: np.random.Generator
) -> Voxels:
    """Compose k-space from segments taken at different rigid positions, along the y (phase) axis.

    The segment that holds the centre of k-space stays where it was: it decides where the anatomy appears.
    """
    segments = int(random.integers(3, 8))
    edges = np.sort(
        random.choice(np.arange(1, voxels.shape[1]), size=min(segments, voxels.shape[1] - 1), replace=False)
    )
    owner = np.searchsorted(edges, np.arange(voxels.shape[1]), side="right")
    spectrum = np.fft.fftshift(np.fft.fft(voxels, axis=1), axes=1)
    for segment in sorted(set(owner.tolist()) - {int(owner[voxels.shape[1] // 2])}):
        shift = random.normal(0.0, 4.0 * severity / np.sqrt(3.0), 3) / np.array(spacing)
        angle = float(random.normal(0.0, 4.0 * severity))
        turned = ndimage.rotate(voxels, angle, axes=(1, 2), reshape=False, order=1, mode="nearest")
        moved = ndimage.shift(turned, shift, order=1, mode="nearest")
        lines = owner == segment
        spectrum[:, lines] = np.fft.fftshift(np.fft.fft(moved, axis=1), axes=1)[:, lines]
    return np.abs(np.fft.ifft(np.fft.ifftshift(spectrum, axes=1), axis=1)).astype(np.float32)


def _noise(voxels: Voxels, severity: float, random: np.random.Generator) -> Voxels:
    sigma = float(voxels[voxels > np.percentile(voxels, 50.0)].mean()) * severity**1.5 / 4.0
    real = voxels + random.normal(0.0, sigma, voxels.shape)
    return np.hypot(real, random.normal(0.0, sigma, voxels.shape)).astype(np.float32)


def _blur(voxels: Voxels, severity: float, spacing: tuple[float, float, float]) -> Voxels:
    return np.asarray(ndimage.gaussian_filter(voxels, [5.0 * severity / s / 2.355 for s in spacing]), np.float32)


def _bias(voxels: Voxels, severity: float, random: np.random.Generator) -> Voxels:
    axes = [np.linspace(-1.0, 1.0, n) for n in voxels.shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    a, b, c = random.normal(0.0, 1.0, 3)
    field = (a * z + b * y + c * x) / (np.sqrt(a * a + b * b + c * c) + 1e-6)
    biased: Voxels = (voxels * np.exp(1.5 * severity * field)).astype(np.float32)
    return biased


def _spike(voxels: Voxels, severity: float, random: np.random.Generator) -> Voxels:
    spectrum = np.fft.fftn(voxels)
    index = tuple(int(random.integers(n // 6, max(n // 6 + 1, n // 2))) for n in voxels.shape)
    spectrum[index] += 0.35 * severity * np.abs(spectrum[0, 0, 0])
    return np.abs(np.fft.ifftn(spectrum)).astype(np.float32)


def _wrap(voxels: Voxels, severity: float) -> Voxels:
    return (voxels + severity * np.roll(voxels, voxels.shape[1] // 2, axis=1)).astype(np.float32)


def _low_contrast(voxels: Voxels, severity: float) -> Voxels:
    middle = float(np.median(voxels))
    return (middle + (voxels - middle) * (1.0 - 0.9 * severity)).astype(np.float32)
