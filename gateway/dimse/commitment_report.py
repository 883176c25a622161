"""What a storage commitment report holds, read into our words and written from them.

References
----------
PS3.4 J.3.3, Table J.3.3-1; PS3.3 C.14.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from gateway.dimse.status import meaning
from gateway.services.commitment import CommitmentReport

REQUEST_COMMITMENT: Final = 1
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An instance that is to be committed.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid : str
        Which.
    """

    sop_class_uid: str
    sop_instance_uid: str


def read_references(information: Dataset) -> list[Reference]:
    """Return what a request, or the good part of a report, names."""
    return [
        Reference(
            sop_class_uid=str(item.get("ReferencedSOPClassUID", "")),
            sop_instance_uid=str(item.get("ReferencedSOPInstanceUID", "")),
        )
        for item in information.get("ReferencedSOPSequence") or []
    ]


def write_request(transaction_uid: str, references: Iterable[Reference]) -> Dataset:
    """Return the Action Information that asks for a commitment."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_item(one) for one in references]
    return information


def read_report(information: Dataset) -> CommitmentReport:
    """Return what the Event Information of a report says; what is wrong in it is left out."""
    failed = {
        str(item.get("ReferencedSOPInstanceUID", "")): meaning(int(item.get("FailureReason") or 0x0110))
        for item in information.get("FailedSOPSequence") or []
    }
    named = {reference.sop_instance_uid for reference in read_references(information)}
    return CommitmentReport(
        transaction_uid=str(information.get("TransactionUID", "")),
        committed=frozenset(named - failed.keys() - {""}),
        failed=failed,
    )


def write_report(
    transaction_uid: str, references: Iterable[Reference], failed: Mapping[str, int]
) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a report.

    Parameters
    ----------
    transaction_uid : str
        As it was asked for.
    references : iterable of Reference
        What was to be committed.
    failed : mapping of str to int
        Failure Reason by SOP Instance UID, of what cannot be.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    safe, unsafe = [], []
    for one in references:
        item = _item(one)
        if one.sop_instance_uid in failed:
            item.FailureReason = failed[one.sop_instance_uid]
            unsafe.append(item)
        else:
            safe.append(item)
    if safe:
        information.ReferencedSOPSequence = safe
    if unsafe:
        information.FailedSOPSequence = unsafe
    return (SOME_FAILED if failed else ALL_COMMITTED), information


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item
