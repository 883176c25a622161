"""Fit the reference of image QC: what images of the training patients look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.card import write_card
from models.errors import UnusableVolume
from models.image_qc.likeness import WEIGHTS_NAME, features_of, fit_reference, write_reference
from models.image_qc.targets import target_named
from models.nifti import read_nifti
from models.split import Split, split_patients


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
    found = (features_of(read_nifti(data / "images" / f"{name}.nii.gz")) for name in names)
    features = [one for one in found if one is not None]
    if not features:
        raise UnusableVolume("the folder holds no usable image of the train split")
    write_reference(fit_reference(np.array(features)), out / f"{target_named(target).reference}.json")
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
            "CC BY-SA 4.0: means and covariance of 13 features, no voxels.",
            "training": {"split": str(Split.TRAIN), "images": len(features)},
            "claim": "Research reference model. No clinical claim is made.",
        },
    )
    return out
