"""Which MR sequence a header describes: by echo, repetition and inversion time first, by free text second."""

from __future__ import annotations

import re

from dicom_sr.acquisition import Acquisition
from models.image_qc.targets import Sequence

_LONG_ECHO_MS = 60.0
_SHORT_ECHO_MS = 35.0
_SPOILED_ECHO_MS = 12.0  # longer echoes at short repetition are T2* (venography)
_FLUID_NULL_MS = 1500.0
_LONG_REPETITION_MS = 3000.0
_SPIN_ECHO_T1_REPETITION_MS = 1100.0
_GRADIENT_T1_REPETITION_MS = 60.0
_INVERSION_PREPARED_MS = (300.0, 1400.0)
_DESCRIBED = (
    (Sequence.DIFFUSION, r"dwi|diff|adc|bval|trace|dti"),
    (Sequence.FLAIR, r"flair|dark.?fluid"),
    (Sequence.PROTON_DENSITY, r"(?<![a-z])pd(?![a-z])|proton.?dens"),
    (Sequence.T1, r"t1|mp.?rage|bravo|spgr|fspgr|tfe3d|vibe|lava"),
    (Sequence.T2, r"t2|tse|ciss|fiesta"),
)


def sequence_of(acquisition: Acquisition) -> Sequence | None:
    """Tell the sequence family from a header.

    Timing decides where it is given, because free text is typed by people; text decides where timing is absent or
    fits two families.

    Returns
    -------
    Sequence or None
        None when the header says nothing about it: a converted image is not wrong for having no header.

    References
    ----------
    PS3.3 C.8.3.1 (MR Image Module): echo, repetition and inversion time in milliseconds.
    """
    timed = _by_timing(acquisition)
    described = _by_text(acquisition)
    if described is Sequence.DIFFUSION:
        return described
    return timed or described


def _by_timing(acquisition: Acquisition) -> Sequence | None:
    echo, repetition = acquisition.echo_time, acquisition.repetition_time
    inversion = acquisition.inversion_time or 0.0
    if not echo or not repetition:
        return None
    if inversion >= _FLUID_NULL_MS and repetition >= _LONG_REPETITION_MS:
        return Sequence.FLAIR
    if echo >= _LONG_ECHO_MS and repetition >= _LONG_REPETITION_MS / 2:
        return Sequence.T2
    if echo <= _SHORT_ECHO_MS and _is_t1_weighted(echo, repetition, inversion):
        return Sequence.T1
    return None


def _is_t1_weighted(echo: float, repetition: float, inversion: float) -> bool:
    low, high = _INVERSION_PREPARED_MS
    prepared = low <= inversion <= high
    spin_echo = _GRADIENT_T1_REPETITION_MS < repetition <= _SPIN_ECHO_T1_REPETITION_MS
    spoiled = repetition <= _GRADIENT_T1_REPETITION_MS and echo <= _SPOILED_ECHO_MS
    return prepared or spin_echo or spoiled


def _by_text(acquisition: Acquisition) -> Sequence | None:
    text = f"{acquisition.series_description} {acquisition.protocol_name} {acquisition.sequence_name}".lower()
    for sequence, pattern in _DESCRIBED:
        if re.search(pattern, text):
            return sequence
    return None
