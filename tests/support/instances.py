"""Small DICOM instances as bytes, in any uncompressed transfer syntax, whole or spoiled."""

from __future__ import annotations

import io
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SegmentationStorage,
)

from dicom_sr.uids import derive_uid

MR = str(MRImageStorage)
SEG = str(SegmentationStorage)
EXPLICIT = str(ExplicitVRLittleEndian)
IMPLICIT = str(ImplicitVRLittleEndian)
BIG_ENDIAN = str(ExplicitVRBigEndian)
DEFLATED = str(DeflatedExplicitVRLittleEndian)


def uid(*parts: str | int) -> str:
    """Return a UID that is always the same for the same parts."""
    return derive_uid("test", *parts)


def make_instance(
    number: int = 1,
    *,
    study: str = "study",
    series: str = "series",
    sop_class: str = MR,
    syntax: str = EXPLICIT,
    pixels: bytes = b"",
    side: int = 16,
    **attributes: Any,
) -> bytes:
    """Return a DICOM file.

    Parameters
    ----------
    number : int
        Instance number; with study and series it gives the SOP Instance UID.
    study, series : str
        Names the UIDs are derived from.
    sop_class, syntax : str
        UIDs.
    pixels : bytes
        Bytes the Pixel Data starts with; zeros follow.
    side : int
        Rows and columns, 16 bits allocated; 0 leaves the pixels out.
    attributes
        Further attributes; None leaves one out.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(study, series, number)
    dataset.StudyDate, dataset.StudyTime = "20250101", "101500"
    dataset.Modality = "SEG" if sop_class == SEG else "MR"
    dataset.PatientName, dataset.PatientID = "Müller^Zoë", "P1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(study), uid(study, series)
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    if side:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = side
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
        dataset.add_new("PixelData", "OW", pixels.ljust(2 * side * side, b"\x00"))
    for keyword, value in attributes.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", uid("none"))
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
