"""Read the heads that image QC is trained on and that only exist as DICOM; models read no DICOM themselves."""

from __future__ import annotations

from pathlib import Path

from dicom_sr.errors import DicomObjectError
from dicom_sr.series import load_volume, read_series
from dicom_sr.volume import Volume
from models.image_qc.real_scans import DICOM_HEADS


def read_dicom_heads(data: Path) -> dict[str, Volume]:
    """Read every head of `DICOM_HEADS` that is below `data`, by its name; a series that makes no volume is left out."""
    heads = {}
    for head in DICOM_HEADS:
        files = sorted((data / head.folder).glob("*.dcm"))
        try:
            series = read_series(files)
            if series.grid is not None:
                heads[head.name] = load_volume(series, files)
        except DicomObjectError:
            continue
    return heads
