"""What real viewers wrote, through the whole gateway: a stage that returns the delivered prior's masks stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_sr.segmentation import Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from gateway.domain.pipeline import StageKind
from gateway.domain.stage_run import StageRunState
from gateway.services.accept_edit import EditOutcome
from gateway.services.run_stage import StageRunner
from gateway.services.stage_work import WORK, StageInputs, StageOutputs
from gateway.store.tables import Case
from tests.support.edited_seg import EditedSeg
from tests.support.lab import Lab, toy_config
from tests.support.shared import shared_data

ACCEPTED = {
    "ohif_edited_labelmap_rle.dcm": ("P1", 1198),
    "ohif_edited_labelmap_newseries.dcm": ("P1", 1198),
    "ohif_edited_bitmap_evrle.dcm": ("P1", 1198),
    "ohif_edited_labelmap_rle_smallstroke.dcm": ("P1", 337),
    "ohif_edited_from_hd_labelmap.dcm": ("P2", 337),
    "ohif_edited_overlap_to_labelmap.dcm": ("P3", 337),
}


@pytest.fixture(scope="module")
def files() -> EditedSeg:
    folder = shared_data("edited_seg")
    source: SourceSeries = read_series(sorted((folder / "source_series").glob("*.dcm")))
    return EditedSeg(folder=folder, source=source)


def delivered(tmp_path: Path, files: EditedSeg, prior: str) -> tuple[Lab, Case]:
    """A gateway that has delivered the prior: its one stage returns the prior's masks."""
    masks: Segmentation = files.prior(prior).load()
    pipeline = {
        "name": "prior",
        "match": {"modality": ["MR"]},
        "stages": {
            "image_qc": {"kind": "image_qc", "parameters": {"target": "any"}},
            "brain": {
                "kind": "segmentation",
                "command": ["prior", "{image}", "{output}"],
                "needs": ["image_qc"],
                "editable": True,
                "scope": {"minimum_dice": 0.5, "maximum_volume_ratio": 3.0, "overlap": masks.overlaps},
                "segments": [
                    {
                        "number": segment.number,
                        "label": segment.label,
                        "type": {"value": segment.property_type.value, "meaning": segment.property_type.meaning},
                    }
                    for segment in masks.segments
                ],
            },
            "measure": {"kind": "measure", "needs": ["brain"]},
            "report": {"kind": "report", "needs": ["image_qc", "measure"]},
        },
    }
    lab = Lab.create(tmp_path / "data", toy_config(pipeline))

    def give_prior(inputs: StageInputs, _card: object, _models: object) -> StageOutputs:
        grid = inputs.require_volume().grid
        by_number = {segment.number: masks.mask(segment) for segment in masks.segments}
        return StageOutputs(segmentation=Segmentation.from_masks(grid, by_number, inputs.stage.segments))

    lab.runner = StageRunner(lab.env, device="cpu", work={**WORK, StageKind.SEGMENTATION: give_prior})
    return lab, lab.process(sorted((files.folder / "source_series").glob("*.dcm")))


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_ohif_saved_becomes_the_next_iteration_with_exactly_the_voxels_that_were_painted(
    tmp_path: Path, files: EditedSeg, name: str
) -> None:
    prior, voxels = ACCEPTED[name]
    lab, case = delivered(tmp_path, files, prior)
    assert lab.edit(files.path(name)) is EditOutcome.ACCEPTED
    case = lab.case(case.id)
    (edit,) = lab.edits()
    assert edit.changed_voxels == voxels
    assert {index for change in edit.changes for index in change["slices"]} == {13}
    assert lab.states(case) == {
        "image_qc": StageRunState.REUSED,
        "brain": StageRunState.REPLACED,
        "measure": StageRunState.DONE,
        "report": StageRunState.DONE,
    }


def test_a_segmentation_from_scratch_is_held_for_its_unknown_label(tmp_path: Path, files: EditedSeg) -> None:
    lab, case = delivered(tmp_path, files, "P1")
    assert lab.edit(files.path("ohif_new_from_scratch_labelmap.dcm")) is EditOutcome.HELD
    assert "UNKNOWN_LABEL" in [reason["code"] for reason in lab.holds()[0].reasons]
    assert lab.case(case.id).iteration == 0


def test_what_dcmqi_wrote_without_a_change_is_a_verdict_without_edit(tmp_path: Path, files: EditedSeg) -> None:
    lab, case = delivered(tmp_path, files, "P1")
    assert lab.edit(files.path("dcmqi_rewritten_seg.dcm")) is EditOutcome.UNCHANGED
    assert lab.case(case.id).iteration == 0
    assert len(lab.audit("SEG_RETURNED_UNCHANGED")) == 1


def test_a_second_reader_with_the_same_parent_is_held(tmp_path: Path, files: EditedSeg) -> None:
    lab, case = delivered(tmp_path, files, "P1")
    lab.edit(files.path("ohif_edited_labelmap_rle.dcm"))
    assert lab.edit(files.path("ohif_edited_labelmap_rle_smallstroke.dcm"), sender="READER2") is EditOutcome.HELD
    assert {r["code"] for r in lab.holds()[0].reasons} & {"CONCURRENT_EDIT", "STALE_PARENT"}
    assert lab.case(case.id).iteration == 1


def test_the_same_edit_saved_twice_under_two_uids_reruns_once(tmp_path: Path, files: EditedSeg) -> None:
    lab, case = delivered(tmp_path, files, "P1")
    lab.edit(files.path("ohif_edited_labelmap_rle.dcm"))
    assert lab.edit(files.path("ohif_edited_labelmap_newseries.dcm")) is not EditOutcome.ACCEPTED
    assert lab.case(case.id).iteration == 1
