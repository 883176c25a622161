"""The source series of a segmentation as other modules need it: identity and geometry, header datasets, no pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydicom.dataset import Dataset

from dicom_sr.acquisition import Acquisition, SeriesDefect
from dicom_sr.volume import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSlice:
    """One plane of the source: the instance that holds it and the frame in it.

    Parameters
    ----------
    sop_instance_uid, sop_class_uid : str
        The instance.
    frame_number : int or None
        1-based frame of a multi-frame instance, None for a single-frame instance.
    image_position : tuple of float, (x, y, z) or None
        Image Position (Patient) exactly as the source states it, LPS mm; None where only the grid knows it.
    """

    sop_instance_uid: str
    sop_class_uid: str
    frame_number: int | None = None
    image_position: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceSeries:
    """One image series, its slices ordered along the slice normal so that index z of the grid is slice z.

    Parameters
    ----------
    study_instance_uid, series_instance_uid, frame_of_reference_uid, patient_id : str
        Identity; empty when absent.
    grid : Grid or None
        Voxel grid; None when `acquisition.defects` says why there is none.
    slices : tuple of SourceSlice
        Slice z of the grid; empty when there is no grid.
    headers : tuple of pydicom.Dataset
        One dataset an instance, without Pixel Data, in the order of their first slice.
    acquisition : Acquisition
        Technical facts and defects, free of patient data.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    patient_id: str
    grid: Grid | None
    slices: tuple[SourceSlice, ...]
    headers: tuple[Dataset, ...]
    acquisition: Acquisition

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        """SOP Instance UIDs of every instance of the series."""
        return frozenset(str(header.SOPInstanceUID) for header in self.headers)

    def with_undecodable_pixels(self) -> SourceSeries:
        """Return the series with the defect that its pixels cannot be decoded."""
        defects = (*self.acquisition.defects, SeriesDefect.UNDECODABLE_PIXELS)
        return replace(self, acquisition=replace(self.acquisition, defects=defects))
