"""What can be wrong with an object about to leave: the rule it breaks and where, never a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """A post-condition of every object we emit; the value is the sentence for people."""

    UNKNOWN_SOP_CLASS = "is not a SOP Class this software emits"
    FILE_META = "file meta information and dataset disagree, or it is incomplete"
    MISSING = "is required (type 1 or 2) and absent"
    EMPTY = "is required (type 1) and has no value"
    ILLEGAL_VALUE = "has a value its value representation forbids"
    ILLEGAL_MULTIPLICITY = "has more or fewer values than it may have"
    ILLEGAL_UID = "is not a UID"
    UNDECLARED_CHARACTER_SET = "holds text that no declared Specific Character Set can encode"
    UNDECLARED_CODING_SCHEME = "uses a private coding scheme that Coding Scheme Identification does not declare"
    INCOMPLETE_CODE = "is a code without value, scheme or meaning"
    INCOMPLETE_REFERENCE = "refers to an instance without naming both SOP Class and SOP Instance"
    UNRESOLVED_REFERENCE = "refers to something that the object does not list"
    FRAME_COUNT = "does not agree with the number of frames"
    PIXEL_LENGTH = "does not have the length that matrix and frames ask for"
    UNREADABLE_ENCODING = "is not encoded as explicit VR little endian allows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken post-condition.

    Parameters
    ----------
    rule : Rule
        Which.
    path : str
        Where: keywords and 1-based item numbers, for instance ``SegmentSequence[2]/SegmentLabel``.
    """

    rule: Rule
    path: str

    @property
    def text(self) -> str:
        """One sentence, free of patient data."""
        return f"{self.path} {self.rule.value}"
