"""Record an image that never came, and take it back: what the first one after a start would wait for is then ready.

The object mapper is configured and every statement compiled at its first use: 50 ms that no sender should see.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from sqlite3 import IntegrityError

from pydicom.uid import ImplicitVRLittleEndian, MRImageStorage

from gateway.services.arrival import Arrival, Door, KeptBlob
from gateway.services.received_header import ReceivedHeader
from gateway.services.record_image import ImageRows
from gateway.services.record_instance import known_version, record_new
from gateway.services.replay_journal import Keeping
from gateway.store.database import Database
from gateway.store.journaled_rows import JournaledRows

#: No instance can have it: what comes in has UIDs of digits and dots.
_NOBODY = "rehearsal"


class _TakenBack(Exception):
    """Ends a transaction so that nothing of it is kept."""


def rehearse(database: Database, rows: JournaledRows | None, images: ImageRows, at: datetime) -> None:
    """Go through what recording an image does, in transactions that are rolled back.

    Parameters
    ----------
    database : Database
        Nothing in it changes.
    rows, images : JournaledRows or None, ImageRows
        The short way of an image of a known series; None without SQLite.
    at : datetime
        Any time, with zone.

    Raises
    ------
    StorageFull, StorageUnavailable
        If the database fails.
    """
    header = ReceivedHeader(
        sop_class_uid=MRImageStorage,
        sop_instance_uid=_NOBODY,
        study_instance_uid=_NOBODY,
        series_instance_uid=_NOBODY,
        rows=1,
        columns=1,
    )
    blob = KeptBlob(sha256="", size=0, transfer_syntax_uid=ImplicitVRLittleEndian)
    keeping = Keeping(arrival=Arrival(door=Door.DICOM, sender=""), header=header, blob=blob, at=at)
    with suppress(_TakenBack), database.write() as session:
        known_version(session, _NOBODY)
        record_new(session, keeping.arrival, header, blob, at=at, is_known_series=False)
        raise _TakenBack
    # Without its series the row of the image is refused, so here nothing has to be taken back.
    if rows is not None:
        with suppress(IntegrityError), rows.write() as transaction:
            images.record_unless_known(transaction, keeping)
