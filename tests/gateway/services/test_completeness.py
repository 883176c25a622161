"""Studies that come slowly, in pieces, twice and late: one case, the right generations, and why each was closed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.domain.evidence import StepState
from gateway.services.announce import announce_commitment, begin_step, change_step
from gateway.services.assemble import Closure, close_study, find_closable
from gateway.services.completeness import GapCheck
from gateway.store.tables import Study
from tests.support.lab import Lab, toy_config
from tests.support.make_series import make_mr_series

SHAPE = (10, 24, 24)
NODE = {"quiet_seconds": 10, "quiet_seconds_without_evidence": 60, "quiet_seconds_in_progress": 600}


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_mr_series(tmp_path / "images", shape=SHAPE)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    peers = [{"ae_title": "SCANNER", "expected_series": ["^T1", "flair"]}, {"ae_title": "MR1"}]
    return Lab.create(tmp_path / "data", toy_config(node={**NODE, "peers": peers}))


def look(lab: Lab, *, sending: bool = False, count: int | None = None, gaps: bool = False) -> tuple[Closure, ...]:
    studies = {one.study_instance_uid for one in lab.received} if sending else set()
    return find_closable(
        lab.env, now=lab.clock(), still_sending=studies, expected_count=lambda _peer, _uid: count,
        gaps=GapCheck(lab.env) if gaps else None,
    )  # fmt: skip


def names(files: list[Path]) -> list[str]:
    return [str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files]


def study_of(files: list[Path]) -> str:
    return str(dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)


def begin(lab: Lab, files: list[Path], source: str = "1.2.3") -> None:
    study = study_of(files)
    begin_step(lab.env.database, source_uid=source, studies=[study], instances=[], sender="MR1", at=lab.clock())


def end(lab: Lab, listed: list[str], state: StepState = StepState.COMPLETED) -> None:
    change_step(lab.env.database, source_uid="1.2.3", state=state, instances=listed, sender="MR1", at=lab.clock())


def test_five_slow_associations_duplicates_an_interrupted_resend_and_a_late_series_make_one_case(
    lab: Lab, images: list[Path], tmp_path: Path
) -> None:
    for part in range(5):
        lab.send(images[2 * part : 2 * part + 2], sender="MR1")
        assert look(lab, sending=True) == ()
        # The next association comes sooner than the quiet time after the end of this one.
        lab.clock.advance(9)
        assert look(lab) == ()
    lab.send(images[3:5], sender="MR1")
    lab.clock.advance(2)
    [closure] = look(lab)
    [case_id] = close_study(lab.env, closure)
    lab.run()
    first = lab.case(case_id)
    assert (first.generation, first.iteration, len(lab.iterations(first)[0].inputs)) == (1, 0, 10)

    lab.clock.advance(3600)
    lab.send(images[:4], sender="MR1")
    lab.clock.advance(61)
    assert look(lab) == (), "an interrupted resend of what is here is nothing new"

    # What comes late is another series of the study, in two pieces, with what was there sent again between them.
    late = make_mr_series(tmp_path / "late", shape=SHAPE, modality="CT", seed="late")
    lab.send(late[:5], sender="MR1")
    lab.clock.advance(5)
    lab.send([*images, *late[5:]], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab)
    assert close_study(lab.env, closure) == (), "the case's own series is the same: nothing is done again"
    assert lab.case(case_id).generation == 1


def test_slices_an_hour_later_are_a_second_generation_of_the_same_case(lab: Lab, images: list[Path]) -> None:
    lab.send(images[:8], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab)
    [case_id] = close_study(lab.env, closure)
    lab.run()
    lab.clock.advance(3600)
    lab.send(images[8:], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab)
    assert close_study(lab.env, closure) == (case_id,)
    lab.run()
    case = lab.case(case_id)
    assert case.generation == 2
    assert [(one.cause, len(one.inputs), one.superseded) for one in lab.iterations(case)] == [
        ("AUTOMATIC", 8, True), ("LATE_INSTANCES", 10, False),
    ]  # fmt: skip


def test_a_step_in_progress_holds_a_study_open_and_its_list_closes_it(lab: Lab, images: list[Path]) -> None:
    begin(lab, images)
    lab.send(images[:6], sender="MR1")
    lab.clock.advance(300)
    assert look(lab) == (), "the patient lies on the table"
    lab.send(images[6:9], sender="MR1")
    end(lab, names(images))
    lab.clock.advance(30)
    assert look(lab) == (), "one image that the modality lists has not come"
    lab.send(images[9:], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab)
    assert "10 of 10 instances that the modality's procedure step (completed) lists" in closure.evidence
    assert closure.evidence[-1] == "completeness is proven by a list"


def test_what_was_announced_and_never_comes_is_said_in_the_report(lab: Lab, images: list[Path]) -> None:
    begin(lab, images)
    end(lab, [*names(images), "1.2.3.4.5"])
    lab.send(images, sender="MR1")
    lab.clock.advance(61)
    [closure] = look(lab)
    assert "10 of 11 instances that the modality's procedure step (completed) lists" in closure.evidence
    [case_id] = close_study(lab.env, closure)
    lab.run()
    case = lab.case(case_id)
    report = dcmread(lab.output_file(lab.outputs(case, kind="SEG_QC_SR")[0]))
    text = [str(item.value) for item in report.iterall() if item.keyword == "TextValue"]
    assert "10 of 11 instances that the modality's procedure step (completed) lists" in text
    assert "completeness is not proven: the time to wait was over" in text


def test_an_abandoned_step_does_not_hold_a_study_for_ever(lab: Lab, images: list[Path]) -> None:
    begin(lab, images)
    lab.send(images, sender="MR1")
    lab.clock.advance(599)
    assert look(lab) == ()
    lab.clock.advance(2)
    [closure] = look(lab)
    assert "the modality's procedure step is not finished" in closure.evidence


def test_a_commitment_request_for_what_is_here_proves_it(lab: Lab, images: list[Path]) -> None:
    lab.send(images[:9], sender="MR1")
    announce_commitment(lab.env.database, transaction_uid="1.9", instances=names(images), sender="MR1", at=lab.clock())
    lab.clock.advance(11)
    assert look(lab) == ()
    lab.send(images[9:], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab)
    assert "10 of 10 instances that a storage commitment request lists" in closure.evidence


def test_series_that_a_sender_always_sends_are_waited_for(lab: Lab, tmp_path: Path) -> None:
    attributes = {"SeriesDescription": "T1 mprage"}
    lab.send(make_mr_series(tmp_path / "described", shape=SHAPE, attributes=attributes))
    lab.clock.advance(30)
    assert look(lab) == ()
    lab.clock.advance(31)
    [closure] = look(lab)
    assert "1 of 2 expected series" in closure.evidence


def test_a_gap_between_slices_is_waited_for_and_looked_at_once_for_each_revision(
    lab: Lab, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.send([*images[:4], *images[5:]], sender="MR1")
    lab.clock.advance(30)
    assert look(lab, gaps=True) == ()
    check = GapCheck(lab.env)
    counted: list[str] = []
    monkeypatch.setattr(check, "_count", lambda study: counted.append(study) or 0)
    with lab.env.database.read() as session:
        [study] = session.query(Study).all()
    for revision in (study.revision, study.revision, study.revision + 1):
        check(study.study_instance_uid, revision)
    assert len(counted) == 2
    lab.send([images[4]], sender="MR1")
    lab.clock.advance(11)
    [closure] = look(lab, gaps=True)
    assert "no slice is missing between others" in closure.evidence


def test_the_expected_count_is_not_asked_while_something_else_speaks_against(lab: Lab, images: list[Path]) -> None:
    lab.env.config.node.peers[1].__dict__["expected_count"] = "find"
    begin(lab, images)
    lab.send(images, sender="MR1")
    lab.clock.advance(30)
    asked: list[str] = []
    find_closable(lab.env, now=lab.clock(), still_sending=(), expected_count=lambda _peer, uid: asked.append(uid))
    assert asked == []


def test_unknown_instances_of_a_request_over_two_studies_count_for_neither(lab: Lab, tmp_path: Path) -> None:
    first = make_mr_series(tmp_path / "a", shape=SHAPE)
    second = make_mr_series(tmp_path / "b", shape=SHAPE, study="other")
    lab.send([*first, *second], sender="MR1")
    announce_commitment(
        lab.env.database, transaction_uid="1.9", instances=[*names(first), *names(second), "9.9"],
        sender="MR1", at=lab.clock(),
    )  # fmt: skip
    lab.clock.advance(11)
    assert {closure.evidence[-1] for closure in look(lab)} == {"completeness is proven by a list"}
