"""SEGs of a stage as they leave: numbering, colours and codes that viewers read right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicom_sr.segmentation import Segmentation
from gateway.domain.pipeline import StageKind
from gateway.services.accept_edit import EditOutcome
from gateway.services.run_stage import StageRunner
from gateway.services.stage_work import StageInputs, StageOutputs
from tests.support.lab import Lab, threshold_segment, toy_config, toy_pipeline
from tests.support.make_series import make_mr_series

CODE = {"value": "5366008", "meaning": "Hippocampus"}
#: Label values as a model may give them, with gaps, and a modifier that tells the parts apart.
PARTS = [
    {
        "number": 3,
        "label": "Front half",
        "type": CODE,
        "color": [86, 180, 233],
        "modifier": {"value": "255549009", "meaning": "Anterior"},
    },
    {
        "number": 7,
        "label": "Back half",
        "type": CODE,
        "color": [0, 158, 115],
        "modifier": {"value": "255551008", "meaning": "Posterior"},
    },
]


def _segment(inputs: StageInputs, card: object, models: object) -> StageOutputs:
    """Give the halves the label values that the stage declares."""
    declared = inputs.stage.segments
    plain = tuple(replace(segment, number=n) for n, segment in enumerate(declared, 1))
    found = threshold_segment(replace(inputs, stage=replace(inputs.stage, segments=plain)), card, models).segmentation
    assert found is not None
    values = np.array([0, *(segment.number for segment in declared)], np.uint16)
    return StageOutputs(segmentation=Segmentation.from_labelmap(found.grid, values[found.layers[0]], declared))


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP"])
def test_label_values_with_gaps_leave_numbered_from_one_in_order_of_their_colours(tmp_path: Path, form: str) -> None:
    stages = toy_pipeline()["stages"]
    assert isinstance(stages, dict)
    stages = {**stages, "halves": {**stages["halves"], "segments": PARTS}}
    destination = {"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1", "seg": form}
    lab = Lab.create(tmp_path / "data", toy_config(toy_pipeline(stages=stages), destinations=[destination]))
    lab.runner = StageRunner(lab.env, device="cpu", work={**lab.work, StageKind.SEGMENTATION: _segment})
    images = make_mr_series(tmp_path / "images", shape=(10, 24, 24))
    case = lab.process(images)

    output = lab.newest_seg(case, "halves")
    ds = dcmread(lab.output_file(output))

    # OHIF takes the colour of segment n from the n-th item, so number and place must be the same.
    foreground = [item for item in ds.SegmentSequence if item.SegmentNumber]
    assert [item.SegmentNumber for item in ds.SegmentSequence][:2] == [1, 2]
    assert [item.SegmentLabel for item in foreground] == ["Front half", "Back half"]
    modifiers = [
        item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning
        for item in foreground
    ]
    assert modifiers == ["Anterior", "Posterior"]
    if form == "LABELMAP":
        assert set(np.unique(ds.pixel_array)) == {0, 1, 2}
    assert lab.edit(lab.edited(output, images)) is EditOutcome.ACCEPTED
    assert lab.case(case.id).iteration == 1
