"""Read a structure set (RT Structure Set): its regions of interest, their contours and every reference it makes.

Contours are points in the patient frame; what they mean on a voxel grid is decided by `rtstruct_raster`. The contours
of a planning study are tens of megabytes of decimal text in thousands of items, so they are walked as bytes.

References
----------
PS3.3 A.19 (RT Structure Set IOD), C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from dicom_sr.header import items, number, text
from dicom_sr.seg_bytes import collect_items
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg, refusing
from dicom_sr.seg_header import DeclaredSegment
from dicom_sr.seg_open import open_seg, parse_seg

RT_STRUCTURE_SET_STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
#: Contours may enclose an area; the second kind says that contours on one plane are combined by exclusive or.
CLOSED_PLANAR, CLOSED_PLANAR_XOR = "CLOSED_PLANAR", "CLOSEDPLANAR_XOR"

#: Largest encoded ROI Contour Sequence, and most contours in it; a whole-body plan has about 20 MB in 20,000 contours.
MAX_CONTOUR_BYTES = 64 * 1024 * 1024
MAX_CONTOURS = 200_000
MAX_REGIONS = 10_000

_ROI_CONTOURS = 0x30060039
_CONTOURS = 0x30060040
_CONTOUR_IMAGES = 0x30060016
_GEOMETRIC_TYPE = 0x30060042
_CONTOUR_DATA = 0x30060050
_REFERENCED_ROI = 0x30060084
_SOP_INSTANCE = 0x00081155

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contour:
    """One contour (an item of Contour Sequence, PS3.3 C.8.8.6.1).

    Parameters
    ----------
    geometric_type : str
        Contour Geometric Type: POINT, OPEN_PLANAR, CLOSED_PLANAR, CLOSEDPLANAR_XOR ...; empty when absent.
    points : numpy.ndarray, (point, 3), float64
        Patient coordinates, LPS mm.
    image_uids : tuple of str
        SOP Instance UIDs of the images it was drawn on; may be empty.
    """

    geometric_type: str
    points: Points
    image_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """One region of interest.

    Parameters
    ----------
    number : int
        ROI Number.
    name : str
        ROI Name, stripped.
    frame_of_reference_uid : str
        Referenced Frame of Reference UID; empty when absent.
    contours : tuple of Contour
        In the order of Contour Sequence; empty for a region that nobody drew.
    """

    number: int
    name: str = field(repr=False)
    frame_of_reference_uid: str
    contours: tuple[Contour, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureSet:
    """A structure set.

    Parameters
    ----------
    sop_instance_uid, series_instance_uid, study_instance_uid, patient_id : str
        Identity; empty when absent.
    regions : tuple of Region
        In the order of Structure Set ROI Sequence.
    listed_image_uids : frozenset of str
        Images that Referenced Frame of Reference Sequence names.
    manufacturer, model_name, software_versions : str
        The equipment that wrote it.
    """

    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    patient_id: str = field(repr=False)
    regions: tuple[Region, ...]
    listed_image_uids: frozenset[str] = frozenset()
    manufacturer: str = ""
    model_name: str = ""
    software_versions: str = ""

    @property
    def referenced_sop_instance_uids(self) -> frozenset[str]:
        """Every image it cites, in its list or at a contour."""
        drawn_on = {uid for region in self.regions for contour in region.contours for uid in contour.image_uids}
        return self.listed_image_uids | drawn_on

    @property
    def frame_of_reference_uid(self) -> str:
        """The frame of reference of all its regions; empty when they differ or name none."""
        frames = {region.frame_of_reference_uid for region in self.regions}
        return frames.pop() if len(frames) == 1 else ""

    @property
    def foreground(self) -> tuple[DeclaredSegment, ...]:
        """Its regions as declared segments: a name is the only thing that tells a region."""
        return tuple(DeclaredSegment(number=region.number, label=region.name) for region in self.regions)

    def region(self, roi_number: int) -> Region:
        """Return the region with this ROI Number, the first where a writer used it twice."""
        return next(region for region in self.regions if region.number == roi_number)


def open_structure_set(path: Path) -> StructureSet:
    """Read a structure set from a file.

    Parameters
    ----------
    path : pathlib.Path
        A DICOM file.

    Returns
    -------
    StructureSet

    Raises
    ------
    UnreadableSeg
        If it is no structure set, is broken, or larger than any this reads.
    OSError
        If the file itself cannot be read.
    """
    return read_structure_set(open_seg(path))


def parse_structure_set(data: bytes) -> StructureSet:
    """Read a structure set from the bytes of a DICOM file; see `open_structure_set`."""
    return read_structure_set(parse_seg(data))


def read_structure_set(ds: Dataset) -> StructureSet:
    """Read a structure set from a dataset of `seg_open`; see `open_structure_set`."""
    with refusing(UnreadableReason.BROKEN_STRUCTURE, "the structure set cannot be read"):
        if text(ds, "SOPClassUID") != RT_STRUCTURE_SET_STORAGE:
            raise UnreadableSeg(UnreadableReason.NOT_A_SEGMENTATION, "the SOP Class is not that of a structure set")
        drawn = _drawn(ds)
        regions = []
        for item in items(ds, "StructureSetROISequence"):
            declared = number(item, "ROINumber")
            roi_number = -1 if declared is None else int(declared)
            regions.append(
                Region(
                    number=roi_number,
                    name=text(item, "ROIName"),
                    frame_of_reference_uid=text(item, "ReferencedFrameOfReferenceUID"),
                    contours=tuple(drawn.pop(roi_number, ())),
                )
            )
        if drawn:
            raise UnreadableSeg(UnreadableReason.BROKEN_STRUCTURE, "contours belong to a region that is not declared")
        return StructureSet(
            sop_instance_uid=text(ds, "SOPInstanceUID"),
            series_instance_uid=text(ds, "SeriesInstanceUID"),
            study_instance_uid=text(ds, "StudyInstanceUID"),
            patient_id=text(ds, "PatientID"),
            regions=tuple(regions),
            listed_image_uids=frozenset(_listed_images(ds)),
            manufacturer=text(ds, "Manufacturer"),
            model_name=text(ds, "ManufacturerModelName"),
            software_versions=text(ds, "SoftwareVersions"),
        )


def _listed_images(ds: Dataset) -> Iterator[str]:
    for frame in items(ds, "ReferencedFrameOfReferenceSequence"):
        for study in items(frame, "RTReferencedStudySequence"):
            for series in items(study, "RTReferencedSeriesSequence"):
                for image in items(series, "ContourImageSequence"):
                    uid = text(image, "ReferencedSOPInstanceUID")
                    if uid:
                        yield uid


def _drawn(ds: Dataset) -> dict[int, list[Contour]]:
    """Return the contours by ROI Number."""
    if BaseTag(_ROI_CONTOURS) not in ds:
        return {}
    element = ds.get_item(BaseTag(_ROI_CONTOURS))
    if not isinstance(element, RawDataElement):
        raise UnreadableSeg(UnreadableReason.BROKEN_STRUCTURE, "the contours are not encoded")
    encoded, explicit = element.value or b"", not element.is_implicit_VR
    if len(encoded) > MAX_CONTOUR_BYTES:
        raise _too_large("contours")
    drawn: dict[int, list[Contour]] = {}
    count = 0
    leaves = frozenset({_CONTOURS, _REFERENCED_ROI})
    for place, found in enumerate(collect_items(encoded, explicit=explicit, sequences=frozenset(), leaves=leaves)):
        if place >= MAX_REGIONS:
            raise _too_large("regions")
        values = dict(found)
        contours = drawn.setdefault(_whole_number(values.get(_REFERENCED_ROI, b"")), [])
        for contour in _contours(values.get(_CONTOURS, b""), explicit=explicit):
            contours.append(contour)
            count += 1
            if count > MAX_CONTOURS:
                raise _too_large("contours")
    return drawn


def _contours(encoded: bytes, *, explicit: bool) -> Iterator[Contour]:
    sequences, leaves = frozenset({_CONTOUR_IMAGES}), frozenset({_GEOMETRIC_TYPE, _CONTOUR_DATA, _SOP_INSTANCE})
    for found in collect_items(encoded, explicit=explicit, sequences=sequences, leaves=leaves):
        values = dict(found)
        yield Contour(
            geometric_type=_text(values.get(_GEOMETRIC_TYPE, b"")).upper(),
            points=_points(values.get(_CONTOUR_DATA, b"")),
            image_uids=tuple(_text(value) for tag, value in found if tag == _SOP_INSTANCE and _text(value)),
        )


def _points(value: bytes) -> Points:
    """Decode Contour Data: triplets of decimal strings."""
    texts = value.rstrip(b" \0")
    coordinates = np.array([float(part) for part in texts.split(b"\\")] if texts else [], np.float64)
    if coordinates.size % 3 or not np.isfinite(coordinates).all():
        raise UnreadableSeg(UnreadableReason.BROKEN_STRUCTURE, "Contour Data (3006,0050) is not made of points")
    return coordinates.reshape(-1, 3)


def _whole_number(value: bytes) -> int:
    try:
        return int(_text(value))
    except ValueError:
        return -1


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip(" \0")


def _too_large(what: str) -> UnreadableSeg:
    return UnreadableSeg(UnreadableReason.TOO_LARGE, f"there are more {what} than any structure set this reads")
