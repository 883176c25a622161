"""An association, or a request, that brought instances: when it ended, which studies it touched, what it counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from gateway.domain.instance import InstanceKind
from gateway.services.arrival import Outcome, Received
from gateway.store import audit
from gateway.store.tables import Study


@dataclass(slots=True, kw_only=True)
class Transfer:
    """What one association or request brought so far; belongs to one thread.

    Parameters
    ----------
    sender, called_aet, peer_address, door : str
        From whom and how.
    studies : set of str
        Study Instance UIDs it brought something of.
    counts : dict of str to int
        Instances by what became of them: ``IMAGE``, ``EDITED_SEG``, ``OTHER``, ``OWN_OUTPUT`` when new, else
        ``DUPLICATE``, ``CONFLICT``, ``REFUSED`` and ``INTERRUPTED``.
    refusals : dict of str to int
        The refused ones by error code.
    """

    sender: str
    called_aet: str = ""
    peer_address: str = ""
    door: str = "dicom"
    studies: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)

    def add(self, received: Received) -> None:
        """Count a received instance."""
        self.studies.add(received.study_instance_uid)
        self._count(str(received.kind if received.outcome is Outcome.NEW else received.outcome))

    def add_refused(self, code: str = "") -> None:
        """Count a refused one, by the code of its error where that is known."""
        self._count("REFUSED")
        if code:
            self.refusals[code] = self.refusals.get(code, 0) + 1

    def add_interrupted(self) -> None:
        """Count one whose sender was lost before its end; nothing of it is kept."""
        self._count("INTERRUPTED")

    @property
    def brought_images(self) -> bool:
        """Whether it brought an image that was not there."""
        return InstanceKind.IMAGE in self.counts

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def record_transfer(session: Session, transfer: Transfer, *, ended: str, at: datetime) -> None:
    """Note the end on every study it touched, and one audit row with the counts.

    Parameters
    ----------
    session : Session
        From `Database.write`.
    transfer : Transfer
        What was counted.
    ended : str
        ``released``, ``aborted`` or ``lost``.
    at : datetime
        When.
    """
    for uid in sorted(transfer.studies):
        study = session.get(Study, uid, with_for_update=True)
        if study is not None:
            study.association_ended_at = at
    if transfer.counts:
        audit.append(
            session,
            at=at,
            actor=transfer.sender,
            action="INSTANCES_RECEIVED",
            detail={
                "called_aet": transfer.called_aet,
                "address": transfer.peer_address,
                "door": transfer.door,
                "ended": ended,
                **transfer.counts,
                **({"refusals": dict(transfer.refusals)} if transfer.refusals else {}),
            },
        )
