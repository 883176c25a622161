"""The errors of the Orthanc client, drawn as one tree.

OrthancError
├── OrthancUnreachable   nobody answers at the address
├── OrthancRejected      it answered, and refused
└── OrthancNotFound      it does not have what was asked for
"""

from __future__ import annotations


class OrthancError(Exception):
    """Root of every error of this package.

    Parameters
    ----------
    detail : str
        What happened and what to do about it; free of patient data.
    """

    code = "ORTHANC_ERROR"
    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class OrthancUnreachable(OrthancError):
    """Nobody answers at the address."""

    code = "ORTHANC_UNREACHABLE"
    retryable = True


class OrthancRejected(OrthancError):
    """It answered, and refused."""

    code = "ORTHANC_REJECTED"


class OrthancNotFound(OrthancError):
    """It does not have what was asked for."""

    code = "ORTHANC_NOT_FOUND"
