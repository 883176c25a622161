"""Which objects retention rules allow to take off the disk: a question to the database, asked again before each act.

Never anything of a study with a case that is not final, a held object, or a delivery that has not arrived as surely as
the rule asks. Edits as they were received and what stages made are never among it: the one is a person's work, the
other lets a case be run again. Of results only those go that some destination has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from sqlalchemy import ColumnElement, exists
from sqlmodel import Session, col, select

from gateway.config import RetentionRule
from gateway.domain.case import CaseState
from gateway.domain.instance import InstanceKind
from gateway.services.blob_references import is_offered
from gateway.store.database import Database
from gateway.store.tables import AuditEvent, Case, Delivery, Hold, Instance, Output, Study

#: Proofs of a delivery as the audit trail names them, weakest first.
_PROOFS: Final = MappingProxyType({"": 0, "accepted": 1, "listed": 2, "committed": 3})
_RECEIVED_KINDS: Final = (InstanceKind.IMAGE, InstanceKind.OTHER, InstanceKind.OWN_OUTPUT)
_AT_A_TIME: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Purgeable:
    """What a rule allows to take off the disk of one study.

    Parameters
    ----------
    index : int
        Of the rule.
    study_instance_uid, rule : str
        Of which study, and the rule in words.
    remove : str
        ``received`` or ``results``.
    blobs : tuple of (str, int)
        SHA-256 and size, bytes.
    """

    index: int
    study_instance_uid: str
    rule: str
    remove: str
    blobs: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes together."""
        return sum(size for _, size in self.blobs)


def in_words(rule: RetentionRule, index: int) -> str:
    """Return a rule as the audit trail and `overread check` name it."""
    decided = f" decided {', '.join(rule.qc_status)}" if rule.qc_status else ""
    return f"data.retention[{index}]: {rule.remove} of {rule.studies} studies{decided} after {rule.after_days:g} days"


def find_purgeable(database: Database, rules: Sequence[RetentionRule], *, now: datetime) -> Iterator[Purgeable]:
    """Yield what the rules allow to remove now, study by study; nothing is changed."""
    for index, rule in enumerate(rules):
        after = ""
        while True:
            with database.read() as session:
                page = _studies(session, rule, now=now, after=after)
                found = [one for uid in page if (one := purgeable(session, rule, index, uid, now=now))]
            yield from found
            if len(page) < _AT_A_TIME:
                break
            after = page[-1]


def purgeable(
    session: Session, rule: RetentionRule, index: int, study_instance_uid: str, *, now: datetime
) -> Purgeable | None:
    """Return what a rule allows to remove of one study, None if nothing; read in the caller's transaction."""
    fits = select(Study.study_instance_uid).where(
        Study.study_instance_uid == study_instance_uid, *_conditions(rule, now=now)
    )
    if session.exec(fits).first() is None or not _has_arrived(session, rule, study_instance_uid):
        return None
    blobs = tuple((_received if rule.remove == "received" else _results)(session, study_instance_uid))
    if not blobs:
        return None
    return Purgeable(
        index=index,
        study_instance_uid=study_instance_uid,
        rule=in_words(rule, index),
        remove=rule.remove,
        blobs=blobs,
    )


def _studies(session: Session, rule: RetentionRule, *, now: datetime, after: str) -> Sequence[str]:
    uid = col(Study.study_instance_uid)
    if rule.remove == "received":
        left = exists().where(
            col(Instance.study_instance_uid) == uid,
            col(Instance.kind).in_(_RECEIVED_KINDS),
            is_offered(col(Instance.sha256)),
        )
    else:
        left = exists().where(col(Output.study_instance_uid) == uid, is_offered(col(Output.sha256)))
    query = select(Study.study_instance_uid).where(uid > after, left, *_conditions(rule, now=now))
    return session.exec(query.order_by(uid).limit(_AT_A_TIME)).all()


def _conditions(rule: RetentionRule, *, now: datetime) -> Iterator[ColumnElement[bool]]:
    """Yield what must be so of a study."""
    uid, before = col(Study.study_instance_uid), now - timedelta(days=rule.after_days)
    of_study = col(Case.study_instance_uid) == uid
    yield col(Study.last_received_at) < before
    # Everything that came was looked at: neither images to assemble nor an edit to match.
    yield col(Study.revision) == col(Study.closed_revision)
    yield ~exists().where(
        col(Instance.study_instance_uid) == uid,
        col(Instance.kind).not_in(_RECEIVED_KINDS),
        col(Instance.handled).is_(False),
    )
    yield ~exists().where(col(Instance.study_instance_uid) == uid, col(Instance.received_at) >= before)
    yield ~exists().where(col(Hold.study_instance_uid) == uid, col(Hold.state) == "OPEN")
    if rule.studies == "untaken":
        yield ~exists().where(of_study)
        return
    yield exists().where(of_study)
    yield ~exists().where(of_study, col(Case.state) != CaseState.FINAL)
    yield ~exists().where(of_study, col(Case.changed_at) >= before)
    if rule.qc_status:
        yield ~exists().where(of_study, col(Case.qc_status).not_in(rule.qc_status))
    yield ~exists().where(of_study, col(Delivery.case_id) == col(Case.id), col(Delivery.state) != "DELIVERED")


def _has_arrived(session: Session, rule: RetentionRule, study_instance_uid: str) -> bool:
    """Whether every delivery of a study was proven as the rule asks; a study without any has nothing to prove."""
    cases = session.exec(select(Case.id).where(Case.study_instance_uid == study_instance_uid)).all()
    deliveries = session.exec(select(Delivery).where(col(Delivery.case_id).in_(cases))).all()
    if rule.proof == "accepted":
        return True
    proven: dict[tuple[str, str], int] = {}
    events = select(AuditEvent).where(col(AuditEvent.case_id).in_(cases), AuditEvent.action == "DELIVERED")
    for event in session.exec(events):
        sent = event.subject, str(event.detail.get("destination", ""))
        proven[sent] = max(proven.get(sent, 0), _PROOFS.get(str(event.detail.get("proof", "")), 0))
    return all(proven.get((d.sop_instance_uid, d.destination), 0) >= _PROOFS[rule.proof] for d in deliveries)


def _received(session: Session, study_instance_uid: str) -> Iterator[tuple[str, int]]:
    rows = session.exec(
        select(Instance).where(
            Instance.study_instance_uid == study_instance_uid,
            col(Instance.kind).in_(_RECEIVED_KINDS),
            is_offered(col(Instance.sha256)),
        )
    ).all()
    for row in rows:
        if not _is_named_by(session, Output, row.sop_instance_uid, row.sha256) and not _is_held(session, row):
            yield row.sha256, row.size


def _results(session: Session, study_instance_uid: str) -> Iterator[tuple[str, int]]:
    rows = session.exec(
        select(Output).where(
            Output.study_instance_uid == study_instance_uid,
            is_offered(col(Output.sha256)),
            exists().where(col(Delivery.sop_instance_uid) == col(Output.sop_instance_uid)),
        )
    ).all()
    for row in rows:
        if not _is_named_by(session, Instance, row.sop_instance_uid, row.sha256) and not _is_held(session, row):
            yield row.sha256, row.size


def _is_named_by(session: Session, table: type[Instance] | type[Output], sop_instance_uid: str, sha256: str) -> bool:
    """Whether the other kind of row names the same bytes: equal DICOM files have equal UIDs."""
    query = select(table.sha256).where(table.sop_instance_uid == sop_instance_uid)
    return session.exec(query).first() == sha256


def _is_held(session: Session, row: Instance | Output) -> bool:
    held = select(Hold.id).where(Hold.sop_instance_uid == row.sop_instance_uid, Hold.sha256 == row.sha256)
    return session.exec(held).first() is not None
