"""The errors of dicom_sr, drawn as one tree.

DicomObjectError
├── UnreadableObject        the bytes are not a DICOM object this code can read
├── UndecodablePixels       a header is fine but its pixels cannot be decoded
├── MixedSeries             instances of several series were given as one
├── GeometryMismatch        two grids that must be equal are not
├── UndeclaredLabel         a label map uses a value that no segment of the stage declares
├── UnwritableSegmentation  a segmentation that the asked form of SEG cannot hold
├── InvalidObject           an object about to leave breaks one of our post-conditions
└── InvalidUid              a string is not a DICOM UID
"""

from __future__ import annotations


class DicomObjectError(Exception):
    """Root of every error dicom_sr raises.

    Parameters
    ----------
    detail : str
        What happened and what to do about it; free of patient data.

    Attributes
    ----------
    code : str
        Stable string for API, audit trail and reports.
    retryable : bool
        Whether the same call may succeed later without a change of input.
    """

    code = "DICOM_OBJECT_ERROR"
    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UnreadableObject(DicomObjectError):
    """The bytes are not a DICOM object that can be read."""

    code = "UNREADABLE"


class UndecodablePixels(DicomObjectError):
    """The pixels of an instance are absent, truncated or of a transfer syntax that cannot be decoded."""

    code = "UNDECODABLE_PIXELS"


class MixedSeries(DicomObjectError):
    """Instances of more than one series were given where one series is expected."""

    code = "MIXED_SERIES"


class GeometryMismatch(DicomObjectError):
    """Two voxel grids that must be equal are not."""

    code = "GRID_MISMATCH"


class UndeclaredLabel(DicomObjectError):
    """A label map uses a value that no segment of the stage declares."""

    code = "UNDECLARED_SEGMENT"


class UnwritableSegmentation(DicomObjectError):
    """A segmentation cannot be expressed in the asked form of SEG; `detail` names the rule it breaks."""

    code = "UNWRITABLE_SEGMENTATION"


class InvalidObject(DicomObjectError):
    """An object about to leave breaks one of our post-conditions."""

    code = "INVALID_OBJECT"


class InvalidUid(DicomObjectError):
    """A string is not a DICOM UID (PS3.5 section 9.1)."""

    code = "INVALID_UID"
