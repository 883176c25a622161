"""Compressed pixels made plain, for callers that do not take the form an instance is held in."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder

from dicom_sr.errors import UndecodablePixels

#: What decoders raise; their own messages may quote attribute values.
_FAILURES: Final = (ValueError, RuntimeError, AttributeError, NotImplementedError, TypeError)


def decompress(dataset: Dataset) -> None:
    """Make the pixels of a data set Explicit VR Little Endian, in place; one without compressed pixels stays as it is.

    Decoded by the first decoder that can; gdcm last, because it can end the process instead of raising.

    Parameters
    ----------
    dataset : Dataset
        With file meta information.

    Raises
    ------
    UndecodablePixels
        If nobody can decode them.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated or "PixelData" not in dataset:
        return
    try:
        plugins = get_decoder(syntax).available_plugins
        *others, last = sorted(plugins, key=lambda name: name == "gdcm") or [""]
        for plugin in others:
            with suppress(*_FAILURES):
                dataset.decompress(generate_instance_uid=False, decoding_plugin=plugin)
                return
        dataset.decompress(generate_instance_uid=False, decoding_plugin=last)
    except _FAILURES:
        raise UndecodablePixels("the compressed pixels of this instance cannot be decoded") from None
