"""A pool of simulated scans, each with its person, exact grades and views: what the two-headed network learns on.

Simulating motion in a head takes a second, a training step a tenth: every scan is made once and its views are kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_sr.volume import Volume
from models.image_qc.network import Domain
from models.image_qc.real_scans import RealScan, crops, dicom_heads, nifti_heads
from models.image_qc.simulation import Grades, Reject, random_grades, random_slab, rejected, simulated
from models.image_qc.targets import Sequence as MrSequence
from models.image_qc.views import random_views, views_of
from models.split import Split

SOURCE_TIERS = (1 / 3, 1 / 3, 1 / 3)
TARGET_TIERS = (0.25, 0.30, 0.45)
"""Shares of tiers 1, 2 and 3: a research archive is the source, a clinical archive, with more bad scans, the target."""
WRONG_SEQUENCE = "WRONG_SEQUENCE"
_SCANS = {Domain.SOURCE: 45, Domain.TARGET: 36}
_SCANS_OF_A_CROP = 3
_REJECTS_OF_A_HEAD = 9
_VIEWS = 6
_VIEWS_OF_A_CROP = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PooledScan:
    """One simulated scan.

    Parameters
    ----------
    person, name : str
        Person and real scan it was made from.
    domain : Domain
        Head that is to grade it.
    grades : Grades
        What was done to it.
    variant : str
        Kind of reject; empty for a scan with grades.
    views : numpy.ndarray, (view, z, y, x), float16
        Random views, for training.
    fixed : numpy.ndarray, (view, z, y, x), float16
        The views that inference would take.
    """

    person: str
    name: str
    domain: Domain
    grades: Grades
    variant: str
    views: npt.NDArray[np.float16]
    fixed: npt.NDArray[np.float16]


def build_pool(data: Path, heads: Mapping[str, Volume]) -> Iterator[PooledScan]:
    """Simulate every scan of the pool.

    Parameters
    ----------
    data : Path
        Folder of all data sets; those that are absent are left out.
    heads : mapping of str to Volume
        Heads read from DICOM, by `real_scans.DicomHead.name`.
    """
    scans = [*nifti_heads(data), *dicom_heads(heads)]
    for scan in scans:
        if (domain := domain_of(scan.sequence)) is not None:
            yield from _graded(scan, domain, _SCANS[domain], views=_VIEWS)
            yield from _rejects(scan, domain, tuple(Reject) * (_REJECTS_OF_A_HEAD // len(Reject)))
        for other in Domain:
            if domain is not other:
                yield from _of_another_sequence(scan, other)
    for crop in crops(data, Split.TRAIN):
        yield from _graded(crop, Domain.SOURCE, _SCANS_OF_A_CROP, views=_VIEWS_OF_A_CROP)


def domain_of(sequence: MrSequence) -> Domain | None:
    """Return the domain a sequence belongs to; None when no head grades it."""
    return next((domain for domain in Domain if domain.value == sequence.value), None)


def write_pool(scans: Iterable[PooledScan], path: Path) -> None:
    """Write the pool as one ``.npz`` without pickles."""
    listed = list(scans)
    rows = [
        (s.person, s.name, s.domain, s.variant, s.grades.motion, s.grades.noise, s.grades.contrast, s.grades.reject,
         len(s.views), len(s.fixed))
        for s in listed
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        rows=np.array([[str(int(v) if isinstance(v, bool) else v) for v in row] for row in rows]),
        views=np.concatenate([s.views for s in listed]),
        fixed=np.concatenate([s.fixed for s in listed]),
    )


def read_pool(path: Path) -> tuple[PooledScan, ...]:
    """Read what `write_pool` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        rows, views, fixed = stored["rows"], stored["views"], stored["fixed"]
    scans, v, f = [], 0, 0
    for person, name, domain, variant, motion, noise, contrast, reject, views_count, fixed_count in rows.tolist():
        grades = Grades(motion=int(motion), noise=int(noise), contrast=int(contrast), reject=reject == "1")
        v_end, f_end = v + int(views_count), f + int(fixed_count)
        scans.append(
            PooledScan(
                person=person,
                name=name,
                domain=Domain(domain),
                grades=grades,
                variant=variant,
                views=views[v:v_end],
                fixed=fixed[f:f_end],
            )
        )
        v, f = v_end, f_end
    return tuple(scans)


def _graded(scan: RealScan, domain: Domain, count: int, *, views: int) -> Iterator[PooledScan]:
    random = _generator(scan.name, domain)
    tiers = SOURCE_TIERS if domain is Domain.SOURCE else TARGET_TIERS
    for _ in range(count):
        grades = random_grades(random, tiers)
        made = simulated(random_slab(scan.volume, random), grades, random)
        yield _pooled(scan, domain, made, grades, random, views=views)


def _rejects(scan: RealScan, domain: Domain, kinds: Sequence[Reject]) -> Iterator[PooledScan]:
    random = _generator(scan.name, "reject")
    for kind in kinds:
        made = rejected(random_slab(scan.volume, random), kind, random)
        yield _pooled(scan, domain, made, Grades(reject=True), random, views=_VIEWS, variant=kind)


def _of_another_sequence(scan: RealScan, domain: Domain) -> Iterator[PooledScan]:
    """Slabs of another sequence, some of them degraded: refused whatever their quality."""
    random = _generator(scan.name, "other")
    for tier in (1, 1, 2, 3, 1, 2):
        degraded = random_grades(random, tuple(float(t == tier) for t in (1, 2, 3)))  # type: ignore[arg-type]
        made = simulated(random_slab(scan.volume, random), degraded, random)
        yield _pooled(scan, domain, made, Grades(reject=True), random, views=_VIEWS, variant=WRONG_SEQUENCE)


def _pooled(
    scan: RealScan,
    domain: Domain,
    made: Volume,
    grades: Grades,
    random: np.random.Generator,
    *,
    views: int,
    variant: str = "",
) -> PooledScan:
    return PooledScan(
        person=scan.person,
        name=scan.name,
        domain=domain,
        grades=grades,
        variant=variant,
        views=random_views(made, views, random).astype(np.float16),
        fixed=views_of(made).astype(np.float16),
    )


def _generator(name: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{purpose} {name}".encode()))
