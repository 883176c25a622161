from __future__ import annotations

import pytest

from gateway.services.case_record import case_record
from gateway.web.ui.timeline import timeline_of
from tests.support.web_gateway import Bench


def test_the_timeline_says_what_ran_again_and_what_reuse_saved(busy: Bench) -> None:
    timeline = timeline_of(case_record(busy.database, busy.edited))
    rows = dict(timeline.rows)
    assert [cell.run.outcome for cell in rows["image_qc"] if cell.run] == ["EXECUTED", "REUSED"]
    assert [cell.run.outcome for cell in rows["hippocampus"] if cell.run] == ["EXECUTED", "REPLACED"]
    assert rows["image_qc"][1].saved_s == pytest.approx(0.42)
    first, second = timeline.columns
    assert first.executed_s == pytest.approx(22.07)
    assert first.saved_s == 0
    assert second.executed_s + second.saved_s == pytest.approx(22.07)
    assert second.saved_s == pytest.approx(0.42 + 6.31)


def test_stages_stand_in_the_order_they_ran(busy: Bench) -> None:
    timeline = timeline_of(case_record(busy.database, busy.edited))
    assert [stage for stage, _ in timeline.rows] == [
        "image_qc", "hippocampus", "subfields", "measure", "segmentation_qc", "report",
    ]  # fmt: skip
