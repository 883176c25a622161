"""The errors of the gateway, drawn as one tree; web and dimse each map them to answers in one table.

GatewayError
├── ConfigurationError      the configuration file does not say what it must
├── NotFound                no such case, hold, output
├── IllegalTransition       the lifecycle does not allow this now
├── UnacceptableInstance    received bytes that cannot be kept as an instance
├── StorageFull             no room to keep what is being received
├── StorageUnavailable      the data folder or database cannot be used
├── PeerUnreachable         a DICOM or HTTP peer does not answer
├── PeerRejected            a peer answered, and refused
├── StageFailed             a stage could not produce its outputs
└── StaleAttempt            another attempt of the same stage run has taken over
"""

from __future__ import annotations


class GatewayError(Exception):
    """Root of every error the gateway raises.

    Parameters
    ----------
    detail : str
        What happened, where, and the way out; free of patient data.
    code : str, optional
        A code more exact than the class's own.
    """

    code = "GATEWAY_ERROR"
    retryable = False

    def __init__(self, detail: str, *, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code


class ConfigurationError(GatewayError):
    """The configuration does not say what it must; `detail` is ``file:line: key: message``."""

    code = "CONFIGURATION"


class NotFound(GatewayError):
    """What was asked for does not exist."""

    code = "NOT_FOUND"


class IllegalTransition(GatewayError):
    """The lifecycle does not allow this now; nothing was changed."""

    code = "ILLEGAL_TRANSITION"


class UnacceptableInstance(GatewayError):
    """Received bytes that cannot be kept as an instance; `code` says why."""

    code = "UNACCEPTABLE_INSTANCE"


class StorageFull(GatewayError):
    """There is no room to keep what is being received."""

    code = "STORAGE_FULL"
    retryable = True


class StorageUnavailable(GatewayError):
    """The data folder or the database cannot be used."""

    code = "STORAGE_UNAVAILABLE"
    retryable = True


class PeerUnreachable(GatewayError):
    """A peer does not answer."""

    code = "PEER_UNREACHABLE"
    retryable = True


class PeerRejected(GatewayError):
    """A peer answered, and refused."""

    code = "PEER_REJECTED"


class StageFailed(GatewayError):
    """A stage could not produce its outputs."""

    code = "STAGE_FAILED"


class StaleAttempt(GatewayError):
    """Another attempt of the same stage run has taken over; this one's outputs are dropped."""

    code = "STALE_ATTEMPT"
