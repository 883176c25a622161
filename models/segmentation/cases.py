"""Images with expert labels, read once and kept in memory for training and evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dicom_sr.volume import Volume
from models.errors import UnusableVolume
from models.nifti import read_nifti, read_nifti_labels
from models.preprocess import PreprocessPlan, prepare
from models.segmentation.task import Task


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledVolume:
    """An image and its expert label map on the same grid.

    Parameters
    ----------
    name : str
        Case name, as in the file names.
    volume : Volume
        Image.
    expert : numpy.ndarray, (z, y, x), uint16
        Values as the experts gave them.
    """

    name: str
    volume: Volume
    expert: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingCase:
    """A prepared image (1, z, y, x) and its truth as one-hot (class, z, y, x), background first; float32."""

    name: str
    image: torch.Tensor
    one_hot: torch.Tensor


def case_names(folder: Path) -> tuple[str, ...]:
    """Return the names of all cases in `folder` (``images/NAME.nii.gz`` with ``labels/NAME.nii.gz``), ascending.

    Raises
    ------
    UnusableVolume
        If there is none.
    """
    labelled = {path.name for path in (folder / "labels").glob("*.nii.gz")}
    names = sorted(p.name.removesuffix(".nii.gz") for p in (folder / "images").glob("*.nii.gz") if p.name in labelled)
    if not names:
        raise UnusableVolume("the folder holds no pair images/NAME.nii.gz, labels/NAME.nii.gz")
    return tuple(names)


def read_cases(folder: Path, names: Iterable[str]) -> Iterator[LabelledVolume]:
    """Read cases by name.

    Raises
    ------
    UnusableVolume
        If a file is unreadable, or an image and its labels differ in shape.
    """
    for name in names:
        volume = read_nifti(folder / "images" / f"{name}.nii.gz")
        _, expert = read_nifti_labels(folder / "labels" / f"{name}.nii.gz")
        if expert.shape != volume.grid.shape:
            raise UnusableVolume("an image and its label map differ in shape")
        yield LabelledVolume(name=name, volume=volume, expert=expert)


def training_case(case: LabelledVolume, task: Task, plan: PreprocessPlan) -> TrainingCase:
    """Prepare one case for training by the same preprocessing that inference uses."""
    prepared = prepare(case.volume, plan)
    truth = task.truth(case.expert)
    values = range(len(task.labels) + 1)
    one_hot = np.stack([prepared.apply((truth == value).astype(np.uint8)) for value in values])
    return TrainingCase(
        name=case.name,
        image=torch.from_numpy(prepared.voxels.copy())[None],
        one_hot=torch.from_numpy(one_hot),
    )
