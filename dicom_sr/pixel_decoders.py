"""Which decoders are tried on compressed pixels, in which order, and what they raise."""

from __future__ import annotations

from typing import Final

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from dicom_sr.errors import UndecodablePixels
from dicom_sr.header import CONVERSION_FAILURES

#: What pydicom and its decoders raise on pixels they dislike; their own messages may quote attribute values.
DECODER_FAILURES: Final = (*CONVERSION_FAILURES, RuntimeError, MemoryError)


def decoders_of(transfer_syntax: UID) -> list[str]:
    """Return the names of the decoders of a transfer syntax: gdcm last, because it can end the process.

    One empty name, which leaves the choice to pydicom, where none is installed.

    Raises
    ------
    UndecodablePixels
        If no decoder knows the transfer syntax.
    """
    try:
        plugins = get_decoder(transfer_syntax).available_plugins
    except DECODER_FAILURES:
        raise UndecodablePixels("no decoder knows the transfer syntax of an instance") from None
    return sorted(plugins, key=lambda name: name == "gdcm") or [""]
