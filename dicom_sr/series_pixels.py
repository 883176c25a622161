"""Decode the pixels of a source series to a `Volume`: every transfer syntax that an installed decoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from dicom_sr.errors import GeometryMismatch, UndecodablePixels, UnreadableObject
from dicom_sr.header import items, number, text
from dicom_sr.pixel_decoders import DECODER_FAILURES, decoders_of
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Volume


def load_volume(series: SourceSeries, files: Sequence[Path]) -> Volume:
    """Decode and rescale the pixels of a series onto its grid.

    Parameters
    ----------
    series : SourceSeries
        With a grid.
    files : sequence of pathlib.Path
        At least the files `series` was read from, any order; others are ignored.

    Returns
    -------
    Volume
        (z, y, x), float32: output units of the Modality LUT or rescale (HU for CT), stored values where there is none.

    Raises
    ------
    GeometryMismatch
        If the series has no grid.
    UndecodablePixels
        If pixels are absent, truncated, of another matrix than the header says, or cannot be decoded.
    UnreadableObject
        If an instance of the series is not among the files.

    References
    ----------
    PS3.3 C.11.1 (Modality LUT), C.7.6.16.2.9 (Pixel Value Transformation)
    """
    if series.grid is None:
        raise GeometryMismatch("the series makes no regular volume; its defects say why")
    planes: dict[str, list[int]] = {}
    for z, source in enumerate(series.slices):
        planes.setdefault(source.sop_instance_uid, []).append(z)
    voxels = np.empty(series.grid.shape, np.float32)
    for file in files:
        instance = read_instance(file)
        for z in planes.pop(text(instance, "SOPInstanceUID"), []):
            voxels[z] = _plane(instance, series.slices[z].frame_number, series.grid.shape[1:])
    if planes:
        raise UnreadableObject(f"{len(planes)} instances of the series are not among the files")
    return Volume(grid=series.grid, voxels=voxels, modality=series.acquisition.modality)


def read_instance(file: Path, *, stop_before_pixels: bool = False) -> Dataset:
    """Read one DICOM file.

    Raises
    ------
    UnreadableObject
        If it is not a DICOM file that can be read.
    """
    try:
        return dcmread(file, stop_before_pixels=stop_before_pixels)
    except DECODER_FAILURES as error:
        raise UnreadableObject("a file of the series is not a readable DICOM file") from error


def _plane(instance: Dataset, frame_number: int | None, matrix: tuple[int, ...]) -> npt.NDArray[np.float32]:
    stored = decode_frame(instance, (frame_number or 1) - 1)
    if stored.shape != matrix:
        raise UndecodablePixels(f"an instance decodes to {stored.shape}, its header says {matrix}")
    return _rescaled(instance, frame_number, stored)


def decode_frame(instance: Dataset, index: int) -> npt.NDArray[np.generic]:
    """Decode one frame by the first decoder that can; gdcm last, because it can end the process instead of raising.

    Parameters
    ----------
    instance : pydicom.Dataset
        Image with Pixel Data and file meta information.
    index : int
        0-based frame.

    Returns
    -------
    numpy.ndarray
        Stored values, (y, x), or (y, x, sample) for colour.

    Raises
    ------
    UndecodablePixels
        If no decoder knows the transfer syntax, or pixels are absent, truncated or damaged.
    """
    failure: Exception | None = None
    for plugin in decoders_of(instance.file_meta.get("TransferSyntaxUID", UID(""))):
        try:
            return pixel_array(instance, index=index, raw=True, decoding_plugin=plugin)
        except DECODER_FAILURES as error:
            failure = error
    raise UndecodablePixels("the pixels of an instance are absent, truncated or cannot be decoded") from failure


def _rescaled(instance: Dataset, frame_number: int | None, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Apply the Modality LUT, the rescale of the frame, or nothing."""
    if items(instance, "ModalityLUTSequence"):
        return apply_modality_lut(stored, instance).astype(np.float32)
    source = instance
    if frame_number is not None:
        source = _pixel_value_transformation(instance, frame_number)
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    rescaled = stored.astype(np.float64) * (1.0 if slope is None else slope) + (intercept or 0.0)
    return rescaled.astype(np.float32)


def _pixel_value_transformation(instance: Dataset, frame_number: int) -> Dataset:
    groups = items(instance, "PerFrameFunctionalGroupsSequence")[frame_number - 1 : frame_number]
    for group in (*groups, *items(instance, "SharedFunctionalGroupsSequence")):
        found = items(group, "PixelValueTransformationSequence")
        if found:
            return found[0]
    return Dataset()
