"""A stored instance in Explicit VR Little Endian, for callers that did not ask for it as stored."""

from __future__ import annotations

import io
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from dicom_sr.errors import UndecodablePixels
from dicom_sr.pixel_decoders import DECODER_FAILURES
from gateway.services.decompress import decompress


def explicit_little(path: Path) -> bytes:
    """Return a DICOM file in Explicit VR Little Endian.

    Raises
    ------
    UndecodablePixels
        If compressed pixels cannot be decoded.
    """
    ds = dcmread(path, force=True)
    try:
        decompress(ds)
        buffer = io.BytesIO()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except (UndecodablePixels, *DECODER_FAILURES):
        # The library's own message may quote attribute values.
        raise UndecodablePixels(
            "this instance cannot be given in Explicit VR Little Endian: ask for transfer-syntax=*"
        ) from None
    return buffer.getvalue()
