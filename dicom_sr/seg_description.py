"""What a segmentation object says about itself: identity, texts, who or what drew each segment, what it follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_sr.equipment import Equipment
from dicom_sr.errors import UnwritableSegmentation
from dicom_sr.uids import require_uid

_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")


class AlgorithmType(StrEnum):
    """Segment Algorithm Type (0062,0008)."""

    AUTOMATIC = "AUTOMATIC"
    SEMIAUTOMATIC = "SEMIAUTOMATIC"
    MANUAL = "MANUAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentAuthor:
    """Who or what drew one segment.

    Parameters
    ----------
    algorithm_type : AlgorithmType
        MANUAL where a person drew it, SEMIAUTOMATIC where a person corrected an algorithm.
    algorithm_name, algorithm_version : str
        Required unless MANUAL.
    parameters : tuple of str
        Algorithm Parameters, among them the weights digest.
    """

    algorithm_type: AlgorithmType
    algorithm_name: str = ""
    algorithm_version: str = ""
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.algorithm_type is not AlgorithmType.MANUAL and not (self.algorithm_name and self.algorithm_version):
            raise UnwritableSegmentation("a segment that an algorithm drew must name the algorithm and its version")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReference:
    """A composite object of the same study.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, series_instance_uid : str
        Its identity.
    """

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SegDescription:
    """Everything of a segmentation object that neither the masks nor the source series say.

    Parameters
    ----------
    sop_instance_uid, series_instance_uid : str
        Identity of the object; derive them, so that a resend is the same object.
    series_number, instance_number : int
        At least 1.
    series_description : str
        Series Description, 1 to 64 characters: the user interface in every viewer.
    content_label : str
        Content Label: 1 to 16 of capital letters, digits, space and underscore.
    content_description : str
        Content Description, at most 64 characters.
    created_at : datetime.datetime
        With time zone. Becomes the series, content and instance creation time, in the zone of the source.
    tracking : mapping of str to (str, str)
        By Segment Label: Tracking ID and Tracking UID, the same over all iterations.
    authors : mapping of str to SegmentAuthor
        By Segment Label.
    equipment : Equipment
        The gateway.
    content_creator_name : str
        Person who edited, as a DICOM person name; empty for an automatic result.
    predecessor : ObjectReference or None
        Our own object of the iteration before.
    edited_from : ObjectReference or None
        The viewer's object that the masks were taken from.

    Raises
    ------
    UnwritableSegmentation
        If a text breaks its limits or the time has no zone.
    InvalidUid
        If a UID is not one.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    series_description: str
    content_label: str
    content_description: str
    created_at: datetime
    tracking: Mapping[str, tuple[str, str]]
    authors: Mapping[str, SegmentAuthor]
    equipment: Equipment
    content_creator_name: str = ""
    predecessor: ObjectReference | None = None
    edited_from: ObjectReference | None = None

    def __post_init__(self) -> None:
        require_uid(self.sop_instance_uid, "SOP Instance UID")
        require_uid(self.series_instance_uid, "Series Instance UID")
        if self.created_at.tzinfo is None:
            raise UnwritableSegmentation("the creation time must have a time zone")
        if min(self.series_number, self.instance_number) < 1:
            raise UnwritableSegmentation("series and instance numbers start at 1")
        if not _CODE_STRING.fullmatch(self.content_label):
            raise UnwritableSegmentation("Content Label takes 1 to 16 capital letters, digits, spaces and underscores")
        require_text(self.series_description, "Series Description")
        require_text(self.content_description, "Content Description", minimum=0)
        require_text(self.content_creator_name, "Content Creator's Name", minimum=0)


def require_text(text: str, what: str, *, minimum: int = 1, maximum: int = 64) -> str:
    """Return `text`, or raise UnwritableSegmentation that names the attribute `what` but not the value."""
    if not minimum <= len(text) <= maximum or "\\" in text or any(ord(letter) < 32 for letter in text):
        raise UnwritableSegmentation(
            f"{what} takes {minimum} to {maximum} characters without backslash or control characters"
        )
    return text
