"""Image quality metrics that need no segmentation of tissue.

Own implementations of the published definitions (Esteban et al., MRIQC, PLoS ONE 2017,
doi 10.1371/journal.pone.0184661, and the papers it cites). Where a definition needs a tissue segmentation, the
departure is said at the function.
A metric that cannot be measured is None, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Volume
from models.image_qc.head import otsu_threshold

Voxels = npt.NDArray[np.float32]
Region = npt.NDArray[np.bool_]

_MOST_VOXELS = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityMetrics:
    """Image quality metrics of one volume; None where not measurable.

    Parameters
    ----------
    efc : float or None
        Entropy focus criterion, 0 (all energy in one voxel) to 1; ghosting and blur raise it.
    fber : float or None
        Foreground-background energy ratio; needs air.
    snr : float or None
        Mean foreground over noise, the noise from second differences.
    snr_air : float or None
        Mean foreground over the Rayleigh noise of air.
    qi1 : float or None
        Fraction of air voxels with structured signal, 0..1; needs air.
    fwhm_mm : float or None
        Smoothness of the foreground, mm, mean over the axes.
    inu : float or None
        Range of a second-order log bias field, p95 - p5.
    cnr : float or None
        Contrast of the two upper intensity classes over their joint spread.
    """

    efc: float | None
    fber: float | None
    snr: float | None
    snr_air: float | None
    qi1: float | None
    fwhm_mm: float | None
    inu: float | None
    cnr: float | None


def measure_quality(volume: Volume, *, has_air: bool) -> QualityMetrics:
    """Measure everything that can be measured.

    Parameters
    ----------
    volume : Volume
        Finite voxels, any shape.
    has_air : bool
        Whether air around the object is expected (a whole head) or not (a crop inside tissue).

    Returns
    -------
    QualityMetrics
    """
    voxels = _bounded(volume.voxels)
    object_, air = _object_and_air(voxels) if has_air else (np.ones(voxels.shape, bool), np.zeros(voxels.shape, bool))
    noise = noise_by_differences(voxels, object_)
    return QualityMetrics(
        efc=entropy_focus(voxels),
        fber=energy_ratio(voxels, object_, air),
        snr=_ratio(float(voxels[object_].mean()) if object_.any() else 0.0, noise),
        snr_air=snr_from_air(voxels, object_, air),
        qi1=structured_air(voxels, air),
        fwhm_mm=smoothness_mm(_middle(volume.voxels), volume.grid.spacing),
        inu=bias_range(voxels, object_),
        cnr=contrast_to_noise(voxels, object_),
    )


def entropy_focus(voxels: Voxels) -> float | None:
    """Return the entropy focus criterion, normalised to 0..1.

    References
    ----------
    Atkinson et al., IEEE TMI 16(6), 1997; normalisation as in MRIQC, by the entropy of a uniform image.
    """
    positive = np.abs(voxels).astype(np.float64).ravel()
    energy = math.sqrt(float((positive**2).sum()))
    if energy <= 0 or positive.size < 2:
        return None
    share = positive / energy
    entropy = float((share * np.log(share + 1e-16)).sum())
    return entropy / (math.sqrt(positive.size) * math.log(1.0 / math.sqrt(positive.size)))


def energy_ratio(voxels: Voxels, object_: Region, air: Region) -> float | None:
    """Return the median energy of the object over that of the air; None without air or where air was set to zero.

    References
    ----------
    Shehzad et al., Frontiers in Neuroinformatics 2015 (Preprocessed Connectomes Project QAP).
    """
    if not object_.any() or not air.any():
        return None
    return _ratio(float(np.median(voxels[object_] ** 2)), float(np.median(voxels[air] ** 2)))


def snr_from_air(voxels: Voxels, object_: Region, air: Region) -> float | None:
    """Return the signal-to-noise ratio with Rayleigh noise from the air.

    References
    ----------
    Dietrich et al., JMRI 26(2), 2007, with the mean of the object in place of a tissue mean.
    """
    if not object_.any() or air.sum() < 100:
        return None
    return _ratio(float(voxels[object_].mean()), math.sqrt(2.0 / (4.0 - math.pi)) * float(voxels[air].std()))


def structured_air(voxels: Voxels, air: Region) -> float | None:
    """Return QI1: the fraction of air voxels whose signal is structured (ghosts, wrap), not noise.

    References
    ----------
    Mortamet et al., MRM 62(2), 2009: air above the noise mode, opened by a 3-D cross, over all air.
    """
    if air.sum() < 1000:
        return None
    values = voxels[air]
    top = float(np.percentile(values, 99.9))
    counts, edges = np.histogram(np.minimum(values, top), bins=100)
    mode = float(edges[int(counts.argmax())])
    spread = float(np.median(np.abs(values - np.median(values)))) * 1.4826
    loud = air & (voxels > mode + 4.0 * max(spread, 1e-6))
    return float(ndimage.binary_opening(loud).sum() / air.sum())


def smoothness_mm(voxels: Voxels, spacing: tuple[float, float, float]) -> float | None:
    """Return the full width at half maximum of the smoothness, mm, mean over the axes that can be measured.

    References
    ----------
    Forman et al., MRM 33(5), 1995, as AFNI 3dFWHMx: from the variance of neighbour differences after removing the slow
    trend.
    """
    detrended = voxels - ndimage.uniform_filter(voxels, [min(n, 2 * math.ceil(7.0 / s) + 1) for n, s in zip(
        voxels.shape, spacing, strict=True)])  # fmt: skip
    variance = float(detrended.var())
    if variance <= 0:
        return None
    widths = []
    for axis, step in enumerate(spacing):
        if voxels.shape[axis] < 3:
            continue
        correlation = 1.0 - float(np.diff(detrended, axis=axis).var()) / (2.0 * variance)
        if 0.0 < correlation < 1.0:
            widths.append(step * math.sqrt(2.0 * math.log(2.0) / -math.log(correlation)))
    return float(np.mean(widths)) if widths else None


def noise_by_differences(voxels: Voxels, region: Region) -> float:
    """Return the standard deviation of the noise by second differences along x and y, robust to edges.

    References
    ----------
    Immerkaer, Computer Vision and Image Understanding 64(2), 1996: the mask [1 -2 1] x [1 -2 1] has gain 6.
    """
    if min(voxels.shape[1:]) < 3:
        return 0.0
    second = np.diff(np.diff(voxels, n=2, axis=1), n=2, axis=2)
    inner = region[:, 1:-1, 1:-1]
    values = second[inner] if inner.any() else second.ravel()
    return float(np.median(np.abs(values - np.median(values)))) * 1.4826 / 6.0


def bias_range(voxels: Voxels, object_: Region) -> float | None:
    """Return the range (p95 - p5) of a second-order polynomial fitted to the log intensity of the object.

    A stand-in for the range of the N4 field that MRIQC reports; anatomy that varies slowly counts as bias.
    """
    inside = object_ & (voxels > 0)
    if inside.sum() < 1000:
        return None
    step = max(1, int(inside.sum() // 50_000))
    index = np.argwhere(inside)[::step]
    z, y, x = (index / np.array(voxels.shape) - 0.5).T
    basis = np.stack([np.ones_like(z), z, y, x, z * z, y * y, x * x, z * y, z * x, y * x], axis=1)
    target = np.log(voxels[inside][::step].astype(np.float64))
    weights, *_ = np.linalg.lstsq(basis, target, rcond=None)
    field = basis[:, 1:] @ weights[1:]
    return float(np.percentile(field, 95) - np.percentile(field, 5))


def contrast_to_noise(voxels: Voxels, object_: Region) -> float | None:
    """Return the distance of the two upper Otsu classes of the object over their joint spread.

    CNR-like: MRIQC's CNR takes grey and white matter from a tissue segmentation, here the classes are cut by intensity.
    """
    values = voxels[object_]
    if values.size < 1000 or float(values.max()) <= float(values.min()):
        return None
    top = float(np.percentile(values, 99.0))
    lower = otsu_threshold(np.minimum(values, top))
    bright = values[(values > lower) & (values <= top)]
    if bright.size < 100 or float(bright.max()) <= float(bright.min()):
        return None
    cut = otsu_threshold(bright)
    low, high = bright[bright <= cut], bright[bright > cut]
    if not low.size or not high.size:
        return None
    return _ratio(float(high.mean() - low.mean()), math.sqrt(float(high.var()) + float(low.var())))


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 1e-6 else None


def _bounded(voxels: Voxels) -> Voxels:
    """Decimate every in-plane axis equally until the volume is small enough to measure in a second."""
    step = 1
    while voxels[:, ::step, ::step].size > _MOST_VOXELS:
        step += 1
    return np.ascontiguousarray(voxels[:, ::step, ::step])


def _middle(voxels: Voxels) -> Voxels:
    """Cut the middle half along every axis out of a large volume: smoothness is the same everywhere."""
    if voxels.size <= _MOST_VOXELS:
        return voxels
    return voxels[tuple(slice(n // 4, n - n // 4) for n in voxels.shape)]


def _object_and_air(voxels: Voxels) -> tuple[Region, Region]:
    top = float(np.percentile(voxels, 90.0))
    if top <= float(voxels.min()):
        return np.zeros(voxels.shape, bool), np.zeros(voxels.shape, bool)
    bright = voxels > otsu_threshold(np.minimum(voxels, top))
    # A thin shell around the object belongs to neither: partial volume and skin.
    near = ndimage.binary_dilation(bright, iterations=5)
    return bright, ~near
