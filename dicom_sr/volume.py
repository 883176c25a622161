"""The voxel grid in the patient frame, and images on it.

Index order is (z, y, x) = (slice, row, column) everywhere; patient coordinates are LPS millimetres
(PS3.3 C.7.6.2.1.1: +x left, +y posterior, +z head for a supine head-first patient).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_sr.errors import GeometryMismatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A regular voxel grid placed in the patient frame.

    Parameters
    ----------
    shape : tuple of int, (z, y, x)
        Slices, rows, columns.
    affine : numpy.ndarray, (4, 4), float64
        Maps a homogeneous voxel index (z, y, x, 1) to patient coordinates (x, y, z, 1), LPS, mm.
    frame_of_reference_uid : str
        Frame of Reference UID; empty when the source has none (NIfTI).
    """

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    frame_of_reference_uid: str = ""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (z, y, x), mm."""
        z, y, x = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def image_orientation_patient(self) -> tuple[float, ...]:
        """Direction cosines of a row then of a column, as Image Orientation (Patient) (0020,0037)."""
        spacing = self.spacing
        along_row = self.affine[:3, 2] / spacing[2]
        along_column = self.affine[:3, 1] / spacing[1]
        return tuple(float(v) for v in (*along_row, *along_column))

    def image_position_patient(self, z: int) -> tuple[float, float, float]:
        """Centre of the first voxel of slice `z`, LPS mm, as Image Position (Patient) (0020,0032)."""
        x_, y_, z_ = (float(v) for v in (self.affine @ np.array([z, 0, 0, 1.0]))[:3])
        return x_, y_, z_

    def is_same_as(self, other: Grid, *, tolerance_mm: float = 1e-2) -> bool:
        """Whether both grids put every voxel at the same place, to `tolerance_mm` at the corners."""
        if self.shape != other.shape:
            return False
        if self.frame_of_reference_uid and other.frame_of_reference_uid:
            if self.frame_of_reference_uid != other.frame_of_reference_uid:
                return False
        return bool(np.abs(_corners(self) - _corners(other)).max() <= tolerance_mm)

    def digest(self) -> str:
        """SHA-256 (hex) of shape and placement, rounded to 1e-4 mm; the Frame of Reference UID does not count."""
        rounded = np.round(self.affine, 4) + 0.0
        return hashlib.sha256(repr(self.shape).encode() + rounded.astype("<f8").tobytes()).hexdigest()


def _corners(grid: Grid) -> npt.NDArray[np.float64]:
    z, y, x = (n - 1 for n in grid.shape)
    index = np.array([[a, b, c, 1.0] for a in (0, z) for b in (0, y) for c in (0, x)])
    corners: npt.NDArray[np.float64] = (grid.affine @ index.T)[:3]
    return corners


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A scalar image on a grid.

    Parameters
    ----------
    grid : Grid
        Where the voxels are.
    voxels : numpy.ndarray, (z, y, x), float32
        Rescaled values: HU for CT, arbitrary units for MR.
    modality : str
        Modality (0008,0060).

    Raises
    ------
    GeometryMismatch
        If `voxels` does not have the grid's shape.
    """

    grid: Grid
    voxels: npt.NDArray[np.float32]
    modality: str

    def __post_init__(self) -> None:
        if self.voxels.shape != self.grid.shape:
            raise GeometryMismatch(f"voxels of shape {self.voxels.shape} on a grid of shape {self.grid.shape}")

    def digest(self) -> str:
        """SHA-256 (hex) of pixels, geometry and modality: no UIDs, no times, nothing of the patient."""
        digest = hashlib.sha256(self.grid.digest().encode())
        digest.update(self.modality.encode())
        digest.update(np.ascontiguousarray(self.voxels, dtype="<f4").data)
        return digest.hexdigest()
