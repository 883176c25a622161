"""Load the series of an iteration from its blobs: headers, grid, and the voxels where they make a volume."""

from __future__ import annotations

from pathlib import Path

from dicom_sr.errors import UndecodablePixels
from dicom_sr.series import load_volume, read_series
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Volume


def load_series(files: list[Path]) -> tuple[SourceSeries, Volume | None]:
    """Read a series and its volume; the volume is None when defects or undecodable pixels leave none."""
    series = read_series(files)
    if series.grid is None:
        return series, None
    try:
        return series, load_volume(series, files)
    except UndecodablePixels:
        return series.with_undecodable_pixels(), None
