"""Storage Commitment, push model: we say that instances are safe only when they are recorded and their files are there.

The answer is an N-EVENT-REPORT on the association of the request while that lasts, and otherwise on one that we open,
tried again for days; what is owed is written down before the request is answered, so a restart loses none.

References
----------
PS3.4 Annex J.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from sqlmodel import Session

from dicom_sr.uids import is_path_safe_uid
from gateway.dimse.archive import Archive, NodeAddress
from gateway.dimse.commitment_report import REQUEST_COMMITMENT, Reference, read_references, write_report
from gateway.dimse.contexts import COMMITMENT_INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.dimse.contexts import STORAGE_COMMITMENT as COMMITMENT
from gateway.dimse.scu import RemoteNode, RequestedAssociation
from gateway.dimse.status import (
    CLASS_INSTANCE_CONFLICT,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    SUCCESS,
)
from gateway.domain.errors import GatewayError, PeerRejected, PeerUnreachable
from gateway.services.announce import announce_commitment
from gateway.services.owed_reports import OwedReports
from gateway.store.tables import Instance, Output, OwedReport

logger = logging.getLogger(__name__)

#: A requestor that wants the answer on a new association releases the old one within this, seconds.
GRACE_SECONDS: Final = 1.0
_PROPOSALS: Final = [(COMMITMENT, (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN))]


class CommitmentScp:
    """Answers commitment requests.

    Parameters
    ----------
    archive : Archive
        What is held, and where requestors listen.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._owed = OwedReports(archive.database, archive.clock)

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take a request; the report follows from a thread of its own, or, after a restart, by `report_due`."""
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        transaction = str(event.action_information.get("TransactionUID", ""))
        references = read_references(event.action_information)
        named = [uid for one in references for uid in (one.sop_class_uid, one.sop_instance_uid)]
        if not references or not all(is_path_safe_uid(uid) for uid in (transaction, *named)):
            return INVALID_ARGUMENT, None
        pairs = [(one.sop_class_uid, one.sop_instance_uid) for one in references]
        requestor, called = (str(side.ae_title).strip() for side in (event.assoc.requestor, event.assoc.acceptor))
        try:
            owed = self._owed.owe(transaction, requestor, called, pairs)
            announce_commitment(
                self._archive.database,
                transaction_uid=transaction,
                instances=[one.sop_instance_uid for one in references],
                sender=requestor,
                at=self._archive.clock(),
            )
        except GatewayError as error:
            logger.warning("a storage commitment of '%s' cannot be taken now: %s", requestor, error.detail)
            return PROCESSING_FAILURE, None
        report = threading.Thread(target=self._report, args=(owed, event.assoc), name="dicom-commitment", daemon=True)
        report.start()
        return SUCCESS, None

    def failures(self, references: list[Reference]) -> dict[str, int]:
        """Return the failure reason of each reference that is not safe here."""
        with self._archive.database.read() as session:
            reasons = {one.sop_instance_uid: self._reason(session, one) for one in references}
        return {uid: reason for uid, reason in reasons.items() if reason}

    def report_due(self) -> int:
        """Try again to report what is owed for a while; return how many were tried."""
        due = self._owed.due()
        for owed in due:
            self._report(owed, None)
        return len(due)

    def _reason(self, session: Session, reference: Reference) -> int:
        row = session.get(Instance, reference.sop_instance_uid) or session.get(Output, reference.sop_instance_uid)
        if row is None or not self._archive.blobs.location(row.sha256).is_file():
            return NO_SUCH_INSTANCE
        return 0 if row.sop_class_uid == reference.sop_class_uid else CLASS_INSTANCE_CONFLICT

    def _report(self, owed: OwedReport, association: Association | None) -> None:
        """Report on the association of the request while that lasts, else on one to where the requestor listens."""
        references = [Reference(sop_class_uid=one[0], sop_instance_uid=one[1]) for one in owed.instances]
        try:
            failed = self.failures(references)
            counts = {"committed": len(references) - len(failed), "failed": len(failed)}
            event_type, information = write_report(owed.transaction_uid, references, failed)
            if association is not None:
                association.join(GRACE_SECONDS)
                if association.is_established and _send(association, event_type, information):
                    self._owed.settle(owed, **counts, is_reported=True)
                    return
            address = self._archive.addresses.get(owed.requestor)
            if address is not None and _send_anew(address, owed.called_aet, event_type, information):
                self._owed.settle(owed, **counts, is_reported=True)
            elif address is None or not self._owed.postpone(owed):
                self._owed.settle(owed, **counts, is_reported=False)
                logger.warning(
                    "the storage commitment for '%s' cannot be reported: %s",
                    owed.requestor,
                    "it does not answer any more" if address else "give its host and port in node.peers",
                )
        except GatewayError as error:
            # It stays owed.
            logger.warning("a storage commitment for '%s' cannot be answered now: %s", owed.requestor, error.detail)
        except Exception as error:  # noqa: BLE001 - one that cannot be written must not keep the others waiting
            logger.error("a storage commitment for '%s' cannot be written: %s", owed.requestor, type(error).__name__)
            self._owed.settle(owed, committed=0, failed=len(references), is_reported=False)


def _send(association: Association, event_type: int, information: Dataset) -> bool:
    try:
        answer, _ = association.send_n_event_report(information, event_type, COMMITMENT, COMMITMENT_INSTANCE)
    except (RuntimeError, ValueError):
        # The association ended, or was accepted without this service, between two looks.
        return False
    return bool(answer.get("Status") == SUCCESS)


def _send_anew(address: NodeAddress, own_title: str, event_type: int, information: Dataset) -> bool:
    remote = RemoteNode(
        ae_title=address.ae_title,
        host=address.host,
        port=address.port,
        calling_aet=own_title,
        answer_seconds=30.0,
        tls=address.tls,
    )
    try:
        with RequestedAssociation(remote, _PROPOSALS, scp_roles=[COMMITMENT]) as association:
            status = association.report(
                sop_class=COMMITMENT, sop_instance=COMMITMENT_INSTANCE, event_type=event_type, information=information
            )
    except (PeerUnreachable, PeerRejected) as error:
        logger.info("a storage commitment could not be reported: %s", error.detail)
        return False
    return status == SUCCESS
