"""Accidents that must never be accepted: right masks in the wrong place, order, patient or number of slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from models.corruptions import drop_slices, shift, swap_labels
from models.preprocess import canonical_view
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.candidates import on_image_grid

Labels = npt.NDArray[np.uint8]

_DROPPED = 5


def accidents_of(case: LabelledVolume, others: Sequence[LabelledVolume]) -> Iterator[tuple[str, Labels]]:
    """Make every accident of one case from the experts' labels (1 anterior, 2 posterior).

    Parameters
    ----------
    case : LabelledVolume
        The case.
    others : sequence of LabelledVolume
        Other patients; the first gives its perfect mask, laid centre on centre of the images.

    Yields
    ------
    tuple of (str, numpy.ndarray (z, y, x) uint8)
        Name of the accident, labels on the grid of the image.
    """
    labels, spacing = canonical_view(case.expert.astype(np.uint8), case.volume.grid)
    foreign, _ = canonical_view(others[0].expert.astype(np.uint8), others[0].volume.grid)
    ten = np.zeros(3)
    made: list[tuple[str, Labels]] = [
        ("blank", np.zeros_like(labels)),
        ("everything", np.full_like(labels, 2)),
        ("swapped labels", swap_labels(labels)),
        ("mirrored within the crop", np.ascontiguousarray(labels[:, :, ::-1])),
        ("front and back turned", np.ascontiguousarray(labels[:, ::-1])),
        ("head and foot turned", np.ascontiguousarray(labels[::-1])),
        ("another patient's perfect mask", _centred(foreign, labels.shape)),
    ]
    for axis, name in enumerate(("head", "back", "left")):
        offset = ten.copy()
        offset[axis] = 10.0
        made.append((f"shifted 10 mm to the {name}", shift(labels, offset, spacing=spacing)))
        made.append((f"shifted 10 mm from the {name}", shift(labels, -offset, spacing=spacing)))
    used = np.flatnonzero((labels > 0).any(axis=(0, 2)))
    middle = int(used[used.size // 2])
    made.append(("one slice missing inside", drop_slices(labels, axis=1, first=middle, count=1)))
    made.append(("five front slices missing", drop_slices(labels, axis=1, first=int(used[0]), count=_DROPPED)))
    made.append(
        ("five back slices missing", drop_slices(labels, axis=1, first=int(used[-1]) - _DROPPED + 1, count=_DROPPED))
    )
    for name, wrong in made:
        yield name, on_image_grid(wrong, case.volume)


def _centred(labels: Labels, shape: tuple[int, ...]) -> Labels:
    laid = np.zeros(shape, np.uint8)
    source, target = [], []
    for have, want in zip(labels.shape, shape, strict=True):
        common = min(have, want)
        source.append(slice((have - common) // 2, (have - common) // 2 + common))
        target.append(slice((want - common) // 2, (want - common) // 2 + common))
    laid[tuple(target)] = labels[tuple(source)]
    return laid
