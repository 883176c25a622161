"""Scans of the pool as the adaptable part of the network sees them: descriptions of their views in place of voxels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.image_qc.convolutions import describe
from models.image_qc.network import Convolutions, Domain
from models.image_qc.pool import PooledScan
from models.image_qc.simulation import Grades

Descriptions = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DescribedScan:
    """One scan of the pool, described; see `pool.PooledScan`.

    Parameters
    ----------
    views, fixed : numpy.ndarray, (view, DESCRIPTION), float32
        Of its random views, and of those inference would take.
    """

    person: str
    name: str
    domain: Domain
    grades: Grades
    variant: str
    views: Descriptions
    fixed: Descriptions


def describe_pool(convolutions: Convolutions, scans: Iterable[PooledScan]) -> tuple[DescribedScan, ...]:
    """Describe every scan; the order is kept."""
    return tuple(
        DescribedScan(
            person=scan.person,
            name=scan.name,
            domain=scan.domain,
            grades=scan.grades,
            variant=scan.variant,
            views=describe(convolutions, scan.views),
            fixed=describe(convolutions, scan.fixed),
        )
        for scan in scans
    )
