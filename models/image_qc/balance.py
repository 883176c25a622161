"""Balanced accuracy: the figure that papers on image quality control report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def balanced(said: Sequence[bool] | npt.NDArray[np.bool_], true: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """Return the mean of sensitivity and specificity, 0..1; nan when one class is absent.

    Parameters
    ----------
    said, true : sequence of bool, (image,)
        What was said of each image, and what is so.
    """
    said_, true_ = np.asarray(said, bool), np.asarray(true, bool)
    if true_.all() or not true_.any():
        return float("nan")
    return (float(said_[true_].mean()) + float((~said_[~true_]).mean())) / 2
