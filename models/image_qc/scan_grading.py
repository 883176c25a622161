"""From the views of a scan to its grades: probabilities are averaged over views, the worst grade makes the tier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.errors import UnusableVolume
from models.image_qc.network import GRADED, Domain, TwoHeadedNetwork, split_logits
from models.image_qc.simulation import Grades


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanGrade:
    """What the network says of one scan.

    Parameters
    ----------
    grades : Grades
        The most probable grade of each artefact, and whether to refuse the scan.
    reject : float
        Probability that it is not the wanted sequence or no image at all, 0..1.
    tiers : tuple of float, (3,)
        Probabilities of tier 1, 2 and 3, with artefacts taken as independent; they sum to 1.
    views : int
        How many views they are the mean of.
    """

    grades: Grades
    reject: float
    tiers: tuple[float, float, float]
    views: int


def grade_scan(network: TwoHeadedNetwork, descriptions: npt.NDArray[np.float32], domain: Domain) -> ScanGrade:
    """Grade a scan by the head of `domain`.

    Parameters
    ----------
    network : TwoHeadedNetwork
        Put into evaluation mode.
    descriptions : numpy.ndarray, (view, DESCRIPTION), float32
        Of its views; see `convolutions.describe`.

    Raises
    ------
    UnusableVolume
        If there is no view, or a description holds a number that is not finite.
    """
    if descriptions.ndim != 2 or not len(descriptions) or not np.isfinite(descriptions).all():
        raise UnusableVolume("a scan needs at least one view of finite voxels")
    network.eval()
    with torch.no_grad():
        logits = split_logits(network.grade(network(torch.from_numpy(descriptions), domain), domain))
        mean = torch.cat([part.softmax(1) for part in logits], dim=1).double().mean(0).numpy()
    reject, grades = float(mean[1]), mean[2:].reshape(len(GRADED), 3)
    motion, noise, contrast = (int(row.argmax()) for row in grades)
    clean, not_severe = float(grades[:, 0].prod()), float((1.0 - grades[:, 2]).prod())
    return ScanGrade(
        grades=Grades(motion=motion, noise=noise, contrast=contrast, reject=reject > 0.5),
        reject=reject,
        tiers=(clean, max(0.0, not_severe - clean), 1.0 - not_severe),
        views=len(descriptions),
    )
