"""Load the series of an iteration from its blobs: headers, grid, and the voxels where they make a volume."""

from __future__ import annotations

from pathlib import Path

from dicom_sr.errors import UndecodablePixels
from dicom_sr.series import load_volume, read_series
from dicom_sr.source import SourceSeries
from dicom_sr.volume import Volume
from gateway.domain.errors import NotFound
from gateway.services import ledger
from gateway.services.environment import Environment


def load_series(files: list[Path]) -> tuple[SourceSeries, Volume | None]:
    """Read a series and its volume; the volume is None when defects or undecodable pixels leave none."""
    series = read_series(files)
    if series.grid is None:
        return series, None
    try:
        return series, load_volume(series, files)
    except UndecodablePixels:
        return series.with_undecodable_pixels(), None


def load_image(env: Environment, *, case_id: str, generation: int, iteration: int) -> Volume:
    """Load the image of one iteration of a case.

    Raises
    ------
    NotFound
        If its series makes no volume.
    """
    with env.database.read() as session:
        row = ledger.iteration_of(session, case_id, generation, iteration)
    _series, volume = load_series([env.blobs.path(item["sha256"]) for item in row.inputs])
    if volume is None:
        raise NotFound("the series of this case makes no volume")
    return volume
