"""What a received instance is to us."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.domain.instance import (
    LABEL_MAP_SEGMENTATION_STORAGE,
    RT_STRUCTURE_SET_STORAGE,
    SEGMENTATION_STORAGE,
    InstanceKind,
    classify,
)

MR = "1.2.840.10008.5.1.4.1.1.4"
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


@pytest.mark.parametrize("sop_class", [MR, REPORT, SEGMENTATION_STORAGE, LABEL_MAP_SEGMENTATION_STORAGE])
@pytest.mark.parametrize("has_pixels", [True, False])
def test_our_own_output_is_never_input_again(sop_class: str, has_pixels: bool) -> None:
    assert classify(sop_class_uid=sop_class, has_pixels=has_pixels, is_own=True) is InstanceKind.OWN_OUTPUT


@pytest.mark.parametrize(
    ("sop_class", "has_pixels"),
    list(product([SEGMENTATION_STORAGE, LABEL_MAP_SEGMENTATION_STORAGE], [True, False])),
)
def test_a_segmentation_of_either_class_is_an_edit(sop_class: str, has_pixels: bool) -> None:
    assert classify(sop_class_uid=sop_class, has_pixels=has_pixels, is_own=False) is InstanceKind.EDITED_SEG


def test_a_structure_set_may_be_an_edit() -> None:
    found = classify(sop_class_uid=RT_STRUCTURE_SET_STORAGE, has_pixels=False, is_own=False)
    assert found is InstanceKind.EDITED_CONTOURS


def test_what_has_pixels_is_an_image_and_what_has_none_is_kept_aside() -> None:
    assert classify(sop_class_uid=MR, has_pixels=True, is_own=False) is InstanceKind.IMAGE
    assert classify(sop_class_uid=REPORT, has_pixels=False, is_own=False) is InstanceKind.OTHER
