"""The loop in one process: receive, assemble, run, report, edit, rerun; which stages run, and what is emitted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pydicom import dcmread

from gateway.domain.case import CaseState
from gateway.domain.errors import IllegalTransition, StaleAttempt
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from gateway.services import holds
from gateway.services.accept_edit import EditOutcome
from gateway.services.assemble import close_study, find_closable
from gateway.services.claim import Completion, claim, complete, record_crash, retry
from gateway.services.replay import replay
from gateway.services.review import decide
from gateway.store import audit
from gateway.store.tables import Case, NoMatchRow, StageRun
from tests.support.lab import Lab, toy_config, toy_pipeline
from tests.support.make_series import make_mr_series

DONE, REUSED, REPLACED = StageRunState.DONE, StageRunState.REUSED, StageRunState.REPLACED
SHAPE = (10, 24, 24)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_mr_series(tmp_path / "images", shape=SHAPE)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab.create(tmp_path / "data")


def settle(lab: Lab, case: Case, decision: QcStatus, comment: str = "") -> Case:
    decide(lab.env.database, case_id=case.id, decision=decision, comment=comment, actor="dr", at=lab.clock())
    lab.run()
    return lab.case(case.id)


class TestFirstRun:
    def test_a_closed_study_runs_every_stage_once_and_comes_to_review(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        assert case.state is CaseState.IN_REVIEW
        assert set(lab.states(case).values()) == {DONE}
        assert (case.generation, case.iteration, case.qc_status) == (1, 0, QcStatus.NOT_REVIEWED)

    def test_seg_reports_and_picture_are_made_with_a_verdict_in_every_description(
        self, lab: Lab, images: list[Path]
    ) -> None:
        case = lab.process(images)
        kinds = sorted(output.kind for output in lab.outputs(case))
        assert kinds == ["IMAGE_QC_SR", "SEG", "SEG", "SEG_QC_SR", "SUMMARY_SC"]
        for output in lab.outputs(case):
            description = str(dcmread(lab.output_file(output), stop_before_pixels=True).SeriesDescription)
            assert description.startswith(f"QC {case.verdict} it0")

    def test_receiving_everything_again_opens_nothing_new(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.send(images)
        assert lab.close() == ()
        assert lab.case(case.id).generation == 1

    def test_two_loops_that_close_the_same_study_make_one_case(self, lab: Lab, images: list[Path]) -> None:
        lab.send(images)
        lab.clock.advance(3600)
        (closure,) = find_closable(lab.env, now=lab.clock(), still_sending=(), expected_count=lambda _p, _u: None)
        opened: list[tuple[str, ...]] = []
        threads = [threading.Thread(target=lambda: opened.append(close_study(lab.env, closure))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(len(cases) for cases in opened) == [0, 0, 0, 1]

    def test_a_study_is_not_closed_while_an_association_still_brings_it(self, lab: Lab, images: list[Path]) -> None:
        lab.send(images)
        uid = lab.received[0].study_instance_uid
        lab.clock.advance(lab.env.config.node.quiet_seconds + 1)
        look = {"now": lab.clock(), "expected_count": lambda _p, _u: None}
        assert find_closable(lab.env, still_sending={uid}, **look) == ()
        (closure,) = find_closable(lab.env, still_sending=(), **look)
        assert "every association that brought it has ended" in closure.evidence

    def test_a_series_that_no_pipeline_takes_is_explained_and_no_error(self, lab: Lab, tmp_path: Path) -> None:
        lab.send(make_mr_series(tmp_path / "ct", shape=SHAPE, modality="CT"))
        assert lab.close() == ()
        with lab.env.database.read() as session:
            (row,) = session.query(NoMatchRow).all()
        assert row.reason == "modality is not MR"

    def test_a_broken_series_is_rejected_by_image_qc_and_reported_without_segmentation(
        self, lab: Lab, tmp_path: Path
    ) -> None:
        case = lab.process(make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5))
        states = lab.states(case)
        assert case.verdict == "REJECT"
        assert case.state is CaseState.IN_REVIEW
        assert states["core"] is states["halves"] is states["measure"] is StageRunState.SKIPPED
        assert sorted(o.kind for o in lab.outputs(case)) == ["IMAGE_QC_SR", "SUMMARY_SC"]


class TestEdit:
    def test_editing_the_last_segmentation_reruns_only_what_needs_it(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        assert lab.edit(lab.edited(lab.newest_seg(case, "halves"), images)) is EditOutcome.ACCEPTED
        case = lab.case(case.id)
        assert (case.iteration, case.state) == (1, CaseState.IN_REVIEW)
        assert lab.states(case) == {
            "image_qc": REUSED, "core": REUSED, "halves": REPLACED, "measure": DONE, "report": DONE,
        }  # fmt: skip

    def test_editing_the_first_segmentation_reruns_all_its_descendants(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.edit(lab.edited(lab.newest_seg(case, "core"), images))
        assert lab.states(lab.case(case.id)) == {
            "image_qc": REUSED, "core": REPLACED, "halves": DONE, "measure": DONE, "report": DONE,
        }  # fmt: skip

    def test_an_edit_stays_in_force_when_a_later_stage_is_edited(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.edit(lab.edited(lab.newest_seg(case, "core"), images, seed=1))
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images, seed=2))
        states = lab.states(lab.case(case.id))
        assert (states["core"], states["halves"]) == (REUSED, REPLACED)

    def test_an_edit_is_overtaken_when_a_stage_it_depends_on_is_edited(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images, seed=1))
        lab.edit(lab.edited(lab.newest_seg(case, "core"), images, seed=2))
        states = lab.states(lab.case(case.id))
        assert (states["core"], states["halves"]) == (REPLACED, DONE)

    def test_the_accepted_edit_is_emitted_again_with_codes_tracking_and_lineage(
        self, lab: Lab, images: list[Path]
    ) -> None:
        case = lab.process(images)
        before = lab.newest_seg(case, "halves")
        edit = lab.edited(before, images)
        lab.edit(edit)
        first, second = dcmread(lab.output_file(before)), dcmread(lab.output_file(lab.newest_seg(case, "halves")))
        assert second.SOPInstanceUID != first.SOPInstanceUID
        for old, new in zip(first.SegmentSequence, second.SegmentSequence, strict=True):
            assert (old.SegmentLabel, old.TrackingUID) == (new.SegmentLabel, new.TrackingUID)
            assert old.SegmentedPropertyTypeCodeSequence == new.SegmentedPropertyTypeCodeSequence
            assert (old.SegmentAlgorithmType, new.SegmentAlgorithmType) == ("AUTOMATIC", "SEMIAUTOMATIC")
        cited = str(second)
        assert str(first.SOPInstanceUID) in cited
        assert str(dcmread(edit, stop_before_pixels=True).SOPInstanceUID) in cited

    def test_an_unchanged_seg_is_carried_over_under_its_uid(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        core = lab.newest_seg(case, "core").sop_instance_uid
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
        assert lab.newest_seg(case, "core").sop_instance_uid == core
        assert len(lab.outputs(case, kind="SEG", stage="core")) == 1

    def test_the_new_report_names_its_predecessor(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        (first,) = lab.outputs(case, kind="SEG_QC_SR")
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
        second = dcmread(lab.output_file(lab.outputs(case, kind="SEG_QC_SR")[-1]))
        assert first.sop_instance_uid in str(second.PredecessorDocumentsSequence)

    def test_the_same_bytes_again_are_one_iteration(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "halves"), images)
        lab.edit(edit)
        lab.send([edit], sender="READER1")
        assert lab.case(case.id).iteration == 1

    def test_a_seg_that_comes_back_as_it_was_sent_changes_nothing(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.send([lab.output_file(lab.newest_seg(case, "core"))], sender="PACS")
        assert (lab.case(case.id).iteration, len(lab.holds())) == (0, 0)

    def test_a_second_edit_of_the_same_parent_is_held(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        seg = lab.newest_seg(case, "halves")
        first, second = lab.edited(seg, images, seed=1), lab.edited(seg, images, seed=2)
        assert lab.edit(first) is EditOutcome.ACCEPTED
        assert lab.edit(second, sender="READER2") is EditOutcome.HELD
        codes = {reason["code"] for hold in lab.holds() for reason in hold.reasons}
        assert codes & {"STALE_PARENT", "CONCURRENT_EDIT"}
        assert lab.case(case.id).iteration == 1

    def test_an_edit_of_a_final_case_waits_at_the_closed_door_and_can_be_released(
        self, lab: Lab, images: list[Path]
    ) -> None:
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "halves"), images)
        settle(lab, case, QcStatus.PASS)
        assert lab.edit(edit) is EditOutcome.HELD
        (hold,) = lab.holds()
        assert [reason["code"] for reason in hold.reasons] == ["DOOR_CLOSED"]
        settle(lab, case, QcStatus.NOT_REVIEWED, "reader saw a leak")
        holds.resolve(
            lab.env, hold_id=hold.id or 0, action="accept", case_id=case.id, stage="halves", reason="reopened",
            actor="dr", at=lab.clock(),
        )  # fmt: skip
        lab.run()
        assert (lab.case(case.id).iteration, lab.holds()[0].state) == (1, "ACCEPTED")

    def test_a_discarded_hold_needs_a_reason_and_stays_kept(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "halves"), images)
        settle(lab, case, QcStatus.PASS)
        lab.edit(edit)
        order = {"hold_id": lab.holds()[0].id or 0, "action": "discard", "case_id": None, "stage": None}
        with pytest.raises(IllegalTransition, match="needs a reason"):
            holds.resolve(lab.env, **order, reason=" ", actor="dr", at=lab.clock())
        holds.resolve(lab.env, **order, reason="wrong patient side", actor="dr", at=lab.clock())
        assert lab.holds()[0].state == "DISCARDED"
        assert lab.env.blobs.path(lab.holds()[0].sha256).is_file()

    def test_a_seg_that_cites_nothing_of_ours_is_held_as_it_may_be_an_edit_that_outran_its_images(
        self, lab: Lab, images: list[Path], tmp_path: Path
    ) -> None:
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "core"), images)
        other = Lab.create(tmp_path / "other")
        assert other.edit(edit) is EditOutcome.HELD
        assert other.holds()[0].reasons[0]["code"] == "UNKNOWN_STUDY"

    def test_a_seg_that_cites_images_of_ours_without_a_result_is_held(
        self, lab: Lab, images: list[Path], tmp_path: Path
    ) -> None:
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "core"), images)
        other = Lab.create(tmp_path / "other")
        other.send(images)
        assert other.edit(edit) is EditOutcome.HELD
        assert other.holds()[0].reasons[0]["code"] == "UNKNOWN_STUDY"

    def test_accepting_an_edit_records_the_request_in_the_senders_name_and_frees_the_case(
        self, lab: Lab, images: list[Path]
    ) -> None:
        case = lab.process(images)
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images), sender="READER7")
        first = lab.iterations(case)[0]
        assert (first.qc_status, first.qc_by) == (QcStatus.FAIL_NEEDS_REPROCESSING, "READER7")
        assert lab.case(case.id).qc_status is QcStatus.NOT_REVIEWED
        assert lab.case(case.id).qc_assignee == ""


class TestDoorPolicy:
    def test_on_request_holds_an_edit_until_reprocessing_was_asked(self, tmp_path: Path, images: list[Path]) -> None:
        lab = Lab.create(tmp_path / "data", toy_config(toy_pipeline(policy={"edits": "on_request"})))
        case = lab.process(images)
        edit = lab.edited(lab.newest_seg(case, "halves"), images)
        assert lab.edit(edit) is EditOutcome.HELD
        settle(lab, case, QcStatus.FAIL_NEEDS_REPROCESSING)
        second = lab.edited(lab.newest_seg(case, "halves"), images, seed=5)
        assert lab.edit(second) is EditOutcome.ACCEPTED

    def test_rerun_ask_waits_for_a_person(self, tmp_path: Path, images: list[Path]) -> None:
        lab = Lab.create(tmp_path / "data", toy_config(toy_pipeline(policy={"rerun": "ask"})))
        case = lab.process(images)
        assert lab.edit(lab.edited(lab.newest_seg(case, "halves"), images)) is EditOutcome.HELD
        (hold,) = lab.holds()
        assert hold.reasons[0]["code"] == "RERUN_NOT_CONFIRMED"
        holds.resolve(
            lab.env, hold_id=hold.id or 0, action="accept", case_id=None, stage=None, reason="", actor="dr",
            at=lab.clock(),
        )  # fmt: skip
        lab.run()
        assert lab.case(case.id).iteration == 1


class TestDecision:
    def test_a_pass_signs_the_report_and_ends_the_case(self, lab: Lab, images: list[Path]) -> None:
        case = settle(lab, lab.process(images), QcStatus.PASS)
        assert case.state is CaseState.FINAL
        signed = dcmread(lab.output_file(lab.outputs(case, kind="SEG_QC_SR")[-1]))
        assert (signed.VerificationFlag, signed.PreliminaryFlag) == ("VERIFIED", "FINAL")
        assert signed.VerifyingObserverSequence[0].VerifyingObserverName == "dr"

    def test_pass_is_for_the_automatic_result_only(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
        with pytest.raises(IllegalTransition):
            settle(lab, case, QcStatus.PASS)
        assert settle(lab, case, QcStatus.PASS_WITH_EDITS).state is CaseState.FINAL

    def test_a_refused_decision_changes_nothing(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images)
        with pytest.raises(IllegalTransition):
            settle(lab, case, QcStatus.PASS_WITH_EDITS)
        assert lab.case(case.id) == case
        assert lab.audit("QC_DECIDED") == []

    def test_a_comment_in_any_script_reaches_the_signed_report(self, lab: Lab, images: list[Path]) -> None:
        case = settle(lab, lab.process(images), QcStatus.PASS, "Müller: 良好")
        assert "Müller: 良好" in str(dcmread(lab.output_file(lab.outputs(case, kind="SEG_QC_SR")[-1])))

    def test_quarantine_is_reversible(self, lab: Lab, images: list[Path]) -> None:
        case = settle(lab, lab.process(images), QcStatus.QUARANTINED, "two patients?")
        assert case.state is CaseState.QUARANTINED
        assert settle(lab, case, QcStatus.NOT_REVIEWED).state is CaseState.IN_REVIEW


class TestLateInstances:
    def test_a_late_slice_reopens_the_same_case_as_a_new_generation(self, lab: Lab, images: list[Path]) -> None:
        case = lab.process(images[:-1])
        lab.send(images[-1:])
        assert lab.close() == (case.id,)
        lab.run()
        case = lab.case(case.id)
        assert (case.generation, case.iteration, case.state) == (2, 0, CaseState.IN_REVIEW)
        assert [iteration.superseded for iteration in lab.iterations(case)] == [True, False]
        assert lab.states(case)["core"] is DONE

    def test_a_late_series_that_no_stage_reads_reruns_nothing(
        self, lab: Lab, images: list[Path], tmp_path: Path
    ) -> None:
        case = lab.process(images)
        study = dcmread(images[0], stop_before_pixels=True).StudyInstanceUID
        other = make_mr_series(tmp_path / "other", shape=SHAPE, modality="CT", attributes={"StudyInstanceUID": study})
        lab.send(other)
        assert lab.close() == ()
        assert lab.case(case.id).generation == 1

    def test_a_final_case_is_reopened_by_late_instances_and_its_result_superseded(
        self, lab: Lab, images: list[Path]
    ) -> None:
        case = settle(lab, lab.process(images[:-1]), QcStatus.PASS)
        lab.send(images[-1:])
        lab.close()
        lab.run()
        case = lab.case(case.id)
        assert (case.state, case.generation, case.qc_status) == (CaseState.IN_REVIEW, 2, QcStatus.NOT_REVIEWED)
        assert any(output.superseded for output in lab.outputs(case, kind="SEG"))

    def test_two_series_that_fit_hold_the_case_instead_of_taking_the_first(
        self, lab: Lab, images: list[Path], tmp_path: Path
    ) -> None:
        study = dcmread(images[0], stop_before_pixels=True).StudyInstanceUID
        twin = make_mr_series(tmp_path / "twin", shape=SHAPE, seed="twin", attributes={"StudyInstanceUID": study})
        lab.send([*images, *twin])
        lab.close()
        with lab.env.database.read() as session:
            (case,) = session.query(Case).all()
        assert case.state is CaseState.HELD
        assert "2 series fit" in case.state_reason


class TestFencing:
    def ready(self, lab: Lab, images: list[Path]) -> int:
        lab.send(images)
        (case_id,) = lab.close()
        return lab.runs(lab.case(case_id))["image_qc"].id or 0

    def test_a_run_is_claimed_once(self, lab: Lab, images: list[Path]) -> None:
        run = self.ready(lab, images)
        assert claim(lab.env, run) is not None
        assert claim(lab.env, run) is None

    def test_a_late_completion_is_refused_and_audited(self, lab: Lab, images: list[Path]) -> None:
        run = self.ready(lab, images)
        first = claim(lab.env, run)
        assert first is not None
        record_crash(lab.env, run)
        second = claim(lab.env, run)
        assert second is not None
        with pytest.raises(StaleAttempt):
            complete(lab.env, first, Completion())
        complete(lab.env, second, Completion())
        assert len(lab.audit("LATE_COMPLETION_REFUSED")) == 1

    def test_a_stage_that_kills_its_host_three_times_is_held_and_can_be_retried(
        self, lab: Lab, images: list[Path]
    ) -> None:
        run = self.ready(lab, images)
        for _ in range(3):
            assert claim(lab.env, run) is not None
            record_crash(lab.env, run)
        with lab.env.database.read() as session:
            (case,) = session.query(Case).all()
        assert (case.state, lab.states(case)["image_qc"]) == (CaseState.HELD, StageRunState.HELD)
        assert "died 3 times" in case.state_reason
        assert retry(lab.env, case_id=case.id, actor="admin") == 1
        lab.run()
        assert lab.case(case.id).state is CaseState.IN_REVIEW


class TestReuseLaw:
    def test_with_and_without_reuse_give_the_same_artifacts_and_outputs_byte_for_byte(
        self, tmp_path: Path, images: list[Path]
    ) -> None:
        def outputs(folder: str, *, reuse: bool) -> dict[str, str]:
            lab = Lab.create(tmp_path / folder)
            case = lab.process(images)
            if not reuse:
                # A key that nobody else can have: nothing is ever found to reuse.
                forget_keys(lab)
            lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
            case = lab.case(case.id)
            states = set(lab.states(case).values())
            assert (REUSED in states) == reuse
            return {o.sop_instance_uid: o.sha256 for o in lab.outputs(case)}

        assert outputs("with", reuse=True) == outputs("without", reuse=False)


def forget_keys(lab: Lab) -> None:
    with lab.env.database.write() as session:
        for run in session.query(StageRun).all():
            run.key = f"forgotten {run.id}"
            session.add(run)


def test_the_audit_chain_is_whole_after_a_full_loop_and_shows_a_changed_row(lab: Lab, images: list[Path]) -> None:
    case = lab.process(images)
    lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
    with lab.env.database.write() as session:
        assert audit.first_broken_link(session) is None
        event = session.query(audit.AuditEvent).filter_by(action="EDIT_ACCEPTED").one()
        event.detail = {**event.detail, "stage": "core"}
        session.add(event)
    with lab.env.database.read() as session:
        assert audit.first_broken_link(session) == event.id


def test_a_bad_seg_is_held_and_the_next_good_one_is_taken(lab: Lab, images: list[Path]) -> None:
    case = lab.process(images)
    good = lab.edited(lab.newest_seg(case, "halves"), images, seed=1)
    bad = dcmread(lab.edited(lab.newest_seg(case, "halves"), images, seed=2))
    bad.PatientID = "SOMEBODY-ELSE"
    path = images[0].parent / "bad.dcm"
    bad.save_as(path)
    assert lab.edit(path) is EditOutcome.HELD
    assert lab.holds()[0].reasons[0]["code"] == "IDENTITY_MISMATCH"
    assert lab.edit(good) is EditOutcome.ACCEPTED


def test_a_replay_of_a_case_gives_every_artifact_again(lab: Lab, images: list[Path]) -> None:
    case = lab.process(images)
    found = replay(lab.env, case.id, device="cpu", work=lab.work)
    assert {item.stage for item in found} == {"image_qc", "core", "halves", "measure"}
    assert all(item.is_equal for item in found)
