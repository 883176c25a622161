"""Key object selections of the gateway: when one is made, what it names, who gets it; it comes back harmless."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from sqlmodel import select

from dicom_sr.validate import check
from gateway.domain.instance import InstanceKind
from gateway.domain.qc_status import QcStatus
from gateway.services.review import decide
from gateway.store.tables import Case, Delivery, Output
from tests.support import sr_tools
from tests.support.lab import Lab, toy_config, toy_pipeline
from tests.support.make_series import make_mr_series

SHAPE = (10, 24, 24)
WITH_KOS = {"outputs": ["SEG", "IMAGE_QC_SR", "SEG_QC_SR", "SUMMARY_SC", "KOS"]}
PACS = {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1"}


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_mr_series(tmp_path / "images", shape=SHAPE)


def lab_with(folder: Path, *, pipeline: dict[str, object] | None = None, **destination: object) -> Lab:
    """Open a gateway whose toy pipeline makes key object selections and whose one destination is changed so."""
    return Lab.create(
        folder,
        toy_config(
            toy_pipeline(**(WITH_KOS if pipeline is None else pipeline)), destinations=[{**PACS, **destination}]
        ),
    )


def settle(lab: Lab, case: Case, decision: QcStatus, comment: str = "") -> Case:
    decide(
        lab.env.database, case_id=case.id, decision=decision, comment=comment, actor="dr^ada", at=lab.clock(),
        pipelines=lab.env.pipelines,
    )  # fmt: skip
    lab.run()
    return lab.case(case.id)


def selections(lab: Lab, case: Case) -> list[Dataset]:
    return [dcmread(lab.output_file(output)) for output in lab.outputs(case, kind="KOS")]


def title_and_reason(ds: Dataset) -> tuple[str, str]:
    reason = ds.ContentSequence[0].ConceptCodeSequence[0].CodeValue
    return ds.ConceptNameCodeSequence[0].CodeValue, reason


def named(ds: Dataset) -> set[str]:
    """SOP Instance UIDs the document selects; those of its content and of its evidence must be the same."""
    content = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in ds.ContentSequence
        if item.ValueType == "IMAGE" or item.ValueType == "COMPOSITE"
    }
    evidence = {
        str(sop.ReferencedSOPInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    assert content == evidence
    return content


def sent(lab: Lab, destination: str = "pacs") -> dict[str, str]:
    """Kinds by SOP Instance UID of what is queued for a destination."""
    with lab.env.database.read() as session:
        rows = session.exec(
            select(Output.sop_instance_uid, Output.kind)
            .join(Delivery, Delivery.sop_instance_uid == Output.sop_instance_uid)
            .where(Delivery.destination == destination)
        ).all()
    return dict(rows)


def test_images_that_image_qc_rejects_are_rejected_whole_with_the_reason(tmp_path: Path) -> None:
    files = make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5)
    lab = lab_with(tmp_path / "data", outputs=["KOS", "IMAGE_QC_SR"])
    case = lab.process(files)
    (ko,) = selections(lab, case)
    assert case.verdict == "REJECT"
    assert title_and_reason(ko)[0] == "113001"
    assert named(ko) == {str(dcmread(file).SOPInstanceUID) for file in files}
    assert ko.SeriesDescription.startswith("QC REJECT it0 | images rejected")
    assert sorted(sent(lab).values()) == ["IMAGE_QC_SR", "KOS"]
    assert check(ko) == ()
    assert sr_tools.dciodvfy_errors(lab.output_file(lab.outputs(case, kind="KOS")[0])) == []


def test_images_that_image_qc_doubts_have_a_quality_issue_once_and_keep_it(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data", pipeline={**WITH_KOS, "stages": _with_doubt()})
    case = lab.process(images)
    (ko,) = selections(lab, case)
    assert title_and_reason(ko)[0] == "113010"
    lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
    assert lab.case(case.id).iteration == 1
    (output,) = lab.outputs(case, kind="KOS")
    assert not output.superseded


def _with_doubt() -> dict[str, object]:
    stages = toy_pipeline()["stages"]
    assert isinstance(stages, dict)
    doubt = {"code": "SNR", "review_below": 1e9}
    return {**stages, "image_qc": {**stages["image_qc"], "criteria": [doubt]}}


def test_nothing_is_selected_where_the_pipeline_does_not_ask(tmp_path: Path) -> None:
    lab = lab_with(tmp_path / "data", pipeline={})
    case = lab.process(make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5))
    settle(lab, case, QcStatus.FAIL, "unusable")
    assert lab.outputs(case, kind="KOS") == []


def test_a_destination_that_names_no_kinds_gets_no_selection(tmp_path: Path) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5))
    assert len(lab.outputs(case, kind="KOS")) == 1
    assert "KOS" not in sent(lab).values()


def test_results_that_a_person_fails_are_rejected_in_that_persons_name_and_the_reports_stay(
    tmp_path: Path, images: list[Path]
) -> None:
    lab = lab_with(tmp_path / "data", outputs=["SEG", "SEG_QC_SR", "KOS"])
    case = lab.process(images)
    kinds = {"SEG", "SUMMARY_SC"}
    discarded = {o.sop_instance_uid for o in lab.outputs(case) if o.kind in kinds}
    settle(lab, case, QcStatus.FAIL, "Schichten verschoben: Müller")
    (ko,) = selections(lab, case)
    assert title_and_reason(ko) == ("113001", "111219")
    assert named(ko) == discarded
    assert "FAIL: Schichten verschoben: Müller" in [i.TextValue for i in ko.ContentSequence if i.ValueType == "TEXT"]
    assert [str(i.PersonName) for i in ko.ContentSequence if i.ValueType == "PNAME"] == ["dr^ada"]
    assert check(ko) == ()
    assert sr_tools.dciodvfy_errors(lab.output_file(lab.outputs(case, kind="KOS")[0])) == []
    assert [e.subject for e in lab.audit("KEY_OBJECTS_SELECTED")] == [str(ko.SOPInstanceUID)]
    assert "KOS" in sent(lab).values()


def test_images_without_results_that_a_person_fails_are_rejected_themselves(tmp_path: Path) -> None:
    files = make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5)
    lab = lab_with(tmp_path / "data")
    case = settle(lab, lab.process(files), QcStatus.FAIL, "gap")
    by_machine, by_person = selections(lab, case)
    assert named(by_machine) == named(by_person) == {str(dcmread(file).SOPInstanceUID) for file in files}
    assert title_and_reason(by_person) == title_and_reason(by_machine)


def test_quarantine_is_a_quality_issue_that_goes_when_it_is_lifted_and_signs_nothing(
    tmp_path: Path, images: list[Path]
) -> None:
    lab = lab_with(tmp_path / "data")
    case = settle(lab, lab.process(images), QcStatus.QUARANTINED, "ask the site")
    (ko,) = selections(lab, case)
    assert title_and_reason(ko)[0] == "113010"
    assert ko.SeriesDescription.startswith("QUARANTINED | QC ACCEPT it0")
    assert lab.audit("REPORT_SIGNED") == []
    case = settle(lab, case, QcStatus.NOT_REVIEWED)
    settle(lab, case, QcStatus.PASS)
    (output,) = lab.outputs(case, kind="KOS")
    assert output.superseded
    assert len(lab.audit("REPORT_SIGNED")) == 1


def test_a_pass_selects_nothing(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = settle(lab, lab.process(images), QcStatus.PASS)
    assert lab.outputs(case, kind="KOS") == []


def test_a_decision_taken_back_before_its_documents_were_made_makes_none(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    for decision in (QcStatus.QUARANTINED, QcStatus.NOT_REVIEWED):
        decide(
            lab.env.database, case_id=case.id, decision=decision, comment="hm", actor="dr", at=lab.clock(),
            pipelines=lab.env.pipelines,
        )  # fmt: skip
    lab.run()
    assert lab.outputs(case, kind="KOS") == []
    assert lab.audit("REPORT_SIGNED") == []


def test_earlier_results_are_withdrawn_only_where_asked_and_only_those_sent_there(
    tmp_path: Path, images: list[Path]
) -> None:
    destinations = [
        {**PACS, "withdraw": True, "outputs": ["SEG", "SEG_QC_SR"]},
        {**PACS, "name": "viewer"},
    ]
    lab = Lab.create(
        tmp_path / "data", toy_config(toy_pipeline(destinations=["pacs", "viewer"]), destinations=destinations)
    )
    case = lab.process(images)
    earlier, kept = lab.newest_seg(case, "halves"), lab.newest_seg(case, "core")
    assert lab.outputs(case, kind="KOS") == []
    lab.edit(lab.edited(earlier, images))
    (ko,) = selections(lab, case)
    assert title_and_reason(ko) == ("113001", "111219")
    (report, _) = lab.outputs(case, kind="SEG_QC_SR")
    assert named(ko) == {earlier.sop_instance_uid, report.sop_instance_uid}
    assert sorted(i.ValueType for i in ko.ContentSequence if "ReferencedSOPSequence" in i) == ["COMPOSITE", "IMAGE"]
    assert kept.sop_instance_uid not in named(ko)
    assert str(ko.SOPInstanceUID) in sent(lab)
    assert str(ko.SOPInstanceUID) not in sent(lab, "viewer")
    assert lab.newest_seg(case, "halves").sop_instance_uid in sent(lab)
    assert check(ko) == ()


def test_late_images_withdraw_every_result_made_without_them(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data", pipeline={}, withdraw=True)
    case = lab.process(sorted(images)[:-1])
    earlier = {output.sop_instance_uid for output in lab.outputs(case)}
    lab.send(images)
    lab.close()
    lab.run()
    assert lab.case(case.id).generation == 2
    (ko,) = selections(lab, case)
    assert title_and_reason(ko) == ("113001", "111220")
    assert named(ko) == earlier


def test_a_selection_that_comes_back_is_known_as_ours(tmp_path: Path) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5))
    (output,) = lab.outputs(case, kind="KOS")
    lab.send([lab.output_file(output)], sender="PACS")
    assert lab.received[-1].kind is InstanceKind.OWN_OUTPUT
    assert lab.close() == ()


def test_the_same_study_makes_the_same_bytes_again(tmp_path: Path) -> None:
    files = make_mr_series(tmp_path / "gap", shape=SHAPE, gap_at=5)
    digests = []
    for name in ("one", "two"):
        lab = lab_with(tmp_path / name)
        (output,) = lab.outputs(lab.process(files), kind="KOS")
        digests.append(output.sha256)
    assert digests[0] == digests[1]
