"""Which objects go to which destination."""

from __future__ import annotations

import pytest

from gateway.config import Destination
from gateway.domain.instance import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE
from gateway.domain.pipeline import OutputKind
from gateway.services.draft import Draft, taken_by


def draft(kind: OutputKind, uid: str, *, sop_class: str = SEGMENTATION_STORAGE, stage: str = "brain") -> Draft:
    return Draft(
        kind=kind,
        stage=stage,
        sop_class_uid=sop_class,
        sop_instance_uid=uid,
        series_instance_uid="1",
        study_instance_uid="2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256="",
        size=0,
    )


BITS = draft(OutputKind.SEG, "1.1")
LABELS = draft(OutputKind.SEG, "1.2", sop_class=LABEL_MAP_SEGMENTATION_STORAGE)
REPORT = draft(OutputKind.SEG_QC_SR, "1.3", stage="report")


@pytest.mark.parametrize(("seg", "expected"), [("BINARY", BITS), ("LABELMAP", LABELS)])
def test_a_destination_gets_the_form_of_seg_that_its_viewers_read_best(seg: str, expected: Draft) -> None:
    destination = Destination.model_validate({"name": "d", "kind": "stow", "url": "http://x", "seg": seg})
    assert taken_by(destination, [BITS, LABELS, REPORT]) == [expected, REPORT]


def test_a_seg_that_exists_in_another_form_only_goes_out_all_the_same() -> None:
    destination = Destination.model_validate({"name": "d", "kind": "stow", "url": "http://x", "seg": "LABELMAP"})
    assert set(taken_by(destination, [BITS, REPORT])) == {BITS, REPORT}


def test_a_destination_that_names_its_kinds_gets_no_other() -> None:
    destination = Destination.model_validate({"name": "d", "kind": "stow", "url": "http://x", "outputs": ["SEG_QC_SR"]})
    assert taken_by(destination, [BITS, LABELS, REPORT]) == [REPORT]
