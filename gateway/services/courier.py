"""What carries results to a destination: one protocol, an adapter for C-STORE, STOW-RS and Orthanc's REST API each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Carried(StrEnum):
    """How far a parcel came."""

    #: Accepted, and the destination lists it.
    CONFIRMED = "CONFIRMED"
    #: Accepted; the destination cannot be asked, or was not.
    ACCEPTED = "ACCEPTED"
    #: Accepted; it was to be asked for, and the connection ended before.
    UNPROVEN = "UNPROVEN"
    #: Accepted, but the destination does not list it.
    MISSING = "MISSING"
    #: The destination refused this object.
    REFUSED = "REFUSED"
    #: The connection ended before its turn.
    UNSENT = "UNSENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """An object to deliver.

    Parameters
    ----------
    sop_instance_uid, sop_class_uid, series_instance_uid, study_instance_uid, transfer_syntax_uid : str
        What it is.
    path : Path
        The DICOM file.
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a parcel.

    Parameters
    ----------
    sop_instance_uid : str
        Which.
    carried : Carried
        How far it came.
    detail : str
        The destination's answer, for people; free of patient data.
    """

    sop_instance_uid: str
    carried: Carried
    detail: str = ""


class Courier(Protocol):
    """Carries parcels to one destination; used by one thread at a time."""

    def carry(self, parcels: Sequence[Parcel], *, read_back: bool) -> list[Receipt]:
        """Send parcels in order, and ask for them afterwards if `read_back`; one receipt for each parcel.

        Raises
        ------
        PeerUnreachable
            The destination does not answer; nothing was sent.
        PeerRejected
            It refuses to talk to us; nothing was sent.
        """
        ...

    def look_up(self, parcels: Sequence[Parcel]) -> list[Receipt]:
        """Ask for parcels that were accepted earlier: CONFIRMED, ACCEPTED or MISSING each.

        Raises
        ------
        PeerUnreachable, PeerRejected
            As for `carry`.
        """
        ...
