"""A T1-like hippocampus crop made by code alone: for demonstrations and tests where no real scan may or can be used.

No voxel of any person is in it. A curved body with head and tail lies in its usual company: white matter, amygdala,
brain stem, the temporal horn and the cisterns. It is a drawing, good enough for the shipped networks to find the
structure; it says nothing about how well they work on people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_sr.volume import Grid, Volume

Field = npt.NDArray[np.float64]

_SHAPE = (38, 52, 36)
_WHITE, _GREY, _DEEP, _CSF = 0.97, 0.48, 0.68, 0.06
# Along the posterior-anterior axis from the head (0) to the tail (1): where the centre lies and how wide the body is.
_KNOTS = np.array([0.0, 0.15, 0.3, 0.5, 0.7, 0.9, 1.0])
_CENTRE_X = np.array([13.0, 14.5, 16.5, 19.0, 20.5, 19.5, 17.0])
_HALF_WIDTH = np.array([5.0, 7.4, 7.4, 6.4, 6.0, 5.6, 4.6])
_HALF_HEIGHT = np.array([2.8, 4.4, 4.5, 3.9, 3.8, 3.8, 3.2])
_FIRST_Y, _LENGTH_Y = 6.0, 38.0
_ANTERIOR_SHARE = 0.44


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Body:
    """The hippocampus: signed level (below 0 inside, in units of its half width), place along it, and coordinates."""

    level: Field
    along: Field
    dx: Field
    dz: Field


def hippocampus_phantom(seed: int) -> tuple[Volume, npt.NDArray[np.uint16]]:
    """Draw one crop.

    Parameters
    ----------
    seed : int
        Shape, side, contrast and noise follow from it; the same seed gives the same bytes.

    Returns
    -------
    volume : Volume
        38 x 52 x 36 voxels (z, y, x) of 1 mm, modality MR, axes head, posterior, left.
    labels : numpy.ndarray, (z, y, x), uint16
        1 anterior, 2 posterior part; together about 3.3 ml.
    """
    random = np.random.default_rng(seed)
    place = _coordinates(random)
    body = _body(place)
    tissue = _surroundings(place, body)
    tissue = _paint(tissue, -body.level * 4.0, _GREY)
    inner_white = np.exp(-(((body.dz - 0.55) / 0.12) ** 2)) * (body.level < -0.15)
    tissue = tissue + 0.06 * inner_white
    image = ndimage.gaussian_filter(tissue, 0.55) + _texture(random)
    image = np.clip(image * _bias(random), 0.02, None)
    image = np.abs(image + random.normal(0, 0.04, _SHAPE))
    labels = np.where(body.level < 0, np.where(body.along < _ANTERIOR_SHARE, 1, 2), 0).astype(np.uint16)
    side = 1 if seed % 2 == 0 else -1
    if side < 0:
        image, labels = image[:, :, ::-1], labels[:, :, ::-1]
    voxels = np.round(image * 1000.0).astype(np.float32)
    volume = Volume(grid=_grid(side), voxels=np.ascontiguousarray(voxels), modality="MR")
    return volume, np.ascontiguousarray(labels)


def _grid(side: int) -> Grid:
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = affine[2, 0] = affine[3, 3] = 1.0
    left = 8.0 if side > 0 else -8.0 - (_SHAPE[2] - 1)
    affine[:3, 3] = (left, -10.0, -34.0)
    return Grid(shape=_SHAPE, affine=affine)


def _coordinates(random: np.random.Generator) -> tuple[Field, Field, Field]:
    """Voxel coordinates (z, y, x), mm, gently bent and scaled so that no two seeds draw the same shape."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in _SHAPE), indexing="ij")
    bends = [_smooth(random, spread=9.0) * 1.2 for _ in range(3)]
    scale = 1 + random.uniform(-0.03, 0.03)
    return (z - 19) * scale + 19 + bends[0], (y - 26) * scale + 26 + bends[1], (x - 18) * scale + 18 + bends[2]


def _body(place: tuple[Field, Field, Field]) -> _Body:
    z, y, x = place
    along = (y - _FIRST_Y) / _LENGTH_Y
    inside = np.clip(along, 0, 1)
    centre_x, width, height = (np.interp(inside, _KNOTS, values) for values in (_CENTRE_X, _HALF_WIDTH, _HALF_HEIGHT))
    dx = (x - centre_x) / width
    tilt = 0.22 * (x - centre_x) * (1 - inside)
    dz = (z - _centre_z(inside) + tilt) / height
    beyond = np.maximum(np.maximum(-along, along - 1) * _LENGTH_Y, 0) / 2.0
    return _Body(level=np.sqrt(dx**2 + dz**2 + beyond**2) - 1, along=along, dx=dx, dz=dz)


def _centre_z(along: Field) -> Field:
    return 10.0 + 4.0 * along + 15.0 * along**2


def _surroundings(place: tuple[Field, Field, Field], body: _Body) -> Field:
    z, y, x = place
    floor = _centre_z(np.clip(body.along, 0, 1))
    tissue = np.full(_SHAPE, _WHITE)
    deep_grey = _ellipsoid(place, (floor.mean() + 16, 28, 12), (13, 18, 14))
    tissue = _paint(tissue, deep_grey * 3, _DEEP)
    folds = floor - 8.5 - z + 1.6 * np.sin(x / 2.6 + y / 7.0)
    tissue = _paint(tissue, folds, _GREY - 0.06)
    ribs = np.sin((x - 0.35 * z) / 1.3) - 0.35
    tissue = _paint(tissue, np.minimum(folds - 2.0, ribs * 2), _WHITE - 0.05)
    sulci = -0.6 - np.sin((x - 0.35 * z) / 1.3)
    tissue = _paint(tissue, np.minimum(folds - 1.0, sulci * 3), _CSF)
    lateral_cortex = x - 32 + 1.5 * np.sin(y / 4.0)
    tissue = _paint(tissue, lateral_cortex, _GREY)
    amygdala = _ellipsoid(place, (20, 7, 13), (7.5, 8.5, 9))
    tissue = _paint(tissue, amygdala * 4, _GREY + 0.04)
    medial = -(x - 9.5 + 0.12 * (y - 20))
    cistern = np.minimum(np.minimum(medial - 2.5, 7.5 + np.sin(z / 3.0) - medial), 7 - np.abs(z - floor - 2))
    tissue = _paint(tissue, cistern, _CSF)
    stem = _ellipsoid(place, (20, 33, 0), (15, 17, 8.5))
    tissue = _paint(tissue, stem * 5, _WHITE - 0.04)
    horn = np.minimum(0.42 - body.level, np.minimum(body.dz + 0.35 * body.dx - 0.1, 0.9 - np.abs(body.along - 0.55)))
    return _paint(tissue, horn * 3.2, _CSF + 0.04)


def _ellipsoid(place: tuple[Field, Field, Field], centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """Positive inside; about 1 at the centre, 0 on the surface."""
    squares = [((axis - c) / r) ** 2 for axis, c, r in zip(place, centre, radii, strict=True)]
    return 1.0 - np.sqrt(np.asarray(sum(squares), np.float64))


def _paint(tissue: Field, inside: Field, value: float) -> Field:
    """Cover tissue where `inside` (about mm) is positive; one voxel of partial volume at the border."""
    share = np.clip(inside + 0.5, 0.0, 1.0)
    return tissue * (1 - share) + value * share


def _texture(random: np.random.Generator) -> Field:
    return 0.08 * _smooth(random, spread=0.7) + 0.04 * _smooth(random, spread=1.6)


def _bias(random: np.random.Generator) -> Field:
    return np.exp(0.05 * _smooth(random, spread=14.0))


def _smooth(random: np.random.Generator, *, spread: float) -> Field:
    """Noise of unit standard deviation that varies over about `spread` voxels."""
    noise = ndimage.gaussian_filter(random.normal(size=_SHAPE), spread, mode="reflect")
    return np.asarray(noise / noise.std(), np.float64)
