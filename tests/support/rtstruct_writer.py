"""Structure sets as planning systems write them: contours of masks in every style that readers must take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_sr.rtstruct_read import RT_STRUCTURE_SET_STORAGE
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid

Mask = npt.NDArray[np.bool_]
#: Closed polygon as corners (y, x) in voxel indices.
Loop = list[tuple[float, float]]


def cracks(plane: Mask) -> list[Loop]:
    """Walk the borders between voxels inside and outside: outer borders and holes, corners at half indices."""
    follows: dict[tuple[int, int], list[tuple[int, int]]] = {}
    padded = np.pad(plane, 1)
    for y, x in np.argwhere(padded):
        corners = [(y, x), (y, x + 1), (y + 1, x + 1), (y + 1, x)]
        beyond = [(y - 1, x), (y, x + 1), (y + 1, x), (y, x - 1)]
        for place, neighbour in enumerate(beyond):
            if not padded[neighbour]:
                follows.setdefault(corners[place], []).append(corners[(place + 1) % 4])
    loops = []
    while follows:
        start = here = next(iter(follows))
        loop: Loop = []
        while True:
            loop.append((float(here[0]) - 1.5, float(here[1]) - 1.5))
            targets = follows[here]
            following = targets.pop()
            if not targets:
                del follows[here]
            here = following
            if here == start:
                break
        loops.append(loop)
    return loops


def runs(plane: Mask) -> list[Loop]:
    """Cover the voxels by polygons through voxel centres: one point or line for each run of a row."""
    found: list[Loop] = []
    for y, row in enumerate(plane):
        bounds = np.flatnonzero(np.diff(np.pad(row.astype(np.int8), 1)))
        found += [[(float(y), float(a)), (float(y), float(b - 1))] for a, b in bounds.reshape(-1, 2)]
    return found


@dataclass(frozen=True, kw_only=True)
class Style:
    """Habits of a planning system.

    Parameters
    ----------
    trace : callable
        Makes the contours of one plane.
    kind : str
        Contour Geometric Type.
    decimals : int
        Of each coordinate, mm.
    draws_on : callable
        Whether a plane is contoured.
    cites : callable
        The plane whose image a contour on plane z cites.
    lifted_mm : float
        How far contours lie off their plane.
    """

    trace: Callable[[Mask], Iterable[Loop]] = cracks
    kind: str = "CLOSED_PLANAR"
    decimals: int = 4
    draws_on: Callable[[int], bool] = lambda _z: True
    cites: Callable[[int], int] = lambda z: z
    lifted_mm: float = 0.0


def write_structure_set(
    source: SourceSeries,
    masks: Mapping[str, Mask],
    style: Style = Style(),
    *,
    change: Callable[[Dataset], None] = lambda _ds: None,
    name: str = "structure set",
) -> bytes:
    """Write the contours of masks, (z, y, x), by region name."""
    assert source.grid is not None
    regions, contoured = [], []
    for number, (label, mask) in enumerate(masks.items(), start=1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, label
        region.ReferencedFrameOfReferenceUID = source.frame_of_reference_uid
        region.ROIGenerationAlgorithm = "MANUAL"
        regions.append(region)
        drawn.ContourSequence = [
            _contour(source, z, loop, style)
            for z in range(source.grid.shape[0])
            if mask[z].any() and style.draws_on(z)
            for loop in style.trace(mask[z])
        ]
        drawn.ReferencedROINumber = number
        contoured.append(drawn)
    ds = _header(source, name)
    ds.StructureSetROISequence, ds.ROIContourSequence = regions, contoured
    change(ds)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _contour(source: SourceSeries, z: int, loop: Loop, style: Style) -> Dataset:
    grid = source.grid
    assert grid is not None
    index = np.array([(z, y, x, 1.0) for y, x in loop])
    normal = grid.affine[:3, 0] / grid.spacing[0]
    points = (grid.affine @ index.T)[:3].T + style.lifted_mm * normal
    contour, image = Dataset(), Dataset()
    cited = source.slices[style.cites(z)]
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = cited.sop_class_uid, cited.sop_instance_uid
    contour.ContourImageSequence = [image]
    contour.ContourGeometricType = style.kind
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.{style.decimals}f}" for value in points.ravel()]
    return contour


def _header(source: SourceSeries, name: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RT_STRUCTURE_SET_STORAGE
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derive_uid(name, source.series_instance_uid)
    ds.StudyInstanceUID, ds.PatientID = source.study_instance_uid, source.patient_id
    ds.SeriesInstanceUID = derive_uid(name, "series", source.series_instance_uid)
    ds.Modality, ds.StructureSetLabel = "RTSTRUCT", "PLAN"
    ds.Manufacturer, ds.ManufacturerModelName = "Planning", "System"
    ds.ReferencedFrameOfReferenceSequence = [_listed(source)]
    return ds


def _listed(source: SourceSeries) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.series_instance_uid
    series.ContourImageSequence = _images(source)
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = source.study_instance_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _images(source: SourceSeries) -> Sequence[Dataset]:
    found = []
    for header in source.headers:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        found.append(image)
    return found
