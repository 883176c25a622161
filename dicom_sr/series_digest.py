"""What the pixels and geometry of a series are, as one digest: the input of every stage key.

Encoded pixel bytes are hashed as they are, so nothing is decoded; UIDs, times and patient attributes do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_sr.source import SourceSeries

#: Attributes beside Pixel Data that decide what a decoded voxel is and where it lies.
_MEANING = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
)


def image_digest(series: SourceSeries, files: Sequence[Path]) -> str:
    """Hash the image content of a series.

    Parameters
    ----------
    series : SourceSeries
        The series as `read_series` understood it: grid and technical facts count.
    files : sequence of Path
        Its instances; order does not count.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256(series.grid.digest().encode() if series.grid else b"no grid")
    digest.update(json.dumps(asdict(series.acquisition), sort_keys=True, default=str).encode())
    for instance in sorted(_instance_digest(path) for path in files):
        digest.update(instance)
    return digest.hexdigest()


def _instance_digest(path: Path) -> bytes:
    dataset = dcmread(path, force=True)
    digest = hashlib.sha256(str(getattr(dataset.file_meta, "TransferSyntaxUID", "")).encode())
    for keyword in _MEANING:
        digest.update(f"{keyword}={dataset.get(keyword, '')}\x1f".encode())
    digest.update(_functional_groups(dataset))
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            digest.update(dataset[keyword].value or b"")
    return digest.digest()


def _functional_groups(dataset: Dataset) -> bytes:
    """Geometry of a multi-frame instance: hash the text of its functional groups that place and scale frames."""
    digest = hashlib.sha256()
    groups = [*dataset.get("SharedFunctionalGroupsSequence", []), *dataset.get("PerFrameFunctionalGroupsSequence", [])]
    for group in groups:
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            for item in group.get(keyword, []):
                digest.update(str(item).encode())
        for item in group.get("PixelValueTransformationSequence", []):
            digest.update(str(item).encode())
    return digest.digest()
