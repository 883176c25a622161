"""Read every DICOM series of the data sets that image QC is measured on; models read no DICOM themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_sr.errors import DicomObjectError
from dicom_sr.series import load_volume, read_series
from gateway.client.sending import read_parcels
from models.image_qc.series_evaluate import SERIES_FOLDERS, SeriesImage


def read_every_series(data: Path) -> Iterator[SeriesImage]:
    """Read the series below `data`, by folder; what is no DICOM or cannot be read as a series is left out."""
    below = [folder for name in SERIES_FOLDERS for folder in (data / name).rglob("*") if folder.is_dir()]
    for folder in sorted([*below, *(data / name for name in SERIES_FOLDERS if (data / name).is_dir())]):
        files = [path for path in sorted(folder.iterdir()) if path.is_file()]
        series: dict[str, list[Path]] = {}
        for parcel in read_parcels(files):
            series.setdefault(parcel.series_instance_uid, []).append(parcel.path)
        for number, (_, own) in enumerate(sorted(series.items()), 1):
            name = folder.relative_to(data).as_posix()
            yield from _read(f"{name} {number}" if len(series) > 1 else name, own)


def _read(name: str, files: list[Path]) -> Iterator[SeriesImage]:
    try:
        series = read_series(files)
        volume = load_volume(series, files) if series.grid is not None else None
    except DicomObjectError:
        return
    yield SeriesImage(name=name, volume=volume, acquisition=series.acquisition)
