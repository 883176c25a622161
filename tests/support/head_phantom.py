"""A head drawn by code: scalp, skull, brain with a ventricle, and lesions; whole-head size, thick slices."""

from __future__ import annotations

import numpy as np

from dicom_sr.segmentation import Mask
from dicom_sr.volume import Grid, Volume
from models.brain.heads import HeadCase, HeadSource, LesionMask, Reference

SHAPE, SPACING = (34, 88, 72), (5.0, 2.4, 2.4)


def head_phantom(seed: int = 0) -> tuple[Volume, Mask, Mask]:
    """A FLAIR-like head, its brain and its lesions (z, y, x); axial slices from the feet up."""
    random = np.random.default_rng(seed)
    brain = _ellipsoid((0.5, 0.5, 0.5), (62.0, 80.0, 64.0))
    skull = _ellipsoid((0.5, 0.5, 0.5), (70.0, 88.0, 72.0)) & ~brain
    scalp = _ellipsoid((0.5, 0.5, 0.5), (78.0, 96.0, 80.0)) & ~brain & ~skull
    ventricle = _ellipsoid((0.55, 0.5, 0.5), (18.0, 30.0, 10.0))
    lesions = _ellipsoid((0.6, 0.4, 0.36), (9.0, 8.0, 6.0)) | _ellipsoid((0.5, 0.62, 0.66), (9.0, 6.0, 6.0))
    image = np.full(SHAPE, 8.0)
    image[scalp], image[skull], image[brain], image[ventricle], image[lesions] = 160.0, 20.0, 300.0, 60.0, 520.0
    image += random.normal(0, 8, SHAPE)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *SPACING, 1.0
    affine[:3, 3] = (-86.0, -105.0, -80.0)
    grid = Grid(shape=SHAPE, affine=affine)
    return Volume(grid=grid, voxels=image.astype(np.float32), modality="MR"), brain, lesions


def head_case(seed: int = 0, *, person: str = "a", site: str = "here", sequence: str = "FLAIR") -> HeadCase:
    """The phantom as a training head."""
    volume, brain, lesions = head_phantom(seed)
    source = HeadSource(name=f"{person}-{seed}", person=person, site=site, sequence=sequence, folder="")
    changed = lesions if sequence == "FLAIR" else None
    return HeadCase(source=source, volume=volume, brain=brain, reference=Reference.EXPERT, changed=changed)


def lesion_mask() -> LesionMask:
    """The phantom's masks without its image."""
    volume, brain, lesions = head_phantom()
    return LesionMask(patient="p", grid=volume.grid, brain=brain, lesions=lesions)


def _ellipsoid(centre: tuple[float, float, float], radii_mm: tuple[float, float, float]) -> Mask:
    axes = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    distance = sum(
        ((axis - c * (n - 1)) * s / r) ** 2
        for axis, c, n, s, r in zip(axes, centre, SHAPE, SPACING, radii_mm, strict=True)
    )
    return np.asarray(distance <= 1.0)
