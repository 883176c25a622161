"""A stored instance in Explicit VR Little Endian, for callers that did not ask for it as stored."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import ExplicitVRLittleEndian

from dicom_sr.errors import UndecodablePixels


def explicit_little(path: Path) -> bytes:
    """Return a DICOM file in Explicit VR Little Endian.

    Raises
    ------
    UndecodablePixels
        If compressed pixels cannot be decoded.
    """
    ds = dcmread(path, force=True)
    try:
        if ds.file_meta.TransferSyntaxUID.is_encapsulated and "PixelData" in ds:
            _decompress(ds)
        buffer = io.BytesIO()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, TypeError):
        # The library's own message may quote attribute values.
        raise UndecodablePixels(
            "this instance cannot be given in Explicit VR Little Endian: ask for transfer-syntax=*"
        ) from None
    return buffer.getvalue()


def _decompress(ds: Dataset) -> None:
    """Decompress by the first decoder that can; gdcm last, because it can end the process instead of raising."""
    plugins = get_decoder(ds.file_meta.TransferSyntaxUID).available_plugins
    *others, last = sorted(plugins, key=lambda name: name == "gdcm") or [""]
    for plugin in others:
        with suppress(ValueError, RuntimeError, AttributeError, NotImplementedError, TypeError):
            ds.decompress(generate_instance_uid=False, decoding_plugin=plugin)
            return
    ds.decompress(generate_instance_uid=False, decoding_plugin=last)
