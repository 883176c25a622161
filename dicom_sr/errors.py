"""The errors of dicom_sr, drawn as one tree.

DicomObjectError
├── UnreadableObject        the bytes are not a DICOM object this code can read
├── GeometryMismatch        two grids that must be equal are not
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


class GeometryMismatch(DicomObjectError):
    """Two voxel grids that must be equal are not."""

    code = "GRID_MISMATCH"


class InvalidObject(DicomObjectError):
    """An object about to leave breaks one of our post-conditions."""

    code = "INVALID_OBJECT"


class InvalidUid(DicomObjectError):
    """A string is not a DICOM UID (PS3.5 section 9.1)."""

    code = "INVALID_UID"
