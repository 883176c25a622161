"""What still comes for a study whose images retention took off the disk: late images, edits; nothing stalls or runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from gateway.config import RetentionRule
from gateway.domain.case import CaseState
from gateway.domain.qc_status import QcStatus
from gateway.services import review
from gateway.services.edit_outcome import EditOutcome
from gateway.services.purge import Purger
from gateway.store.tables import Case, Delivery, Study
from tests.support.lab import Lab
from tests.support.make_series import make_mr_series

RULE = RetentionRule(remove="received", after_days=30, proof="accepted")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.create(tmp_path / "data")


def purged_case(lab: Lab, images: list[Path]) -> Case:
    """Process a study, decide it, and let its images be purged."""
    case = lab.process(images)
    review.decide(lab.env.database, case_id=case.id, decision=QcStatus.PASS, comment="", actor="ann", at=lab.clock())
    lab.run()
    with lab.env.database.write() as session:
        for delivery in session.exec(select(Delivery)).all():
            delivery.state = "DELIVERED"
            session.add(delivery)
    lab.clock.advance(timedelta(days=40).total_seconds())
    purger = Purger(lab.env.database, lab.env.blobs, (RULE,), lab.clock, lab.receiver.discard_purged)
    assert purger.run() == len(images)
    return lab.case(case.id)


def test_a_late_image_closes_its_study_and_starts_nothing_with_half_a_series(lab: Lab, tmp_path: Path) -> None:
    images = make_mr_series(tmp_path / "images", shape=(10, 24, 24))
    case = purged_case(lab, images[:-1])
    lab.send(images[-1:])
    assert lab.close() == ()
    with lab.env.database.read() as session:
        study = session.get_one(Study, case.study_instance_uid)
    assert study.closed_revision == study.revision
    after = lab.case(case.id)
    assert (after.state, after.generation) == (CaseState.FINAL, case.generation)


def test_an_edit_is_held_for_a_person(lab: Lab, tmp_path: Path) -> None:
    images = make_mr_series(tmp_path / "images", shape=(10, 24, 24))
    case = purged_case(lab, images)
    edited = lab.edited(lab.newest_seg(case, "core"), images)
    assert lab.edit(edited) == EditOutcome.HELD
    assert len(lab.holds()) == 1
