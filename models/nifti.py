"""NIfTI files in and out, in this product's frame: index (z, y, x), LPS millimetres.

A NIfTI index is (x, y, z) in RAS, so both the axis order and two signs change. The result equals what reading the same
image from DICOM gives, up to the order in which slices are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from dicom_sr.volume import Grid, Volume
from models.errors import UnusableVolume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_REVERSE_INDEX = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def read_nifti(path: Path, *, modality: str = "MR") -> Volume:
    """Read a 3-D NIfTI image.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``.
    modality : str
        Modality to state; NIfTI carries none.

    Returns
    -------
    Volume
        Voxels (z, y, x), float32, scaled as the header says; grid in LPS mm without a frame of reference.

    Raises
    ------
    UnusableVolume
        If the file is not a 3-D NIfTI image.
    """
    grid, voxels = _read(path)
    return Volume(grid=grid, voxels=voxels.astype(np.float32), modality=modality)


def read_nifti_labels(path: Path) -> tuple[Grid, npt.NDArray[np.uint16]]:
    """Read a 3-D NIfTI label map; returns its grid and labels (z, y, x).

    Raises
    ------
    UnusableVolume
        If the file is not a 3-D NIfTI image, or a value is not an integer in 0..65535.
    """
    grid, values = _read(path)
    rounded = np.round(values)
    if not np.isfinite(values).all() or np.abs(values - rounded).max(initial=0) > 1e-3:
        raise UnusableVolume("a label map holds values that are not integers")
    if rounded.min(initial=0) < 0 or rounded.max(initial=0) > 65535:
        raise UnusableVolume("a label map holds values outside 0..65535")
    return grid, rounded.astype(np.uint16)


def write_nifti(path: Path, grid: Grid, values: npt.NDArray[np.generic]) -> None:
    """Write voxels or labels (z, y, x) on `grid` as NIfTI; booleans become uint8.

    Parameters
    ----------
    path : Path
        Ends in ``.nii`` or ``.nii.gz``.
    grid : Grid
        Where the voxels are.
    values : numpy.ndarray, (z, y, x)
        Any dtype NIfTI knows.
    """
    affine = _RAS_TO_LPS @ grid.affine @ _REVERSE_INDEX
    stored = values.astype(np.uint8) if values.dtype == np.bool_ else values
    image = nib.Nifti1Image(np.ascontiguousarray(stored.transpose(2, 1, 0)), affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    nib.save(image, path)


def _read(path: Path) -> tuple[Grid, npt.NDArray[np.float64]]:
    try:
        image: Any = nib.load(path)
        values = np.asarray(image.dataobj, dtype=np.float64)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
        raise UnusableVolume("the file is not a readable NIfTI image") from error
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise UnusableVolume(f"a 3-D image is needed; this one has {values.ndim} dimensions")
    voxels = np.ascontiguousarray(values.transpose(2, 1, 0))
    depth, height, width = voxels.shape
    return grid_of_ras(np.asarray(image.affine, dtype=np.float64), (depth, height, width)), voxels


def grid_of_ras(affine: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> Grid:
    """Build a grid from a NIfTI affine.

    Parameters
    ----------
    affine : numpy.ndarray, (4, 4)
        Maps a voxel index (x, y, z, 1) to RAS mm.
    shape : tuple of int, (z, y, x)
        Shape of the grid, in our axis order.
    """
    return Grid(shape=shape, affine=_RAS_TO_LPS @ affine @ _REVERSE_INDEX)
