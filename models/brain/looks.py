"""Look twice for a brain: once at the whole image to see where it is, once at the box around it, as in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.brain.extract import largest_piece
from models.brain.synthesis import BOX
from models.preprocess import PreprocessPlan, normalise

Float32 = npt.NDArray[np.float32]
#: Probability of brain for an image (z, y, x) whose axes are multiples of what the network needs.
Answer = Callable[[Float32], Float32]
_PERHAPS = 0.3
_SURE = 0.5


def probability_of_brain(answers: list[Answer], voxels: Float32, strides: tuple[int, int, int]) -> list[Float32]:
    """Ask every network of an ensemble where the brain is.

    Parameters
    ----------
    answers : list of callable
        The networks.
    voxels : numpy.ndarray, (z, y, x), float32
        Z-scored image on the grid of the networks.
    strides : tuple of int, (z, y, x)
        What axes must be multiples of.

    Returns
    -------
    list of numpy.ndarray, (z, y, x), float32
        Probability of each network; 0 outside the box.
    """
    sizes = [-(-n // s) * s for n, s in zip(voxels.shape, strides, strict=True)]
    inner = tuple(slice(0, n) for n in voxels.shape)
    padded = np.full(sizes, voxels.min(), np.float32)
    padded[inner] = voxels
    first = np.mean([answer(padded)[inner] for answer in answers], axis=0)
    box = _box_around(first)
    inside, place = _overlap(box, voxels.shape)
    seen = np.full(BOX, voxels[inside].min(), np.float32)
    seen[place] = voxels[inside]
    seen = normalise(seen, PreprocessPlan())
    found = []
    for answer in answers:
        whole = np.zeros(voxels.shape, np.float32)
        whole[inside] = answer(seen)[place]
        found.append(whole)
    return found


def one_piece(probability: Float32) -> Float32:
    """Keep the largest piece of what may be brain."""
    kept: Float32 = probability * largest_piece(probability > _PERHAPS)
    return kept


def _box_around(probability: Float32) -> list[int]:
    """Return the corner of the box whose middle is the middle of the largest piece, or of the image."""
    piece = largest_piece(probability > _SURE)
    middle = ndimage.center_of_mass(piece) if piece.any() else [(n - 1) / 2 for n in probability.shape]
    return [round(float(c) - (b - 1) / 2) for c, b in zip(middle, BOX, strict=True)]


def _overlap(corner: list[int], shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    inside = tuple(slice(max(0, c), min(n, c + b)) for c, b, n in zip(corner, BOX, shape, strict=True))
    return inside, tuple(slice(s.start - c, s.stop - c) for s, c in zip(inside, corner, strict=True))
