"""How far a structure goes on beyond the end of its mask: what a dropped end slice leaves behind."""

from __future__ import annotations

import numpy as np

from dicom_sr.segmentation import Mask

_LEAST_AREA_MM2 = 6.0  # fewer than this in a slice is the ragged tip that two readers draw differently


def missing_end_mm(mask: Mask, truth: Mask, spacing: tuple[float, float, float]) -> float:
    """Return how far `truth` reaches beyond `mask`, mm: the worst of both ends along the three axes.

    Slices of `truth` smaller than 6 mm2 do not count. An empty mask misses all of `truth`; an empty `truth` shows
    nothing to be missing.

    Parameters
    ----------
    mask, truth : numpy.ndarray, (z, y, x), bool
        Candidate, and what an independent source sees.
    spacing : tuple of float, (z, y, x)
        mm.
    """
    worst = 0.0
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        pixel = float(np.prod([spacing[a] for a in others]))
        seen = np.flatnonzero(truth.sum(axis=others) * pixel >= _LEAST_AREA_MM2)
        if not seen.size:
            continue
        drawn = np.flatnonzero(mask.any(axis=others))
        if not drawn.size:
            worst = max(worst, float(seen[-1] - seen[0] + 1) * spacing[axis])
            continue
        short = max(int(drawn[0] - seen[0]), int(seen[-1] - drawn[-1]), 0)
        worst = max(worst, short * spacing[axis])
    return worst
