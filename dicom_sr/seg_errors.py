"""Why a segmentation object is refused: one error, a closed set of reasons, and the gate that turns faults into it.

Decoders and parsers answer broken bytes with a dozen kinds of exception whose texts quote patient data. `refusing`
replaces them by one named refusal that quotes nothing.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from pydicom.errors import BytesLengthException, InvalidDicomError

from dicom_sr.errors import UnreadableObject


class UnreadableReason(StrEnum):
    """What about a segmentation object cannot be read."""

    NOT_DICOM = "NOT_DICOM"
    TOO_LARGE = "TOO_LARGE"
    BROKEN_STRUCTURE = "BROKEN_STRUCTURE"
    NOT_A_SEGMENTATION = "NOT_A_SEGMENTATION"
    UNSUPPORTED_TRANSFER_SYNTAX = "UNSUPPORTED_TRANSFER_SYNTAX"
    UNSUPPORTED_PIXELS = "UNSUPPORTED_PIXELS"
    FRAME_COUNT = "FRAME_COUNT"
    PIXEL_LENGTH = "PIXEL_LENGTH"
    AMBIGUOUS_PACKING = "AMBIGUOUS_PACKING"
    UNDECODABLE_PIXELS = "UNDECODABLE_PIXELS"


class UnreadableSeg(UnreadableObject):
    """A segmentation object that is refused, with the reason.

    Parameters
    ----------
    reason : UnreadableReason
        What cannot be read.
    detail : str
        Sentence for people, free of patient data.
    """

    def __init__(self, reason: UnreadableReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


_FAULTS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def refusing(reason: UnreadableReason, detail: str) -> Iterator[None]:
    """Turn any fault of a parser or decoder inside the block into `UnreadableSeg`, and drop its warnings.

    Raises
    ------
    UnreadableSeg
        With `reason` and `detail`; the original exception is dropped because its text may quote attribute values, as
        may those of the warnings.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _FAULTS:
        raise UnreadableSeg(reason, detail) from None
