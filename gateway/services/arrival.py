"""An instance on its way in: from whom, what was announced, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.domain.instance import InstanceKind


class Door(StrEnum):
    """How an instance comes in."""

    DICOM = "dicom"
    STOW = "stow"
    UPLOAD = "upload"
    ORTHANC = "orthanc"


class Outcome(StrEnum):
    """What an instance is to what was kept before."""

    NEW = "NEW"
    #: The same content again: nothing changed.
    DUPLICATE = "DUPLICATE"
    #: The same UID with other content: kept beside the first, on hold.
    CONFLICT = "CONFLICT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """From whom an instance comes and what the sender announced.

    Parameters
    ----------
    door : Door
        The way in.
    sender : str
        Calling AE title, user, or name of a followed Orthanc.
    called_aet, peer_address : str
        DICOM only.
    expected_sop_class_uid, expected_sop_instance_uid : str
        What the command named; the data set must agree. Empty when nothing was announced.
    case_hint, stage_hint : str
        The case and stage an uploaded edit is for.
    """

    door: Door
    sender: str
    called_aet: str = ""
    peer_address: str = ""
    expected_sop_class_uid: str = ""
    expected_sop_instance_uid: str = ""
    case_hint: str = ""
    stage_hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBlob:
    """The blob of an instance.

    Parameters
    ----------
    sha256 : str
        Its name.
    size : int
        Bytes.
    transfer_syntax_uid : str
        How its data set is encoded.
    """

    sha256: str
    size: int
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What became of an instance; it is durable and recorded.

    Parameters
    ----------
    sop_instance_uid, study_instance_uid : str
        Which.
    kind : InstanceKind
        What it is to us.
    outcome : Outcome
        Whether it is new.
    """

    sop_instance_uid: str
    study_instance_uid: str
    kind: InstanceKind
    outcome: Outcome
