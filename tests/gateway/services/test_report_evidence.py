"""Probability maps and pseudo ground truth as objects of their own: right content, and never taken for a result."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from sqlmodel import select

from dicom_sr.seg_kind import LABEL_MAP_SEGMENTATION_STORAGE
from dicom_sr.segmentation import Segmentation
from dicom_sr.validate import check
from dicom_sr.verdict import Finding
from gateway.config_file import load
from gateway.domain.errors import ConfigurationError
from gateway.domain.instance import InstanceKind
from gateway.domain.pipeline import OutputKind, StageKind
from gateway.services.accept_edit import EditOutcome
from gateway.services.report_evidence import marked
from gateway.services.run_stage import StageRunner
from gateway.services.stage_work import StageInputs, StageOutputs
from gateway.store.artifacts import decode_probabilities, encode_probabilities, probabilities_digest
from gateway.store.tables import Delivery, Output
from tests.support import dicom_tools as tools
from tests.support.lab import Lab, threshold_segment, toy_config, toy_pipeline
from tests.support.make_segmentation import make_segments
from tests.support.make_series import make_mr_series

SHAPE = (10, 24, 24)
TRUTH, MAPS = "PSEUDO_TRUTH_SEG", "PROBABILITY_SEG"
PACS = {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1"}


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_mr_series(tmp_path / "images", shape=SHAPE)


def _pipeline(**changes: object) -> dict[str, object]:
    stages = toy_pipeline()["stages"]
    assert isinstance(stages, dict)
    quality = {"kind": "segmentation_qc", "needs": ["core", "halves"]}
    stages = {**stages, "seg_qc": quality, "report": {"kind": "report", "needs": ["measure", "seg_qc"]}}
    return toy_pipeline(stages=stages, outputs=["SEG", "SEG_QC_SR", MAPS, TRUTH], **changes)


def _segment(inputs: StageInputs, card: object, models: object) -> StageOutputs:
    """Segment as ever, and give half the probability at the rim of each mask."""
    outputs = threshold_segment(inputs, card, models)
    assert outputs.segmentation is not None
    maps = {
        segment.label: np.where(outputs.segmentation.mask(segment), np.float32(1), np.float32(0.25))
        for segment in outputs.segmentation.segments
    }
    return replace(outputs, probabilities=maps if inputs.stage.name == "halves" else {})


def _judge(inputs: StageInputs, _card: object, _models: object) -> StageOutputs:
    """Stand in for the QC network: it would have segmented the core one column further."""
    core = inputs.segmentations["core"]
    shifted = {s.number: np.roll(core.mask(s), 1, axis=2) for s in core.segments}
    truth = Segmentation.from_masks(core.grid, shifted, core.segments)
    finding = Finding(stage=inputs.stage.name, code="PREDICTED_DICE", value=0.9, segment="Core")
    return StageOutputs(findings=(finding,), pseudo_ground_truth=truth)


def lab_with(folder: Path, **destination: object) -> Lab:
    """Open a gateway whose segmentation QC gives a pseudo ground truth and one of whose stages gives maps."""
    lab = Lab.create(folder, toy_config(_pipeline(), destinations=[{**PACS, **destination}]))
    lab.work = {**lab.work, StageKind.SEGMENTATION: _segment, StageKind.SEGMENTATION_QC: _judge}
    lab.runner = StageRunner(lab.env, device="cpu", work=lab.work)
    return lab


def only(lab: Lab, case: object, kind: str) -> tuple[Output, Dataset]:
    (output,) = lab.outputs(case, kind=kind)  # type: ignore[arg-type]
    return output, dcmread(lab.output_file(output))


def sent(lab: Lab) -> list[str]:
    with lab.env.database.read() as session:
        rows = session.exec(
            select(Output.kind).join(Delivery, Delivery.sop_instance_uid == Output.sop_instance_uid)
        ).all()
    return sorted(rows)


def test_both_are_legal_and_say_what_they_are_wherever_a_viewer_looks(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    for kind, words in ((TRUTH, "NOT A RESULT it0 | pseudo ground truth"), (MAPS, "QC ACCEPT it0 | probability")):
        output, ds = only(lab, case, kind)
        assert ds.SeriesDescription.startswith(words)
        assert ds.ContentDescription.startswith("Not for editing")
        assert check(ds) == ()
        assert tools.dciodvfy_errors(lab.output_file(output)) == []
        assert tools.dcentvfy_complaints([*images, lab.output_file(output)]) == []


def test_maps_hold_the_probabilities_and_pseudo_truth_the_masks(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    _, maps = only(lab, case, MAPS)
    assert (maps.SegmentationType, maps.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert set(np.unique(maps.pixel_array)) == {round(0.25 * 255), 255}
    assert [s.SegmentLabel for s in maps.SegmentSequence] == ["Probability of Front half", "Probability of Back half"]
    _, truth = only(lab, case, TRUTH)
    core = dcmread(lab.output_file(lab.newest_seg(case, "core")))
    np.testing.assert_array_equal(truth.pixel_array, np.roll(core.pixel_array, 1, axis=-1))
    assert [s.SegmentLabel for s in truth.SegmentSequence] == ["Pseudo truth, no result: Core"]


def test_they_go_only_to_a_destination_that_names_them(tmp_path: Path, images: list[Path]) -> None:
    silent = lab_with(tmp_path / "silent")
    silent.process(images)
    assert sent(silent) == ["SEG", "SEG", "SEG_QC_SR"]
    asking = lab_with(tmp_path / "asking", outputs=["SEG", TRUTH, MAPS])
    asking.process(images)
    assert sent(asking) == [MAPS, TRUTH, "SEG", "SEG"]


def test_no_label_tracking_or_series_is_shared_with_a_result(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    seen = [dcmread(lab.output_file(o)) for o in lab.outputs(case) if o.kind in ("SEG", TRUTH, MAPS)]
    assert len(seen) == 4
    for one, other in itertools.combinations(seen, 2):
        for keyword in ("SegmentLabel", "TrackingUID", "TrackingID"):
            assert not {s[keyword].value for s in one.SegmentSequence} & {
                s[keyword].value for s in other.SegmentSequence
            }
        assert one.SeriesInstanceUID != other.SeriesInstanceUID


@pytest.mark.parametrize("keeps_series", [False, True])
def test_an_edit_of_pseudo_truth_is_held_and_changes_no_result(
    tmp_path: Path, images: list[Path], *, keeps_series: bool
) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    output, truth = only(lab, case, TRUTH)
    edited = dcmread(lab.edited(output, images))
    if keeps_series:
        edited.SeriesInstanceUID = truth.SeriesInstanceUID
        edited.SegmentSequence[0].TrackingUID = truth.SegmentSequence[0].TrackingUID
        edited.SegmentSequence[0].SegmentedPropertyTypeCodeSequence = truth.SegmentSequence[
            0
        ].SegmentedPropertyTypeCodeSequence
    path = tmp_path / "edited_truth.dcm"
    edited.save_as(path, enforce_file_format=True)
    assert lab.edit(path) is EditOutcome.HELD
    (hold,) = lab.holds()
    assert hold.reasons[0]["code"] == "UNKNOWN_LABEL"
    assert lab.case(case.id).iteration == 0


def test_they_come_back_as_ours(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    for kind in (TRUTH, MAPS):
        output, _ = only(lab, case, kind)
        lab.send([lab.output_file(output)], sender="PACS")
        assert lab.received[-1].kind is InstanceKind.OWN_OUTPUT


def test_what_an_edit_does_not_touch_is_carried_and_maps_of_an_edited_stage_are_gone(
    tmp_path: Path, images: list[Path]
) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    truth, maps = only(lab, case, TRUTH)[0], only(lab, case, MAPS)[0]
    lab.edit(lab.edited(lab.newest_seg(case, "halves"), images))
    assert lab.case(case.id).iteration == 1
    now_truth, now_maps = only(lab, case, TRUTH)[0], only(lab, case, MAPS)[0]
    assert (now_truth.sop_instance_uid, now_truth.superseded) == (truth.sop_instance_uid, False)
    assert (now_maps.sop_instance_uid, now_maps.superseded) == (maps.sop_instance_uid, True)


def test_keeping_maps_makes_no_later_stage_run_again(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data")
    case = lab.process(images)
    plain = Lab.create(tmp_path / "plain", toy_config(_pipeline()))
    plain.work = {**lab.work, StageKind.SEGMENTATION: threshold_segment}
    plain.runner = StageRunner(plain.env, device="cpu", work=plain.work)
    other = plain.process(images)
    assert lab.runs(case)["measure"].key == plain.runs(other)["measure"].key


def test_a_label_map_destination_gets_pseudo_truth_as_a_label_map(tmp_path: Path, images: list[Path]) -> None:
    lab = lab_with(tmp_path / "data", seg="LABELMAP", outputs=[TRUTH])
    case = lab.process(images)
    assert only(lab, case, TRUTH)[0].sop_class_uid == LABEL_MAP_SEGMENTATION_STORAGE


def test_labels_that_grow_too_long_stay_unique() -> None:
    segments = make_segments("x" * 63 + "a", "x" * 63 + "b")
    labels = [segment.label for segment in marked(segments, OutputKind.PSEUDO_TRUTH_SEG)]
    assert len(set(labels)) == 2
    assert max(len(label) for label in labels) <= 64


def test_maps_are_stored_in_steps_of_a_fractional_object() -> None:
    maps = {"a": np.linspace(-0.1, 1.1, 24, dtype=np.float32).reshape(2, 3, 4), "b": np.ones((2, 3, 4), np.float32)}
    found = decode_probabilities(encode_probabilities(maps))
    assert list(found) == ["a", "b"]
    np.testing.assert_allclose(found["a"] / 255, np.clip(maps["a"], 0, 1), atol=0.5 / 255 + 1e-6)
    assert encode_probabilities(found) == encode_probabilities(maps)
    assert probabilities_digest(found) == probabilities_digest(maps) != probabilities_digest({"a": maps["a"]})


CONFIGURED = """\
pipelines:
  - use: hippocampus-mr
    outputs: {outputs}
    stages:
      hippocampus:
        parameters: {{probabilities: {keep}}}
"""


@pytest.mark.parametrize(
    ("outputs", "keep", "complaint"),
    [
        ("[SEG, PROBABILITY_SEG]", "true", ""),
        ("[SEG]", "false", ""),
        ("[SEG]", "true", "nothing sends the maps"),
        ("[SEG, PROBABILITY_SEG]", "false", "no stage keeps maps"),
    ],
)
def test_keeping_maps_without_sending_them_is_a_fault_of_the_configuration_and_the_other_way_round(
    tmp_path: Path, outputs: str, keep: str, complaint: str
) -> None:
    path = tmp_path / "overread.yaml"
    path.write_text(CONFIGURED.format(outputs=outputs, keep=keep))
    if complaint:
        with pytest.raises(ConfigurationError, match=complaint):
            load(path)
    else:
        assert load(path).pipelines[0].stages["hippocampus"].parameters["probabilities"] is (keep == "true")
