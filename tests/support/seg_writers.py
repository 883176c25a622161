"""Segmentations as foreign writers leave them: every measured habit and fault of real editors, built on demand."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds

from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE, SegKind
from dicom_sr.seg_pixels import DEFLATED_IMAGE_FRAME
from dicom_sr.seg_read import SegContent, parse_seg, read_seg
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid

Pixels = npt.NDArray[Any]
Masks = Mapping[int, npt.NDArray[np.bool_]]

#: Implementation Class UID under which OHIF writes.
OHIF_IMPLEMENTATION = "2.25.270695996825855179949881587723571202391.2.0.0"
TISSUE = ("T-D0050", "SRT", "Tissue")
BRAIN = ("12738006", "SCT", "Brain")


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame: the slice its pixels belong to, and what its header claims instead where a writer errs."""

    plane: int
    pixels: Pixels
    number: int | None = None
    placed_on: int | None = None
    cites: int | None = None
    position: Sequence[float] | npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One item of Segment Sequence."""

    number: int
    label: str
    code: tuple[str, str, str] = TISSUE
    tracking: tuple[str, str] | None = None
    algorithm_type: str = "MANUAL"


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Habits of a writer.

    Parameters
    ----------
    kind, syntax : SegKind, str
        Form of the object.
    bits : int
        Bits Allocated; by kind when 0.
    pad_frames : bool
        Pads each BINARY frame to whole bytes, as cornerstone adapters do.
    spacing, orientation, cites_sources : bool
        Whether Pixel Spacing, Plane Orientation and Derivation Image are written.
    source_classes : bool
        Whether source images are cited with their SOP Class.
    orientation_per_frame, undefined_lengths : bool
        Plane Orientation in every frame too; sequences of undefined length, as dcmjs does both.
    flips : str
        Turns every frame: any of "r" (rows reversed), "c" (columns reversed), "t" (transposed), with a header to match.
    attributes : mapping
        Attributes set at last.
    """

    kind: SegKind = SegKind.BINARY
    syntax: str = ExplicitVRLittleEndian
    bits: int = 0
    pad_frames: bool = False
    spacing: bool = True
    orientation: bool = True
    cites_sources: bool = True
    orientation_per_frame: bool = False
    undefined_lengths: bool = False
    flips: str = ""
    source_classes: bool = False
    manufacturer: str = "Unspecified"
    implementation: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)


OHIF_LABELMAP = Writer(
    kind=SegKind.LABELMAP,
    syntax=RLELossless,
    orientation_per_frame=True,
    undefined_lengths=True,
    implementation=OHIF_IMPLEMENTATION,
    attributes={"SpecificCharacterSet": "ISO_IR 192", "SeriesDescription": "Research Derived series"},
)
OHIF_BITMAP = Writer(
    pad_frames=True,
    orientation_per_frame=True,
    undefined_lengths=True,
    implementation=OHIF_IMPLEMENTATION,
)
SLICER = Writer(
    source_classes=True,
    manufacturer="QIICR",
    attributes={"ManufacturerModelName": "https://github.com/QIICR/QuantitativeReporting.git"},
)
MITK = Writer(
    source_classes=True,
    manufacturer="MITK",
    attributes={"ManufacturerModelName": "MITK Workbench", "SoftwareVersions": "2025.08"},
)


def declare(*labels: str, first: int = 1) -> tuple[Declared, ...]:
    """Declare segments with these labels, numbered from `first`."""
    return tuple(Declared(number=first + i, label=label) for i, label in enumerate(labels))


def frames_of(masks: Masks, *, kind: SegKind = SegKind.BINARY, empty: bool = False) -> list[Frame]:
    """Cut masks by number, (z, y, x), into frames; label maps get a second frame where segments overlap."""
    if kind is SegKind.LABELMAP:
        return _label_frames(masks, empty=empty)
    return [
        Frame(plane=z, pixels=mask[z].astype(np.uint8), number=number)
        for number, mask in masks.items()
        for z in range(mask.shape[0])
        if empty or mask[z].any()
    ]


def _label_frames(masks: Masks, *, empty: bool) -> list[Frame]:
    shape = next(iter(masks.values())).shape
    frames = []
    for z in range(shape[0]):
        planes = [np.zeros(shape[1:], np.uint16)]
        for number, mask in masks.items():
            free = next((p for p in planes if not p[mask[z]].any()), None)
            if free is None:
                free = np.zeros(shape[1:], np.uint16)
                planes.append(free)
            free[mask[z]] = number
        frames += [Frame(plane=z, pixels=plane) for plane in planes if empty or plane.any()]
    return frames


def write_foreign(
    source: SourceSeries, declared: Sequence[Declared], frames: Sequence[Frame], writer: Writer | None = None
) -> bytes:
    """Write a segmentation of `source` as a file, with the habits of `writer`."""
    writer = writer or Writer()
    ds = _header(source, declared, writer)
    _set_groups(ds, source, frames, writer)
    _set_pixels(ds, frames, writer)
    for keyword, value in writer.attributes.items():
        setattr(ds, keyword, value)
    return file_bytes(ds)


def file_bytes(ds: Dataset) -> bytes:
    """Encode a dataset as a DICOM file."""
    buffer = BytesIO()
    wanted = ds.file_meta.TransferSyntaxUID
    if wanted == DEFLATED_IMAGE_FRAME:
        # pydicom 3.0.2 does not know this transfer syntax: write a stand-in of equal length, then put the right UID.
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.save_as(buffer, enforce_file_format=True)
    if wanted == DEFLATED_IMAGE_FRAME:
        return buffer.getvalue().replace(JPEGBaseline8Bit.encode(), DEFLATED_IMAGE_FRAME.encode() + b"\0", 1)
    return buffer.getvalue()


def read_foreign(
    source: SourceSeries, declared: Sequence[Declared], frames: Sequence[Frame], writer: Writer | None = None
) -> SegContent:
    """Write as `write_foreign` does and read the file back."""
    return read_seg(parse_seg(write_foreign(source, declared, frames, writer)), source)


def _header(source: SourceSeries, declared: Sequence[Declared], writer: Writer) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = writer.syntax
    if writer.implementation:
        ds.file_meta.ImplementationClassUID = writer.implementation
        ds.file_meta.ImplementationVersionName = "OHIF-3.11.0"
    label_map = writer.kind is SegKind.LABELMAP
    ds.SOPClassUID = LABEL_MAP_SEGMENTATION_STORAGE if label_map else SEGMENTATION_STORAGE
    ds.SOPInstanceUID = derive_uid("foreign", writer.manufacturer, writer.kind)
    ds.SeriesInstanceUID = derive_uid("foreign series", writer.manufacturer)
    ds.StudyInstanceUID = source.study_instance_uid
    ds.FrameOfReferenceUID = source.frame_of_reference_uid
    ds.PatientID = source.patient_id
    ds.Modality = "SEG"
    ds.Manufacturer = writer.manufacturer
    ds.SegmentationType = str(writer.kind)
    if writer.kind is SegKind.FRACTIONAL:
        ds.SegmentationFractionalType, ds.MaximumFractionalValue = "PROBABILITY", 255
    ds.SegmentSequence = [_segment(segment) for segment in declared]
    listed = Dataset()
    listed.SeriesInstanceUID = source.series_instance_uid
    listed.ReferencedInstanceSequence = [
        _reference(uid, sop_class)
        for uid, sop_class in {s.sop_instance_uid: s.sop_class_uid for s in source.slices}.items()
    ]
    ds.ReferencedSeriesSequence = [listed]
    return ds


def _segment(segment: Declared) -> Dataset:
    item = Dataset()
    item.SegmentNumber = segment.number
    item.SegmentLabel = segment.label
    item.SegmentAlgorithmType = segment.algorithm_type
    item.SegmentedPropertyCategoryCodeSequence = [_code(TISSUE)]
    item.SegmentedPropertyTypeCodeSequence = [_code(segment.code)]
    if segment.tracking:
        item.TrackingID, item.TrackingUID = segment.tracking
    return item


def _code(code: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def _reference(uid: str, sop_class: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item


def _set_groups(ds: Dataset, source: SourceSeries, frames: Sequence[Frame], writer: Writer) -> None:
    grid = source.grid
    assert grid is not None
    orientation, spacing, corner = _turned(source, writer.flips)
    shared = Dataset()
    measures = Dataset()
    if writer.spacing:
        measures.PixelSpacing = [format_number_as_ds(v) for v in spacing]
    shared.PixelMeasuresSequence = [measures]
    placed = Dataset()
    placed.ImageOrientationPatient = [format_number_as_ds(v) for v in orientation]
    if writer.orientation:
        shared.PlaneOrientationSequence = [placed]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.NumberOfFrames = len(frames)
    groups = []
    for frame in frames:
        group, at = Dataset(), Dataset()
        plane = frame.plane if frame.placed_on is None else frame.placed_on
        position = frame.position
        if position is None:
            position = (grid.affine @ [plane, corner[0], corner[1], 1.0])[:3]
        at.ImagePositionPatient = [format_number_as_ds(float(v)) for v in position]
        group.PlanePositionSequence = [at]
        if writer.orientation and writer.orientation_per_frame:
            group.PlaneOrientationSequence = [placed]
        if frame.number is not None:
            identified = Dataset()
            identified.ReferencedSegmentNumber = frame.number
            group.SegmentIdentificationSequence = [identified]
        if writer.cites_sources:
            cited = frame.plane if frame.cites is None else frame.cites
            group.DerivationImageSequence = [_derivation(source, cited, named=writer.source_classes)]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    if writer.undefined_lengths:
        _make_undefined(ds)


def _derivation(source: SourceSeries, plane: int, *, named: bool) -> Dataset:
    wanted = source.slices[plane]
    image = Dataset()
    if named:
        image.ReferencedSOPClassUID = wanted.sop_class_uid
    image.ReferencedSOPInstanceUID = wanted.sop_instance_uid
    image.ReferencedFrameNumber = wanted.frame_number or 1
    derivation = Dataset()
    derivation.SourceImageSequence = [image]
    return derivation


def _make_undefined(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _make_undefined(item)


def _turned(source: SourceSeries, flips: str) -> tuple[tuple[float, ...], tuple[float, float], tuple[int, int]]:
    """Orientation, spacing and the source's (row, column) under the first pixel of frames turned by `flips`."""
    grid = source.grid
    assert grid is not None
    cosines = np.array(grid.image_orientation_patient)
    along_row, along_column = cosines[:3], cosines[3:]
    spacing = grid.spacing[1:]
    corner = [0, 0]
    if "r" in flips:
        along_column, corner[0] = -along_column, grid.shape[1] - 1
    if "c" in flips:
        along_row, corner[1] = -along_row, grid.shape[2] - 1
    if "t" in flips:
        along_row, along_column, spacing = along_column, along_row, spacing[::-1]
    return (*along_row, *along_column), (spacing[0], spacing[1]), (corner[0], corner[1])


def _set_pixels(ds: Dataset, frames: Sequence[Frame], writer: Writer) -> None:
    bits = writer.bits or {SegKind.BINARY: 1, SegKind.LABELMAP: 8, SegKind.FRACTIONAL: 8}[writer.kind]
    turned = [_turn(frame.pixels, writer.flips) for frame in frames]
    ds.Rows, ds.Columns = turned[0].shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    if writer.syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        ds.PixelData = _native(turned, bits, writer)
    else:
        ds.PixelData = encapsulate([_compress(frame, bits, writer.syntax) for frame in turned])
        ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OW" if bits == 16 else "OB"


def _turn(pixels: Pixels, flips: str) -> Pixels:
    turned = pixels[::-1] if "r" in flips else pixels
    turned = turned[:, ::-1] if "c" in flips else turned
    return turned.T if "t" in flips else turned


def _native(frames: Sequence[Pixels], bits: int, writer: Writer) -> bytes:
    if bits == 1 and writer.pad_frames:
        data = b"".join(_pack(frame) for frame in frames)
    elif bits == 1:
        data = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little").tobytes()
    else:
        data = b"".join(frame.astype("<u2" if bits == 16 else np.uint8).tobytes() for frame in frames)
    return data + b"\0" * (len(data) % 2)


def _pack(frame: Pixels) -> bytes:
    return np.packbits(frame.ravel().astype(np.uint8), bitorder="little").tobytes()


def _compress(frame: Pixels, bits: int, syntax: str) -> bytes:
    pixels = np.ascontiguousarray(frame, np.uint16 if bits == 16 else np.uint8)
    if syntax == RLELossless:
        return _run_length(pixels, bits)
    if syntax == JPEGLSLossless:
        import jpeg_ls

        return bytes(jpeg_ls.encode_array(pixels))
    if syntax in (JPEG2000Lossless, HTJ2KLossless):
        import openjpeg

        return bytes(openjpeg.encode(pixels, photometric_interpretation=2, codec_format=0))
    assert syntax == DEFLATED_IMAGE_FRAME
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflater.compress(_pack(frame) if bits == 1 else pixels.tobytes()) + deflater.flush()
    return data + b"\0" * (len(data) % 2)


def _run_length(pixels: Pixels, bits: int) -> bytes:
    """Encode a frame as RLE (PS3.5 annex G) by literal runs alone, which every decoder must take."""
    if bits == 16:
        planes = [(pixels >> 8).astype(np.uint8).tobytes(), (pixels & 255).astype(np.uint8).tobytes()]
    else:
        planes = [_pack(pixels) if bits == 1 else pixels.tobytes()]
    segments = []
    for plane in planes:
        runs = [bytes([len(plane[i : i + 128]) - 1]) + plane[i : i + 128] for i in range(0, len(plane), 128)]
        segment = b"".join(runs)
        segments.append(segment + b"\0" * (len(segment) % 2))
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)
