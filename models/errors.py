"""The errors of models, drawn as one tree.

ModelError
├── ModelNotFound          no shipped weights and no folder go by this name
├── InvalidModel           a weights folder is incomplete or its card does not fit its weights
├── TamperedWeights        a file of a weights folder is not the one its card was signed for
├── FingerprintMismatch    the weights were trained for another preprocessing than the one given
├── UnusableVolume         an image no network can work on (not finite, constant, sheared, a single slice)
├── OutOfDeviceMemory      neither the accelerator nor the CPU could hold the smallest window
├── UntrustedBundle        a MONAI bundle would run code that nobody has approved
├── TrainingDiverged       a gradient or a loss is no longer a number
├── CommandFailed          an external segmenter did not give an answer
└── UnsuitableAnswer       a segmenter answered with something that is not labels on the asked grid
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of every error models raises.

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

    code = "MODEL_ERROR"
    retryable = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ModelNotFound(ModelError):
    """No shipped weights and no folder go by this name."""

    code = "MODEL_NOT_FOUND"


class InvalidModel(ModelError):
    """A weights folder is incomplete, or its card does not fit its weights."""

    code = "INVALID_MODEL"


class TamperedWeights(ModelError):
    """A file of a weights folder differs from the SHA-256 in its card."""

    code = "TAMPERED_WEIGHTS"


class FingerprintMismatch(ModelError):
    """The weights were trained for another data fingerprint than the one given."""

    code = "FINGERPRINT_MISMATCH"


class UnusableVolume(ModelError):
    """An image that no network can work on: not finite, constant, sheared, or a single slice."""

    code = "UNUSABLE_VOLUME"


class OutOfDeviceMemory(ModelError):
    """Neither the accelerator nor the CPU could hold the smallest window."""

    code = "OUT_OF_DEVICE_MEMORY"
    retryable = True


class UntrustedBundle(ModelError):
    """A MONAI bundle would run code, or unpickle objects, that nobody has approved."""

    code = "UNTRUSTED_BUNDLE"


class TrainingDiverged(ModelError):
    """A gradient or a loss is no longer a number: the weights would be lost."""

    code = "TRAINING_DIVERGED"


class CommandFailed(ModelError):
    """An external segmenter ended with an error, ran out of time or wrote no answer."""

    code = "COMMAND_FAILED"
    retryable = True


class UnsuitableAnswer(ModelError):
    """A segmenter answered with something that is not labels on the grid that was asked for."""

    code = "UNSUITABLE_ANSWER"
