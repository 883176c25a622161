"""What modalities, archives and senders announce of a study before or after they send it, kept as evidence.

Announcements hold UIDs, states and times; what else a procedure step says of a person and an exam stays in the step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from gateway.domain.errors import IllegalTransition, NotFound
from gateway.domain.evidence import STEP_TRANSITIONS, AnnouncementKind, StepState
from gateway.services.procedure_steps import Change, keep_step
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.tables import Announcement, Instance

#: UIDs in one statement; databases bound them.
_AT_ONCE: Final = 500


def begin_step(
    database: Database,
    *,
    source_uid: str,
    studies: Iterable[str],
    instances: Sequence[str],
    sender: str,
    at: datetime,
    step: Change | None = None,
) -> None:
    """Keep that a procedure step has begun.

    Parameters
    ----------
    database : Database
        Where.
    source_uid : str
        SOP Instance UID of the step.
    studies : iterable of str
        Study Instance UIDs it is about; at least one.
    instances : sequence of str
        SOP Instance UIDs it lists already.
    sender : str
        Calling AE title.
    at : datetime
        When.
    step : callable, optional
        Makes the attributes of the step, which are kept beside.

    Raises
    ------
    IllegalTransition
        ``DUPLICATE`` if it is known already; nothing was changed.
    UnacceptableInstance
        What `step` raises, or ``TOO_LARGE``; nothing was changed.
    """
    with database.write() as session:
        _announce(
            session,
            Announcement(
                kind=AnnouncementKind.PROCEDURE_STEP,
                source_uid=source_uid,
                study_instance_uid="",
                state=StepState.IN_PROGRESS,
                sender=sender,
                announced_at=at,
                changed_at=at,
                instances=_named(instances),
            ),
            studies,
        )
        if step is not None:
            keep_step(session, source_uid, step, sender=sender, at=at)


def announce_availability(
    database: Database, *, source_uid: str, study: str, instances: Sequence[str], sender: str, at: datetime
) -> None:
    """Keep which instances of a study an archive says can be had.

    Raises
    ------
    IllegalTransition
        ``DUPLICATE`` if the notification is known already; nothing was changed.
    """
    with database.write() as session:
        _announce(
            session,
            Announcement(
                kind=AnnouncementKind.AVAILABILITY,
                source_uid=source_uid,
                study_instance_uid="",
                state=StepState.COMPLETED,
                sender=sender,
                announced_at=at,
                changed_at=at,
                instances=_named(instances),
            ),
            [study],
        )


def announce_stable(
    database: Database, *, source: str, study: str, instances: Sequence[str], sender: str, at: datetime
) -> None:
    """Keep which instances a study has in an archive that calls it stable; the newest list counts.

    Parameters
    ----------
    database : Database
        Where.
    source : str
        Names the study in that archive.
    study : str
        Study Instance UID.
    instances : sequence of str
        SOP Instance UIDs.
    sender : str
        The archive.
    at : datetime
        When.
    """
    with database.write() as session:
        row = next(iter(_known(session, source)), None)
        if row is None:
            row = Announcement(
                kind=AnnouncementKind.STABLE_STUDY,
                source_uid=source,
                study_instance_uid=study,
                state=StepState.COMPLETED,
                sender=sender,
                announced_at=at,
                changed_at=at,
            )
        row.instances, row.changed_at = _named(instances), at
        session.add(row)


def change_step(
    database: Database,
    *,
    source_uid: str,
    state: StepState | None,
    instances: Sequence[str] | None,
    sender: str,
    at: datetime,
    step: Change | None = None,
) -> None:
    """Change a procedure step; None leaves state, list or kept attributes as they are.

    Raises
    ------
    NotFound
        If it was never begun.
    IllegalTransition
        ``STEP_IS_FINAL`` if it has ended; nothing was changed.
    UnacceptableInstance
        What `step` raises, or ``TOO_LARGE``; nothing was changed.
    """
    with database.write() as session:
        rows = [row for row in _known(session, source_uid) if row.kind == AnnouncementKind.PROCEDURE_STEP]
        if not rows:
            raise NotFound("no procedure step with this UID was begun here")
        for row in rows:
            before = StepState(row.state)
            after = STEP_TRANSITIONS.get((before, state or before))
            if after is None:
                raise IllegalTransition(f"the procedure step is {before} and may not be changed", code="STEP_IS_FINAL")
            row.state, row.changed_at = after, at
            if instances is not None:
                row.instances = _named(instances)
        if step is not None:
            keep_step(session, source_uid, step, sender=sender, at=at)
        _audit(session, rows[0], sender)


def announce_commitment(
    database: Database, *, transaction_uid: str, instances: Sequence[str], sender: str, at: datetime
) -> None:
    """Keep what a storage commitment request says of the studies its instances belong to.

    Whoever asks to have a study committed has sent it. What is asked for and not here belongs to a study only if
    everything that is here belongs to that one. A request that was seen before changes nothing.
    """
    query = select(Instance.study_instance_uid, Instance.sop_instance_uid)
    with database.write() as session:
        found = [
            row
            for page in _pages(instances)
            for row in session.exec(query.where(col(Instance.sop_instance_uid).in_(page)))
        ]
        if _known(session, transaction_uid):
            return
        by_study: dict[str, list[str]] = {}
        for study, name in found:
            by_study.setdefault(study, []).append(name)
        for study, names in by_study.items():
            session.add(
                Announcement(
                    kind=AnnouncementKind.COMMITMENT,
                    source_uid=transaction_uid,
                    study_instance_uid=study,
                    state=StepState.COMPLETED,
                    sender=sender,
                    announced_at=at,
                    changed_at=at,
                    instances=_named(instances) if len(by_study) == 1 else sorted(names),
                )
            )


def _announce(session: Session, announcement: Announcement, studies: Iterable[str]) -> None:
    """Add an announcement for each study."""
    if _known(session, announcement.source_uid):
        raise IllegalTransition("this was announced before", code="DUPLICATE")
    session.add_all(
        Announcement.model_validate({**announcement.model_dump(exclude={"id"}), "study_instance_uid": study})
        for study in sorted(set(studies))
    )
    _audit(session, announcement, announcement.sender)


def _pages(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield names in pages that fit into one statement."""
    for start in range(0, len(names), _AT_ONCE):
        yield names[start : start + _AT_ONCE]


def _known(session: Session, source_uid: str) -> Sequence[Announcement]:
    return session.exec(select(Announcement).where(Announcement.source_uid == source_uid)).all()


def _named(instances: Iterable[str]) -> list[str]:
    return sorted(set(instances) - {""})


def _audit(session: Session, row: Announcement, sender: str) -> None:
    audit.append(
        session,
        at=row.changed_at,
        actor=sender,
        action="ANNOUNCED",
        subject=row.source_uid,
        detail={"kind": str(row.kind), "state": str(row.state), "instances": len(row.instances)},
    )
