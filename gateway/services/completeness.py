"""Gather what is known of a study, so that `gateway.domain.evidence` can judge whether it is complete."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import func
from sqlmodel import Session, col, select

from dicom_sr.acquisition import SeriesDefect
from dicom_sr.series import read_series
from gateway.config import NodeConfig, Peer
from gateway.domain.evidence import Announced, AnnouncementKind, Facts, Patience, StepState
from gateway.domain.instance import InstanceKind
from gateway.services.blob_references import purged_series
from gateway.services.environment import Environment
from gateway.store.tables import Announcement, Instance, Output, Series, Study

#: Counts the image series of a study, at a revision, in which slices are missing.
GapCount = Callable[[str, int], int]
_REMEMBERED = 1000


def patience_of(node: NodeConfig) -> Patience:
    """Return how long to wait, as configured."""
    return Patience(
        quiet=node.quiet_seconds,
        doubtful=max(node.quiet_seconds, node.quiet_seconds_without_evidence),
        in_progress=max(node.quiet_seconds, node.quiet_seconds_in_progress),
    )


def known_facts(session: Session, study: Study, peer: Peer | None, *, now: datetime, is_arriving: bool) -> Facts:
    """Return what the database knows of a study; nobody is asked and no file is opened.

    Parameters
    ----------
    session : Session
        From `Database.read`.
    study : Study
        Which.
    peer : Peer or None
        Its sender, where it is configured.
    now : datetime
        The time.
    is_arriving : bool
        Whether an association that brought some of it is open.
    """
    uid = study.study_instance_uid
    instances = session.exec(select(func.count()).select_from(Instance).where(Instance.study_instance_uid == uid)).one()
    expected = peer.expected_series if peer else ()
    return Facts(
        quiet_seconds=(now - study.last_received_at).total_seconds(),
        is_arriving=is_arriving,
        announced=_announced(session, uid),
        instances=instances,
        expected_series=len(expected),
        found_series=_found(session, uid, expected) if expected else 0,
    )


class GapCheck:
    """Looks for missing slices, once for each revision of a study.

    Parameters
    ----------
    env : Environment
        Instances and their files.
    """

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._known: dict[str, tuple[int, int]] = {}

    def __call__(self, study_instance_uid: str, revision: int) -> int:
        """Return the number of image series in which slices are missing."""
        seen = self._known.get(study_instance_uid)
        if seen is None or seen[0] != revision:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            seen = self._known[study_instance_uid] = revision, self._count(study_instance_uid)
        return seen[1]

    def _count(self, study_instance_uid: str) -> int:
        with self._env.database.read() as session:
            rows = session.exec(
                select(Instance.series_instance_uid, Instance.sha256).where(
                    Instance.study_instance_uid == study_instance_uid, Instance.kind == InstanceKind.IMAGE
                )
            ).all()
            gone = purged_series(session, study_instance_uid)
        series: dict[str, list[str]] = {}
        for name, sha256 in rows:
            if name in gone:
                continue
            series.setdefault(name, []).append(sha256)
        return sum(
            SeriesDefect.MISSING_SLICES in read_series([self._env.blobs.path(one) for one in blobs]).acquisition.defects
            for blobs in series.values()
        )


def _announced(session: Session, study_instance_uid: str) -> tuple[Announced, ...]:
    rows = session.exec(
        select(Announcement).where(Announcement.study_instance_uid == study_instance_uid).order_by(col(Announcement.id))
    ).all()
    if not rows:
        return ()
    held = set(session.exec(select(Instance.sop_instance_uid).where(Instance.study_instance_uid == study_instance_uid)))
    ours = set(session.exec(select(Output.sop_instance_uid).where(Output.study_instance_uid == study_instance_uid)))
    return tuple(
        Announced(
            kind=AnnouncementKind(row.kind),
            state=StepState(row.state),
            listed=len(row.instances),
            held=len((held | ours).intersection(row.instances)),
        )
        for row in rows
        # What came after the archive called the study stable is not on its list: it will say so again.
        if row.kind != AnnouncementKind.STABLE_STUDY or held <= set(row.instances)
    )


def _found(session: Session, study_instance_uid: str, expected: tuple[str, ...]) -> int:
    query = select(Series.series_description).where(Series.study_instance_uid == study_instance_uid)
    descriptions = session.exec(query).all()
    return sum(any(re.search(one, text, re.IGNORECASE) for text in descriptions) for one in expected)
