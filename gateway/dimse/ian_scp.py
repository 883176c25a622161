"""Instance Availability Notification: an archive says which instances of a study can be had.

References
----------
PS3.4 R.3, Table R.3.2-1.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset

from gateway.dimse.archive import Archive
from gateway.domain.errors import UnacceptableInstance
from gateway.services import announce

#: Instance Availability (0008,0056) of what can be had.
_AVAILABLE: Final = ("ONLINE", "NEARLINE", "OFFLINE")


def create_notification(archive: Archive, sop_instance_uid: str, attributes: Dataset, *, sender: str) -> None:
    """N-CREATE: a notification has come.

    Raises
    ------
    UnacceptableInstance
        ``MISSING_ATTRIBUTE`` if it names no study or no series.
    IllegalTransition
        ``DUPLICATE`` if it came before.
    """
    study = str(attributes.get("StudyInstanceUID") or "")
    series = attributes.get("ReferencedSeriesSequence") or []
    if not study or not series:
        raise UnacceptableInstance("an availability notification names no study or no series", code="MISSING_ATTRIBUTE")
    announce.announce_availability(
        archive.database,
        source_uid=sop_instance_uid,
        study=study,
        instances=[
            str(reference.get("ReferencedSOPInstanceUID") or "")
            for one in series
            for reference in one.get("ReferencedSOPSequence") or []
            if str(reference.get("InstanceAvailability") or "ONLINE") in _AVAILABLE
        ],
        sender=sender,
        at=archive.clock(),
    )
