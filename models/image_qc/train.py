"""Fit the reference of image QC: what images of the training patients look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dicom_sr.volume import Volume
from models.card import write_card
from models.errors import UnusableVolume
from models.image_qc.artefacts import Artefact, degrade
from models.image_qc.grading import GradeModel, fit_grades, texture_features, write_grades
from models.image_qc.likeness import WEIGHTS_NAME, features_of, fit_reference, write_reference
from models.image_qc.targets import target_named
from models.nifti import read_nifti
from models.split import Split, split_patients

_MILD, _SEVERE = (0.25, 0.45), (0.6, 1.0)


def train(data: Path, out: Path, *, target: str = "t1-hippocampus-crop") -> Path:
    """Fit the reference of one target on the ``train`` patients and write it with its card.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz``.
    out : Path
        Weights folder to write, by convention named ``image-qc``.
    target : str
        Image target that has a reference.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    UnknownTarget
        If `target` is not declared.
    UnusableVolume
        If the folder holds no usable training image.
    """
    names = split_patients(p.name.removesuffix(".nii.gz") for p in (data / "images").glob("*.nii.gz"))[Split.TRAIN]
    volumes = [read_nifti(data / "images" / f"{name}.nii.gz") for name in names]
    features = [one for volume in volumes if (one := features_of(volume)) is not None]
    if not features:
        raise UnusableVolume("the folder holds no usable image of the train split")
    reference = target_named(target).reference
    write_reference(fit_reference(np.array(features)), out / f"{reference}.json")
    write_grades(_grades(volumes), out / f"{reference}-grades.json")
    write_card(
        out,
        {
            "schema": 1,
            "name": WEIGHTS_NAME,
            "version": "1.0.0",
            "kind": "image_qc",
            "labels": [],
            "needs_region": False,
            "purpose": "Says how unlike the training images of a pipeline an image is; other rules need no weights.",
            "data": "Medical Segmentation Decathlon Task04 Hippocampus (Simpson et al. 2019, arXiv 1902.09063), "
            "CC BY-SA 4.0: means and covariance of 13 features, and models of simulated artefacts; no voxels.",
            "limits": "Artefacts are simulated: how well real ones are graded has not been measured.",
            "training": {"split": str(Split.TRAIN), "images": len(features)},
            "claim": "Research reference model. No clinical claim is made.",
        },
    )
    return out


def _grades(volumes: Sequence[Volume]) -> GradeModel:
    features, artefacts, severe = [], [], []
    for seed, volume in enumerate(volumes):
        for made, artefact, severity in _degraded(volume, np.random.default_rng(seed)):
            described = texture_features(made)
            if described is not None:
                features.append(described)
                artefacts.append(artefact)
                severe.append(severity > _SEVERE[0] - 1e-9)
    return fit_grades(np.array(features), artefacts, np.array(severe))


def _degraded(volume: Volume, random: np.random.Generator) -> Iterator[tuple[Volume, str, float]]:
    yield volume, "", 0.0
    for artefact in Artefact:
        for low, high in (_MILD, _SEVERE):
            severity = float(random.uniform(low, high))
            yield degrade(volume, artefact, severity, random), str(artefact), severity
