"""Write image series as a scanner would, regular or broken on purpose; every value is deterministic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from dicom_sr.uids import derive_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

#: A clinical trial subject, study and series as an imaging core labels them.
TRIAL = {
    "ClinicalTrialSponsorName": "Sponsor",
    "ClinicalTrialProtocolID": "PROTO-7",
    "ClinicalTrialProtocolName": "Protocol seven",
    "ClinicalTrialSiteID": "0012",
    "ClinicalTrialSiteName": "Site twelve",
    "ClinicalTrialSubjectID": "0012-0034",
    "ClinicalTrialTimePointID": "V02",
    "ClinicalTrialTimePointDescription": "Week 12",
    "ClinicalTrialCoordinatingCenterName": "Core lab",
    "ClinicalTrialSeriesID": "S1",
}


def oblique(degrees_x: float, degrees_z: float) -> tuple[float, ...]:
    """Orientation of an axial stack turned about x then z."""
    a, b = np.radians([degrees_x, degrees_z])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turned = about_z @ about_x
    return tuple(float(v) for v in (*turned[:, 0], *turned[:, 1]))


@dataclass(frozen=True, kw_only=True)
class _Series:
    """What all instances of one series share."""

    seed: str
    study: str
    modality: str
    orientation: tuple[float, ...]
    spacing: tuple[float, float, float]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        return np.cross(self.orientation[:3], self.orientation[3:])


def phantom(shape: tuple[int, int, int]) -> npt.NDArray[np.int16]:
    """A bright ellipsoid on a ramp: no two slices are alike and no axis can be flipped unnoticed."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = (z / 0.8) ** 2 + (y / 0.7) ** 2 + (x / 0.6) ** 2 < 1
    ramp = 100 + 40 * z + 20 * y + 10 * x
    return np.round(ramp + 200 * inside).astype(np.int16)


def make_mr_series(
    folder: Path,
    *,
    shape: tuple[int, int, int] = (24, 32, 32),
    spacing: tuple[float, float, float] = (3.0, 1.5, 1.25),
    origin: tuple[float, float, float] = (-20.0, -24.0, -30.0),
    orientation: Sequence[float] = AXIAL,
    descending: bool = False,
    gap_at: int | None = None,
    doubled_at: int | None = None,
    uneven: bool = False,
    jitter_mm: float = 0.0,
    tilt_mm: float = 0.0,
    multiframe: bool = False,
    modality: str = "MR",
    patient_id: str = "P0001",
    patient_name: str = "Test^Patient",
    seed: str = "series",
    study: str = "study",
    voxels: npt.NDArray[Any] | None = None,
    character_set: str | None = "ISO_IR 192",
    trial: bool = False,
    attributes: Mapping[str, Any] | None = None,
    by_slice: Mapping[int, Mapping[str, Any]] | None = None,
) -> list[Path]:
    """Write one series and return its files in file order (shuffle-proof names that say nothing about z).

    Parameters
    ----------
    folder : pathlib.Path
        Made if absent.
    shape, spacing : (z, y, x)
        Slices, rows, columns; mm between their centres.
    origin : (x, y, z)
        Centre of the first voxel of the lowest slice, LPS mm.
    orientation : six floats
        Direction cosines of a row, then of a column.
    descending : bool
        Instance 1 is the highest slice along the normal, and instance numbers have holes.
    gap_at, doubled_at : int or None
        Slice left out; slice written twice.
    uneven : bool
        The upper half of the slices lies 40 % of a step higher.
    jitter_mm : float
        Each second slice lies this much higher, as PET headers do.
    tilt_mm : float
        Each slice is shifted this much further along the columns, as a tilted gantry does.
    multiframe : bool
        One enhanced MR instance instead of one instance a slice.
    voxels : array, (z, y, x)
        Pixels; `phantom` without.
    character_set : str or None
        Specific Character Set; None declares none.
    attributes, by_slice : mapping
        Attributes set on every instance; on the instance of one slice.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pixels = phantom(shape) if voxels is None else voxels
    named = {"PatientID": patient_id, "PatientName": patient_name, **(TRIAL if trial else {}), **(attributes or {})}
    spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    series = _Series(
        seed=seed, study=study, modality=modality, orientation=tuple(orientation), spacing=spacing, attributes=named
    )
    heights = [z * spacing[0] for z in range(len(pixels))]
    if uneven:
        heights = [h + 0.4 * spacing[0] * (z >= len(pixels) // 2) for z, h in enumerate(heights)]
    heights = [h + jitter_mm * (z % 2) for z, h in enumerate(heights)]
    column = np.array(series.orientation[3:])
    positions = [np.array(origin) + h * series.normal + z * tilt_mm * column for z, h in enumerate(heights)]
    planes = [z for z in range(len(pixels)) if z != gap_at] + ([] if doubled_at is None else [doubled_at])
    if descending:
        planes.reverse()
    if multiframe:
        return [_write_multiframe(folder, series, pixels, positions, planes, character_set)]
    files = []
    for i, z in enumerate(planes):
        ds = _instance(series, number=2 * i + 5 if descending else i + 1, kind=f"{z}/{i}", character_set=character_set)
        ds.ImagePositionPatient = [format_number_as_ds(float(v)) for v in positions[z]]
        ds.ImageOrientationPatient = [format_number_as_ds(v) for v in series.orientation]
        ds.PixelSpacing = [format_number_as_ds(spacing[1]), format_number_as_ds(spacing[2])]
        ds.SliceThickness = format_number_as_ds(spacing[0])
        _set_pixels(ds, pixels[z])
        for keyword, value in {**series.attributes, **(by_slice or {}).get(z, {})}.items():
            setattr(ds, keyword, value)
        path = folder / f"IM{(i * 7919) % 10007:05d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def _instance(series: _Series, *, number: int, kind: str, character_set: str | None) -> Dataset:
    ds = Dataset()
    sop_class = {"MR": MRImageStorage, "CT": CTImageStorage}.get(series.modality, MRImageStorage)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID = derive_uid("instance", series.study, series.seed, kind)
    ds.StudyInstanceUID = derive_uid("study", series.study)
    ds.SeriesInstanceUID = derive_uid("series", series.study, series.seed)
    ds.FrameOfReferenceUID = derive_uid("frame of reference", series.study)
    ds.PositionReferenceIndicator = ""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"] if series.modality == "MR" else ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = series.modality
    ds.Manufacturer = "Scanner maker"
    ds.ManufacturerModelName = "Model one"
    ds.StudyDate, ds.StudyTime = "20250314", "101112"
    ds.SeriesDate, ds.SeriesTime = "20250314", "101512"
    ds.ContentDate, ds.ContentTime = "20250314", "101512"
    ds.StudyID, ds.AccessionNumber = "ST1", "A0001"
    ds.ReferringPhysicianName = ""
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.SeriesNumber, ds.InstanceNumber = 3, number
    ds.SeriesDescription = "T1 sagittal"
    ds.BodyPartExamined = "HEAD"
    ds.PatientPosition = "HFS"
    if series.modality == "MR":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "GR", "SP", "", "3D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.MagneticFieldStrength = "2300", "2.98", "1", "3"
    else:
        ds.KVP, ds.AcquisitionNumber = "120", 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "0", "HU"
    return ds


def _set_pixels(ds: Dataset, pixels: npt.NDArray[Any]) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.ascontiguousarray(pixels, "<i2").tobytes()


def _write_multiframe(
    folder: Path,
    series: _Series,
    pixels: npt.NDArray[Any],
    positions: Sequence[npt.NDArray[np.float64]],
    planes: Sequence[int],
    character_set: str | None,
) -> Path:
    ds = _instance(series, number=1, kind="multiframe", character_set=character_set)
    ds.SOPClassUID = EnhancedMRImageStorage
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.ContentDate, ds.ContentTime, ds.AcquisitionDateTime, ds.AcquisitionDuration = "20250314", "101512", "2025", 1.0
    ds.ContentQualification = "PRODUCT"
    ds.ResonantNucleus, ds.BurnedInAnnotation, ds.LossyImageCompression = "1H", "NO", "00"
    ds.PresentationLUTShape = "IDENTITY"
    _set_pixels(ds, pixels[list(planes)])
    ds.NumberOfFrames = len(planes)
    measures, orientation, timing = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [format_number_as_ds(v) for v in series.spacing[1:]]
    measures.SliceThickness = format_number_as_ds(series.spacing[0])
    orientation.ImageOrientationPatient = [format_number_as_ds(v) for v in series.orientation]
    timing.RepetitionTime = "2300"
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    shared.MRTimingAndRelatedParametersSequence = [timing]
    ds.SharedFunctionalGroupsSequence = [shared]
    uid = derive_uid("dimensions", series.seed)
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = uid
    index.DimensionOrganizationUID = uid
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], [index]
    groups = []
    for n, z in enumerate(planes, start=1):
        content, position, values, group = Dataset(), Dataset(), Dataset(), Dataset()
        content.DimensionIndexValues, content.InStackPositionNumber, content.StackID = [n], n, "1"
        position.ImagePositionPatient = [format_number_as_ds(float(v)) for v in positions[z]]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "1", "0", "US"
        group.FrameContentSequence, group.PlanePositionSequence = [content], [position]
        group.PixelValueTransformationSequence = [values]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    for keyword, value in series.attributes.items():
        setattr(ds, keyword, value)
    path = folder / "IM00001.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path
