"""Class priors that differ between the training images and a site: estimate them without labels, and correct for them.

A research archive has few bad scans, a clinical one many. Probabilities learned on the one are wrong on the other, and
aligning the features of both pulls good scans towards bad ones unless each class weighs alike (Zhao et al., ICML 2019).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.errors import ModelError

Probabilities = npt.NDArray[np.float64]
_TOLERANCE = 1e-6
_ITERATIONS = 500


class UnusableProbabilities(ModelError):
    """Rows that are no probabilities of the classes: negative, not finite, or not adding up to one."""

    code = "UNUSABLE_PROBABILITIES"


def estimate_priors(posteriors: Probabilities, training: Probabilities) -> Probabilities:
    """Estimate how frequent each class is among unlabelled images.

    Parameters
    ----------
    posteriors : numpy.ndarray, (image, class), float64
        What a classifier trained with the priors `training` says.
    training : numpy.ndarray, (class,), float64
        Priors it was trained with, all above 0.

    Returns
    -------
    numpy.ndarray, (class,), float64
        Sums to 1.

    Raises
    ------
    UnusableProbabilities
        If a row is no distribution over the classes.

    References
    ----------
    Saerens, Latinne and Decaestecker, Neural Computation 14(1), 2002: expectation maximisation.
    """
    _check(posteriors, training)
    priors = training.copy()
    for _ in range(_ITERATIONS):
        adjusted = correct_for_priors(posteriors, training, priors)
        new = adjusted.mean(0)
        moved, priors = float(np.abs(new - priors).max()), new
        if moved < _TOLERANCE:
            break
    return priors


def correct_for_priors(posteriors: Probabilities, training: Probabilities, actual: Probabilities) -> Probabilities:
    """Turn probabilities under the `training` priors into those under the `actual` ones.

    Parameters and errors as `estimate_priors`; the shape is kept.
    """
    _check(posteriors, training)
    weighed = posteriors * (actual / training)
    total = weighed.sum(1, keepdims=True)
    even = np.full_like(weighed, 1.0 / weighed.shape[1])
    corrected: Probabilities = np.divide(weighed, total, out=even, where=total > 0)
    return corrected


def importance(classes: npt.NDArray[np.int64], training: Probabilities, actual: Probabilities) -> Probabilities:
    """Weigh training images by their class so that they come as frequently as in `actual`; (image,), mean about 1."""
    weights: Probabilities = (actual / training)[classes]
    return weights


def _check(posteriors: Probabilities, training: Probabilities) -> None:
    if posteriors.ndim != 2 or posteriors.shape[1] != training.size or not len(posteriors):
        raise UnusableProbabilities("one row for each image and one column for each class are needed")
    for rows in (posteriors, training[None]):
        if not np.isfinite(rows).all() or (rows < 0).any() or np.abs(rows.sum(1) - 1).max() > 1e-3:
            raise UnusableProbabilities("probabilities are negative, not finite, or do not add up to one")
    if (training <= 0).any():
        raise UnusableProbabilities("a class that was never trained on has no ratio")
