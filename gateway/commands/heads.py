"""Read DICOM series for training and evaluation: `models` knows volumes, not DICOM."""

from __future__ import annotations

from pathlib import Path

from dicom_sr.errors import DicomObjectError
from dicom_sr.series import load_volume, read_series
from dicom_sr.volume import Volume
from models.errors import UnusableVolume

_NOT_IMAGES = (".md", ".txt", ".json", ".csv")


def read_folder(folder: Path) -> Volume:
    """Read the one DICOM series in a folder.

    Raises
    ------
    UnusableVolume
        If its files make no regular volume.
    """
    if not folder.is_dir():
        raise UnusableVolume("a folder of the data set is missing")
    files = [p for p in sorted(folder.iterdir()) if p.suffix not in _NOT_IMAGES and p.name != "LICENSE"]
    try:
        series = read_series(files)
        if series.grid is None:
            raise UnusableVolume("a series of the data set makes no regular volume")
        return load_volume(series, files)
    except DicomObjectError as error:
        raise UnusableVolume("a series of the data set cannot be read") from error
