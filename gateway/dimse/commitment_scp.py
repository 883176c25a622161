"""Storage Commitment, push model: we say that instances are safe only when they are recorded and their files are there.

The answer is an N-EVENT-REPORT on the association of the request while that lasts, and otherwise on one that we open.

References
----------
PS3.4 Annex J.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from sqlmodel import Session

from gateway.dimse.archive import Archive, NodeAddress
from gateway.dimse.commitment_report import REQUEST_COMMITMENT, Reference, read_references, write_report
from gateway.dimse.contexts import COMMITMENT_INSTANCE, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from gateway.dimse.contexts import STORAGE_COMMITMENT as COMMITMENT
from gateway.dimse.status import (
    CLASS_INSTANCE_CONFLICT,
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    NO_SUCH_INSTANCE,
    SUCCESS,
)
from gateway.domain.errors import GatewayError
from gateway.services.announce import announce_commitment
from gateway.store import audit
from gateway.store.tables import Instance, Output

logger = logging.getLogger(__name__)

#: A requestor that wants the answer on a new association releases the old one within this, seconds.
GRACE_SECONDS: Final = 1.0
#: Pauses before further attempts to report, seconds.
RETRY_SECONDS: Final = (5.0, 30.0, 120.0)


class CommitmentScp:
    """Answers commitment requests.

    Parameters
    ----------
    archive : Archive
        What is held, and where requestors listen.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take a request; the report follows from a thread of its own."""
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        request = event.action_information
        transaction = str(request.get("TransactionUID", ""))
        references = read_references(request)
        if not transaction or not references:
            return INVALID_ARGUMENT, None
        report = threading.Thread(
            target=self._report, args=(event.assoc, transaction, references), name="dicom-commitment", daemon=True
        )
        report.start()
        return SUCCESS, None

    def failures(self, references: list[Reference]) -> dict[str, int]:
        """Return the failure reason of each reference that is not safe here."""
        with self._archive.database.read() as session:
            reasons = {one.sop_instance_uid: self._reason(session, one) for one in references}
        return {uid: reason for uid, reason in reasons.items() if reason}

    def _reason(self, session: Session, reference: Reference) -> int:
        row = session.get(Instance, reference.sop_instance_uid) or session.get(Output, reference.sop_instance_uid)
        if row is None or not self._archive.blobs.location(row.sha256).is_file():
            return NO_SUCH_INSTANCE
        return 0 if row.sop_class_uid == reference.sop_class_uid else CLASS_INSTANCE_CONFLICT

    def _report(self, association: Association, transaction: str, references: list[Reference]) -> None:
        requestor = str(association.requestor.ae_title).strip()
        try:
            event_type, information = self._answer(requestor, transaction, references)
        except GatewayError as error:
            logger.warning("a storage commitment for '%s' cannot be answered now: %s", requestor, error.detail)
            return
        association.join(GRACE_SECONDS)
        if association.is_established and _send(association, event_type, information):
            return
        address = self._archive.addresses.get(requestor)
        if address is None:
            logger.warning(
                "the storage commitment for '%s' cannot be reported: give its host and port in node.peers", requestor
            )
            return
        own_title = str(association.acceptor.ae_title).strip()
        for pause in (0.0, *RETRY_SECONDS):
            threading.Event().wait(pause)
            if _send_anew(address, own_title, event_type, information):
                return
        logger.warning("the storage commitment for '%s' could not be reported; it will ask again", requestor)

    def _answer(self, requestor: str, transaction: str, references: list[Reference]) -> tuple[int, Dataset]:
        failed = self.failures(references)
        announce_commitment(
            self._archive.database,
            transaction_uid=transaction,
            instances=[one.sop_instance_uid for one in references],
            sender=requestor,
            at=self._archive.clock(),
        )
        with self._archive.database.write() as session:
            audit.append(
                session,
                at=self._archive.clock(),
                actor=requestor,
                action="STORAGE_COMMITMENT",
                subject=transaction,
                detail={"committed": len(references) - len(failed), "failed": len(failed)},
            )
        return write_report(transaction, references, failed)


def _send(association: Association, event_type: int, information: Dataset) -> bool:
    try:
        answer, _ = association.send_n_event_report(information, event_type, COMMITMENT, COMMITMENT_INSTANCE)
    except (RuntimeError, ValueError):
        # The association ended, or was accepted without this service, between two looks.
        return False
    return bool(answer.get("Status") == SUCCESS)


def _send_anew(address: NodeAddress, own_title: str, event_type: int, information: Dataset) -> bool:
    ae = AE(own_title)
    ae.add_requested_context(COMMITMENT, [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
    role = build_role(COMMITMENT, scp_role=True)
    association = ae.associate(
        address.host, address.port, ae_title=address.ae_title, ext_neg=[role], **address.association_arguments
    )
    if not association.is_established:
        return False
    try:
        return _send(association, event_type, information)
    finally:
        association.release()
