"""The rows of an image of a series that is known: what nearly every instance is, on the driver's shortest way."""

from __future__ import annotations

from gateway.domain.instance import InstanceKind
from gateway.services.record_instance import (
    KNOWN_VERSION,
    NEW_IMAGE,
    NEW_INSTANCE,
    KnownVersion,
    instance_row,
    sender_of,
)
from gateway.services.replay_journal import Keeping
from gateway.store.journaled_rows import JournaledTransaction, Prepared


class ImageRows:
    """The statements of `record_instance.record_new` for an image of a known series."""

    def __init__(self) -> None:
        self._known, self._study, self._instance = map(Prepared, (KNOWN_VERSION, NEW_IMAGE, NEW_INSTANCE))

    def record_unless_known(self, transaction: JournaledTransaction, keeping: Keeping) -> KnownVersion | None:
        """Record an image if its UID was never seen; return what is kept under its UID otherwise."""
        header, at = keeping.header, keeping.at
        found = transaction.run(self._known, {"uid": header.sop_instance_uid})
        if found is not None:
            sha256, kind, is_output = found
            return KnownVersion(sha256=sha256, kind=InstanceKind(kind), is_output=bool(is_output))
        transaction.run(self._study, {"uid": header.study_instance_uid, "at": at, **sender_of(keeping.arrival)})
        row = instance_row(keeping.arrival, header, keeping.blob, kind=InstanceKind.IMAGE, at=at)
        transaction.run(self._instance, row)
        return None
