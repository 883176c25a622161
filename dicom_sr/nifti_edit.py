"""Read a NIfTI label map as an edit: ITK-SNAP and other tools write nothing else.

A NIfTI file names no patient, no study and no segment, so it is taken only where the request names case and stage. What
can be checked is checked: the file must put every voxel where the source grid has one (in any axis order and direction;
voxels are moved, never interpolated), and every label must be declared.

References
----------
NIfTI-1 (Cox et al. 2004); coordinates RAS there, LPS here
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError

from dicom_sr.errors import GeometryMismatch, UndeclaredLabel, UnreadableObject
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.volume import Grid

#: A grid corner of the file may lie this far from one of the source, mm; NIfTI keeps its affine in single precision.
CORNER_TOLERANCE_MM = 0.05
#: What nibabel raises on bytes it cannot read.
_READER_FAILURES = (
    *(ImageFileError, HeaderDataError, WrapStructError),
    *(ValueError, OSError, EOFError, OverflowError, TypeError, KeyError, MemoryError),
)
#: Bytes of a decompressed file beyond which it is refused before it is unpacked.
LARGEST_FILE = 1 << 30
#: Segment Number is an unsigned short.
LARGEST_LABEL = 65_535
#: Bytes of the largest number that a voxel can be, and room for the header and what extends it.
LARGEST_VOXEL, LARGEST_HEADER = 16, 1 << 20

Labels = npt.NDArray[np.uint16]


def read_nifti_edit(content: bytes, grid: Grid, segments: Sequence[Segment]) -> Segmentation:
    """Read a label map onto the grid of its source.

    Parameters
    ----------
    content : bytes
        A NIfTI-1 or NIfTI-2 file of one part, gzip compressed or not: three axes (a fourth of length one is allowed),
        integer labels.
    grid : Grid
        Grid of the source series.
    segments : sequence of Segment
        Segments of the stage; the label of a voxel is its Segment Number, 0 is background.

    Returns
    -------
    Segmentation
        On `grid`, with `segments` in their order.

    Raises
    ------
    UnreadableObject
        If the bytes are no such file, are cut, too large, or hold values that are not whole numbers.
    GeometryMismatch
        If the file's voxels do not coincide with the grid's.
    UndeclaredLabel
        If a value other than 0 is no Segment Number.
    """
    image = _open(_decompressed(content, grid))
    affine = np.asarray(image.affine, np.float64)
    placement = _placement(_volume_shape(image.shape), affine, grid)
    placed = placement.moved(_labels(image))
    strangers = np.setdiff1d(placed, [0, *(segment.number for segment in segments)])
    if len(strangers):
        raise UndeclaredLabel(f"{len(strangers)} label values of the file are no segment of the stage")
    return Segmentation.from_labelmap(grid, placed, segments)


def _decompressed(content: bytes, grid: Grid) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    most = min(LARGEST_FILE, LARGEST_VOXEL * math.prod(grid.shape) + LARGEST_HEADER)
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        unpacked = unpacker.decompress(content, most)
    except zlib.error as error:
        raise UnreadableObject("the compressed file is damaged") from error
    if unpacker.unconsumed_tail and most < LARGEST_FILE:
        raise GeometryMismatch("the file unpacks to more voxels than the source series has")
    if unpacker.unconsumed_tail:
        raise UnreadableObject("the file unpacks to more than a gigabyte")
    if not unpacker.eof:
        raise UnreadableObject("the compressed file is cut off")
    return unpacked


def _open(content: bytes) -> SpatialImage:
    """Read the header; nothing of its size is allocated."""
    kind = nib.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    try:
        with np.errstate(all="ignore"):
            image: SpatialImage = kind.from_bytes(content)
    except _READER_FAILURES as error:
        raise _no_image() from error
    return image


def _volume_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3 or not math.prod(shape):
        raise UnreadableObject("a label map has three axes and one number a voxel")
    return shape[0], shape[1], shape[2]


def _labels(image: SpatialImage) -> Labels:
    """Return the labels (x, y, z) as whole numbers."""
    try:
        with np.errstate(all="ignore"):
            values = np.asanyarray(image.dataobj)
    except _READER_FAILURES as error:
        raise _no_image() from error
    if values.ndim == 4:
        values = values[..., 0]
    if values.dtype.kind not in "iuf":
        raise UnreadableObject("a label map has three axes and one number a voxel")
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (np.rint(values) == values).all()):
        raise UnreadableObject("the file holds values that are not whole numbers: it is no label map")
    if values.min() < 0 or values.max() > LARGEST_LABEL:
        raise UndeclaredLabel("the file holds label values that no segment can have")
    return values.astype(np.uint16)


def _no_image() -> UnreadableObject:
    return UnreadableObject("the file is no NIfTI image, or it is cut off")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """How the axes of a file become those of the grid, (z, y, x)."""

    order: tuple[int, ...]
    flipped: tuple[int, ...]

    def moved(self, labels: Labels) -> Labels:
        """Permute and flip the axes; no voxel is interpolated."""
        return np.flip(labels.transpose(self.order), self.flipped)


def _placement(shape: tuple[int, int, int], affine: npt.NDArray[np.float64], grid: Grid) -> _Placement:
    """Find how a file of this shape and affine (to RAS mm) lies on the grid."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    if not np.isfinite(lps).all() or abs(np.linalg.det(lps[:3, :3])) < 1e-12:
        raise GeometryMismatch("the file does not say where its voxels are")
    index_of = np.linalg.inv(grid.affine) @ lps  # index in the file to index in the grid
    axes = np.argmax(np.abs(index_of[:3, :3]), axis=0)  # grid axis of each file axis
    if sorted(axes) != [0, 1, 2]:
        raise GeometryMismatch("the axes of the file are not those of the source series")
    order = tuple(int(axis) for axis in np.argsort(axes))
    if tuple(shape[axis] for axis in order) != grid.shape or not _corners_meet(lps, shape, grid):
        raise GeometryMismatch("the voxels of the file are not those of the source series")
    return _Placement(order=order, flipped=tuple(axis for axis in range(3) if index_of[axis, order[axis]] < 0))


def _corners_meet(lps: npt.NDArray[np.float64], shape: tuple[int, ...], grid: Grid) -> bool:
    own, other = _corners(lps, shape), _corners(grid.affine, grid.shape)
    distances = np.linalg.norm(own[:, None] - other[None], axis=2)
    return bool(distances.min(axis=1).max() <= CORNER_TOLERANCE_MM)


def _corners(affine: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    index = np.array([[a, b, c, 1] for a in (0, shape[0] - 1) for b in (0, shape[1] - 1) for c in (0, shape[2] - 1)])
    corners: npt.NDArray[np.float64] = (affine @ index.T)[:3].T
    return corners
