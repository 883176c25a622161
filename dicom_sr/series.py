"""Read an image series: headers to a `SourceSeries` with its grid and defects, then pixels to a `Volume`.

Single-frame and enhanced multi-frame instances are read alike: every frame is a plane. Files may come in any order.
What is wrong with a series is data (`SeriesDefect`), not an exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_sr.acquisition import SeriesDefect
from dicom_sr.acquisition_read import read_acquisition
from dicom_sr.errors import MixedSeries, UnreadableObject
from dicom_sr.header import items, number, numbers, text, texts
from dicom_sr.series_geometry import Arrangement, Plane, arrange
from dicom_sr.series_pixels import load_volume, read_instance
from dicom_sr.source import SourceSeries, SourceSlice
from dicom_sr.uids import is_path_safe_uid

__all__ = ["load_volume", "read_headers", "read_series", "series_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlacedFrame:
    instance: int
    frame_number: int | None
    plane: Plane


def read_series(files: Sequence[Path]) -> SourceSeries:
    """Read the headers of one series.

    Parameters
    ----------
    files : sequence of pathlib.Path
        The instances of one series, any order; an instance given twice (equal SOP Instance UID) counts once.

    Returns
    -------
    SourceSeries
        With `grid` None and `acquisition.defects` filled where the instances make no regular volume.

    Raises
    ------
    UnreadableObject
        If a file is not a DICOM file.
    MixedSeries
        If the files belong to more than one series.
    """
    return series_of(read_headers(files))


def read_headers(files: Sequence[Path]) -> tuple[Dataset, ...]:
    """Read each file up to its pixels.

    Raises
    ------
    UnreadableObject
        If a file is not a DICOM file, its header is cut off or names no SOP instance, or a UID of it is not a UID.
    """
    return tuple(_read_header(file) for file in files)


def series_of(headers: Sequence[Dataset]) -> SourceSeries:
    """Arrange header datasets of one series; see `read_series`."""
    instances = list({text(header, "SOPInstanceUID"): header for header in reversed(headers)}.values())[::-1]
    if len({text(header, "SeriesInstanceUID") for header in instances}) > 1:
        raise MixedSeries("the instances belong to more than one series; group them by Series Instance UID first")
    frames = [frame for i, header in enumerate(instances) for frame in _frames(i, header)]
    uids = {text(header, "FrameOfReferenceUID") for header in instances} - {""}
    frame_of_reference_uid = min(uids, default="")
    arrangement = arrange([frame.plane for frame in frames], frame_of_reference_uid)
    arrangement = _with_defects(arrangement, _defects_of_headers(instances, frames, uids))
    ordered = [frames[i] for i in arrangement.order]
    sequence = dict.fromkeys([frame.instance for frame in ordered] + list(range(len(instances))))
    first = instances[0] if instances else Dataset()
    return SourceSeries(
        study_instance_uid=text(first, "StudyInstanceUID"),
        series_instance_uid=text(first, "SeriesInstanceUID"),
        frame_of_reference_uid=frame_of_reference_uid,
        patient_id=text(first, "PatientID"),
        grid=arrangement.grid,
        slices=tuple(_slice(instances[f.instance], f) for f in ordered) if arrangement.grid else (),
        headers=tuple(instances[i] for i in sequence),
        acquisition=read_acquisition(instances, arrangement, frame_count=len(frames)),
    )


def _read_header(file: Path) -> Dataset:
    header = read_instance(file, stop_before_pixels=True)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not is_path_safe_uid(text(header, keyword)):
            raise UnreadableObject(f"a file of the series has no {keyword}: it is cut off, damaged or no SOP instance")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if text(header, keyword) and not is_path_safe_uid(text(header, keyword)):
            raise UnreadableObject(f"a file of the series has a {keyword} that is not a UID")
    return header


def _frames(instance: int, header: Dataset) -> list[_PlacedFrame]:
    """Find every frame of one instance and where it lies; an instance without a matrix has none."""
    rows, columns = int(number(header, "Rows") or 0), int(number(header, "Columns") or 0)
    if not rows or not columns:
        return []
    groups = items(header, "PerFrameFunctionalGroupsSequence")
    if not groups:
        count = int(number(header, "NumberOfFrames") or 1)
        plane = _plane_of(header, header, header, rows=rows, columns=columns)
        if count <= 1:
            return [_PlacedFrame(instance=instance, frame_number=None, plane=plane)]
        unplaced = Plane(position=(), orientation=(), pixel_spacing=(), rows=rows, columns=columns)
        return [_PlacedFrame(instance=instance, frame_number=n, plane=unplaced) for n in range(1, count + 1)]
    shared = next(iter(items(header, "SharedFunctionalGroupsSequence")), Dataset())
    return [
        _PlacedFrame(
            instance=instance,
            frame_number=n,
            plane=_plane_of(
                _macro(group, shared, "PlanePositionSequence"),
                _macro(group, shared, "PlaneOrientationSequence"),
                _macro(group, shared, "PixelMeasuresSequence"),
                rows=rows,
                columns=columns,
            ),
        )
        for n, group in enumerate(groups, start=1)
    ]


def _macro(group: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """Return the item of a functional group macro, per frame before shared (PS3.3 C.7.6.16)."""
    return next(iter(items(group, keyword) or items(shared, keyword)), Dataset())


def _plane_of(position: Dataset, orientation: Dataset, measures: Dataset, *, rows: int, columns: int) -> Plane:
    return Plane(
        position=numbers(position, "ImagePositionPatient"),
        orientation=numbers(orientation, "ImageOrientationPatient"),
        pixel_spacing=numbers(measures, "PixelSpacing"),
        rows=rows,
        columns=columns,
    )


def _slice(header: Dataset, frame: _PlacedFrame) -> SourceSlice:
    x, y, z = frame.plane.position
    return SourceSlice(
        sop_instance_uid=text(header, "SOPInstanceUID"),
        sop_class_uid=text(header, "SOPClassUID"),
        frame_number=frame.frame_number,
        image_position=(x, y, z),
    )


def _defects_of_headers(
    headers: Sequence[Dataset], frames: Sequence[_PlacedFrame], frame_of_reference_uids: set[str]
) -> list[SeriesDefect]:
    defects = []
    if headers and len({frame.instance for frame in frames}) < len(headers):
        defects.append(SeriesDefect.NO_PIXELS)
    if any("LOCALIZER" in texts(header, "ImageType") for header in headers):
        defects.append(SeriesDefect.LOCALIZER)
    if any(_is_color(header) for header in headers):
        defects.append(SeriesDefect.COLOR_PIXELS)
    if len(frame_of_reference_uids) > 1:
        defects.append(SeriesDefect.MIXED_FRAME_OF_REFERENCE)
    return defects


def _is_color(header: Dataset) -> bool:
    interpretation = text(header, "PhotometricInterpretation") or "MONOCHROME2"
    return (number(header, "SamplesPerPixel") or 1) > 1 or not interpretation.startswith("MONOCHROME")


def _with_defects(arrangement: Arrangement, found: list[SeriesDefect]) -> Arrangement:
    """Add what the headers say; a localizer alone keeps its grid, everything else means that there is none."""
    geometric = [] if SeriesDefect.NO_PIXELS in found and not arrangement.order else list(arrangement.defects)
    defects = tuple(dict.fromkeys([*found, *geometric]))
    keeps_grid = set(found) <= {SeriesDefect.LOCALIZER, SeriesDefect.COLOR_PIXELS}
    return Arrangement(
        order=arrangement.order,
        grid=arrangement.grid if keeps_grid else None,
        gap_positions=arrangement.gap_positions,
        defects=defects,
    )
