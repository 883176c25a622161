"""Which patient serves which purpose: decided by the code, from names alone, once for every model.

The Medical Segmentation Decathlon numbers the two hippocampi of one person 2k - 1 and 2k. It does not say so; it was
found here: of 145 float-valued crops, 41 such neighbours share the quantisation step of their intensities to five
digits and none of the pairs (2k, 2k + 1) does, and their intensity percentiles are four times closer than those of two
persons. A split by file would put one person's left side into training and the right side into the test, so the unit
here is the person.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum


class Split(StrEnum):
    """What a patient is used for.

    ``train``: the segmentation networks, and whatever second network wants the same patients.
    ``qc_train``: no segmentation network saw them; for the second network or for fitting a scorer.
    ``calibration``: unseen by every network; conformal intervals and thresholds.
    ``test``: unseen by everything; the only patients a figure is reported on.
    """

    TRAIN = "train"
    QC_TRAIN = "qc_train"
    CALIBRATION = "calibration"
    TEST = "test"


# Upper ends on the unit interval, set so that the 195 crops at hand give the counts named in the card of each model.
_UPPER_END = {Split.TEST: 0.26, Split.CALIBRATION: 0.472, Split.QC_TRAIN: 0.55, Split.TRAIN: 1.0}
_PAIRED_NAME = re.compile(r"^(hippocampus)_(\d+)$")


def person_of(name: str) -> str:
    """Return a key that all images of one person share.

    Parameters
    ----------
    name : str
        Case name, for instance ``hippocampus_003``; a name of another form is a person of its own.
    """
    match = _PAIRED_NAME.match(name)
    return f"{match[1]}-person-{(int(match[2]) + 1) // 2:03d}" if match else name


def split_of(name: str) -> Split:
    """Return the split of one case: SHA-256 of its person, read as a number in [0, 1), against fixed limits."""
    digest = hashlib.sha256(person_of(name).encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2.0**64
    return next(split for split, upper in _UPPER_END.items() if position < upper)


def split_patients(names: Iterable[str]) -> Mapping[Split, tuple[str, ...]]:
    """Sort case names into splits; no person is in two of them, whatever names are given.

    Returns
    -------
    mapping of Split to tuple of str
        Every split, its names in ascending order; possibly empty.
    """
    ordered = sorted(set(names))
    divided = {split: tuple(name for name in ordered if split_of(name) is split) for split in Split}
    persons = [{person_of(name) for name in group} for group in divided.values()]
    assert sum(map(len, persons)) == len(set().union(*persons)), "a person is in two splits"
    return divided
