"""Structure sets: contours of a mask drawn back give the mask; whatever is in doubt is held with its reason."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_sr import rtstruct_read, seg_layers
from dicom_sr.candidate import Candidate, OutputState
from dicom_sr.errors import GeometryMismatch, UnreadableObject
from dicom_sr.hold import HoldReason
from dicom_sr.match import Evidence, Hold, Ignore, IgnoreReason, Match, Outcome, Unchanged
from dicom_sr.match_named import match_structure_set
from dicom_sr.rtstruct_raster import rasterise
from dicom_sr.rtstruct_read import StructureSet, open_structure_set, parse_structure_set
from dicom_sr.seg_errors import UnreadableReason, UnreadableSeg
from dicom_sr.segmentation import Mask
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from tests.support.make_segmentation import make_segments
from tests.support.make_series import AXIAL, SAGITTAL, make_mr_series, oblique
from tests.support.match_example import LABELS, SHAPE, candidate, painted, source_series
from tests.support.rtstruct_writer import Style, cracks, runs, write_structure_set
from tests.support.seg_writers import SLICER, declare, frames_of, write_foreign
from tests.support.shared import shared_data

NAMED = ("one", "parts")
SMALL = (4, 11, 9)


@cache
def source_of(orientation: tuple[float, ...], *, descending: bool = False) -> SourceSeries:
    folder = Path(mkdtemp(prefix="rtstruct"))
    return read_series(make_mr_series(folder, orientation=orientation, shape=SMALL, descending=descending))


def drawn(source: SourceSeries, masks: dict[str, Mask], style: Style) -> tuple[dict[str, Mask], dict[object, int]]:
    """Write masks as contours, read them back and draw them."""
    structure = parse_structure_set(write_structure_set(source, masks, style))
    numbers = {region.name: region.number for region in structure.regions}
    result = rasterise(structure, source, make_segments(*masks), numbers)
    found = {segment.label: result.segmentation.mask(segment) for segment in result.segmentation.segments}
    return found, dict(result.doubts)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique(17.0, -29.0)], ids=["axial", "sagittal", "oblique"])
@pytest.mark.parametrize("style", [Style(), Style(trace=runs), Style(kind="CLOSEDPLANAR_XOR", decimals=2)])
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), descending=st.booleans(), density=st.sampled_from([0.05, 0.5, 0.9]))
def test_contours_of_a_mask_drawn_back_are_the_mask(
    orientation: tuple[float, ...], style: Style, seed: int, descending: bool, density: float
) -> None:
    source = source_of(orientation, descending=descending)
    masks = {"a": np.random.default_rng(seed).random(SMALL) < density, "b": np.zeros(SMALL, bool)}
    found, doubts = drawn(source, masks, style)
    assert doubts == {}
    for label, mask in masks.items():
        np.testing.assert_array_equal(found[label], mask)


def test_two_decimals_are_enough_for_contours_through_voxel_centres() -> None:
    source = source_of(oblique(31.0, 12.0))
    mask = np.random.default_rng(3).random(SMALL) < 0.5
    found, _ = drawn(source, {"a": mask}, Style(trace=runs, decimals=2))
    np.testing.assert_array_equal(found["a"], mask)


def undefined_lengths(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                undefined_lengths(item)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("change", [lambda ds: None, undefined_lengths])
def test_every_encoding_of_a_structure_set_says_the_same(syntax: str, change: Callable[[Dataset], None]) -> None:
    source, mask = source_of(AXIAL), np.random.default_rng(5).random(SMALL) < 0.5
    ds = dcmread(BytesIO(write_structure_set(source, {"a": mask})))
    change(ds)
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    structure = parse_structure_set(buffer.getvalue())
    assert structure.referenced_sop_instance_uids == source.sop_instance_uids
    assert (structure.manufacturer, structure.model_name) == ("Planning", "System")
    result = rasterise(structure, source, make_segments("a"), {"a": 1})
    np.testing.assert_array_equal(result.segmentation.layers[0] > 0, mask)


def test_a_real_structure_set_is_read_with_its_names_types_and_frame_of_reference() -> None:
    ds = dcmread(shared_data("seg_sr") / "pydicom" / "rtstruct.dcm", force=True)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True, implicit_vr=True, little_endian=True)
    structure = parse_structure_set(buffer.getvalue())
    assert [(region.name, [c.geometric_type for c in region.contours]) for region in structure.regions] == [
        ("patient", ["CLOSED_PLANAR"] * 3),
        ("Isocenter 1", ["POINT"]),
        ("Isocenter 2", ["POINT"]),
    ]
    assert [len(contour.points) for contour in structure.regions[0].contours] == [5, 6, 6]
    assert structure.frame_of_reference_uid.startswith("1.2.826.0.1.3680043.8.498.")


def structure_of(
    masks: dict[int, Mask] | None = None,
    *,
    style: Style | None = None,
    labels: tuple[str, ...] = LABELS,
    change: Callable[[Dataset], None] = lambda _ds: None,
    source: SourceSeries | None = None,
) -> StructureSet:
    """The painted masks of the example as a structure set."""
    by_name = dict(zip(labels, (masks or painted()).values(), strict=True))
    return parse_structure_set(write_structure_set(source or source_series(), by_name, style or Style(), change=change))


def outcome(structure: StructureSet, *candidates: Candidate, released: bool = False) -> Outcome:
    return match_structure_set(structure, candidates or (candidate(),), named=NAMED, released=released)


def codes(found: Outcome) -> tuple[HoldReason, ...]:
    assert isinstance(found, Hold), found
    return found.codes


def test_contours_with_case_and_stage_named_are_accepted_with_exactly_what_was_drawn() -> None:
    found = outcome(structure_of())
    assert isinstance(found, Match)
    assert found.evidence is Evidence.NAMED
    assert found.diff.changed_voxels == 12
    for segment, mask in zip(found.segmentation.segments, painted().values(), strict=True):
        np.testing.assert_array_equal(found.segmentation.mask(segment), mask)


def test_contours_without_case_and_stage_are_held_and_released_by_a_person_who_names_them() -> None:
    assert codes(match_structure_set(structure_of(), [candidate()])) == (HoldReason.STAGE_NOT_NAMED,)
    released = outcome(structure_of(), released=True)
    assert isinstance(released, Match)
    assert released.evidence is Evidence.PERSON


def test_contours_of_the_delivered_masks_change_nothing() -> None:
    assert isinstance(outcome(structure_of(delivered())), Unchanged)


def delivered() -> dict[int, Mask]:
    whole = candidate().load()
    return {segment.number: whole.mask(segment) for segment in whole.segments}


def test_the_same_contours_again_are_a_duplicate() -> None:
    first = outcome(structure_of())
    assert isinstance(first, Match)
    again = outcome(structure_of(), candidate(accepted_edit_digests=frozenset({first.segmentation.digest()})))
    assert isinstance(again, Ignore)
    assert again.reason is IgnoreReason.DUPLICATE


def other_frame(ds: Dataset) -> None:
    for region in ds.StructureSetROISequence:
        region.ReferencedFrameOfReferenceUID = "1.2.3"


def two_frames(ds: Dataset) -> None:
    ds.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"


def foreign_image(ds: Dataset) -> None:
    series = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    series.ContourImageSequence[0].ReferencedSOPInstanceUID = "1.2.3.4"


def no_image(ds: Dataset) -> None:
    del ds.ReferencedFrameOfReferenceSequence
    for region in ds.ROIContourSequence:
        for contour in region.ContourSequence:
            del contour.ContourImageSequence


def crossing(ds: Dataset) -> None:
    """Add a contour that cuts the first one in half."""
    first = ds.ROIContourSequence[0].ContourSequence[0]
    second = Dataset()
    second.update(first)
    points = np.array([float(value) for value in first.ContourData]).reshape(-1, 3)
    second.ContourData = [f"{value:.4f}" for value in (points + np.array((2.3, 0.0, 0.0))).ravel()]
    ds.ROIContourSequence[0].ContourSequence.append(second)


def repeated(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence.append(ds.ROIContourSequence[0].ContourSequence[0])


def one_point(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = "POINT"


def outside(ds: Dataset) -> None:
    contour = ds.ROIContourSequence[0].ContourSequence[0]
    points = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3)
    contour.ContourData = [f"{value:.4f}" for value in (points - np.array((60.0, 0.0, 0.0))).ravel()]


HELD: dict[str, tuple[StructureSet | Callable[[], StructureSet], HoldReason, bool]] = {
    "another patient": (lambda: structure_of(change=lambda ds: setattr(ds, "PatientID", "P9")),
                        HoldReason.IDENTITY_MISMATCH, False),
    "another study with our images": (lambda: structure_of(change=lambda ds: setattr(ds, "StudyInstanceUID", "1.2")),
                                      HoldReason.IDENTITY_MISMATCH, False),
    "another frame of reference": (lambda: structure_of(change=other_frame), HoldReason.FOR_MISMATCH, False),
    "regions in two frames of reference": (lambda: structure_of(change=two_frames), HoldReason.FOR_MISMATCH, False),
    "an image of elsewhere": (lambda: structure_of(change=foreign_image), HoldReason.FOREIGN_REFERENCES, False),
    "no image cited": (lambda: structure_of(change=no_image), HoldReason.FOREIGN_REFERENCES, False),
    "contours between planes": (lambda: structure_of(style=Style(lifted_mm=0.9)), HoldReason.GRID_MISMATCH, False),
    "contours outside the image": (lambda: structure_of(change=outside), HoldReason.GRID_MISMATCH, False),
    "contours that cite another plane": (lambda: structure_of(style=Style(cites=lambda z: z + 1)),
                                         HoldReason.POS_SRC_CONFLICT, False),
    "regions with names of nobody": (lambda: structure_of(labels=("BODY", "Couch")), HoldReason.UNKNOWN_LABEL, False),
    "one name twice": (lambda: structure_of(labels=(LABELS[0], LABELS[0].upper() + " ")),
                       HoldReason.UNKNOWN_LABEL, False),
    "contours on every other slice": (lambda: structure_of(style=Style(draws_on=lambda z: z % 2 == 1)),
                                      HoldReason.CONTOURS_IN_DOUBT, True),
    "contours that cross": (lambda: structure_of(change=crossing), HoldReason.CONTOURS_IN_DOUBT, True),
    "a contour twice": (lambda: structure_of(change=repeated), HoldReason.CONTOURS_IN_DOUBT, True),
    "a point": (lambda: structure_of(change=one_point), HoldReason.CONTOURS_IN_DOUBT, True),
    "slices in reverse order": (lambda: structure_of({n: m[::-1] for n, m in painted().items()}),
                                HoldReason.ZFLIP, True),
}  # fmt: skip


@pytest.mark.parametrize("name", HELD)
def test_contours_in_doubt_are_held_and_only_what_a_person_can_judge_is_released(name: str) -> None:
    make, reason, releasable = HELD[name]
    assert callable(make)
    if name == "one name twice":
        reason = HoldReason.DUPLICATE_LABEL
    assert reason in codes(outcome(make()))
    released = outcome(make(), released=True)
    assert isinstance(released, Match) == releasable


def test_a_region_beside_ours_is_left_out_only_when_a_person_says_so() -> None:
    masks = {**painted(), 3: np.ones(SHAPE, bool)}
    structure = structure_of(masks, labels=(*LABELS, "BODY"))
    assert codes(outcome(structure)) == (HoldReason.CONTOURS_IN_DOUBT,)
    released = outcome(structure, released=True)
    assert isinstance(released, Match)
    assert released.diff.changed_voxels == 12


def test_a_region_that_is_gone_is_held_as_a_missing_segment() -> None:
    structure = structure_of({1: painted()[1]}, labels=(LABELS[0],))
    assert codes(outcome(structure)) == (HoldReason.MISSING_SEGMENT,)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (OutputState.EDITED, HoldReason.CONCURRENT_EDIT),
        (OutputState.CLOSED, HoldReason.DOOR_CLOSED),
        (OutputState.SUPERSEDED, HoldReason.STALE_PARENT),
    ],
)
def test_the_door_is_closed_to_contours_as_to_any_edit(state: OutputState, reason: HoldReason) -> None:
    assert codes(outcome(structure_of(), candidate(state=state))) == (reason,)
    assert isinstance(outcome(structure_of(), candidate(state=state), released=True), Match)


def test_contours_of_an_older_result_are_held_as_stale() -> None:
    reworked = delivered()
    reworked[2][2] = False
    older, current = candidate(state=OutputState.SUPERSEDED), candidate(iteration=1, masks=reworked)
    assert codes(outcome(structure_of(), older, current)) == (HoldReason.STALE_PARENT,)


def test_a_case_or_stage_without_a_result_is_held() -> None:
    found = match_structure_set(structure_of(), [candidate()], named=("one", "other"))
    assert codes(found) == (HoldReason.NO_OPEN_OUTPUT,)


def test_more_overlapping_regions_than_memory_allows_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seg_layers, "MAX_LAYER_BYTES", 1)
    masks = {1: painted()[1], 2: painted()[1] | painted()[2]}
    assert codes(outcome(structure_of(masks))) == (HoldReason.UNREADABLE,)


def test_a_source_without_a_grid_is_a_geometry_mismatch() -> None:
    source = replace(source_series(), grid=None)
    with pytest.raises(GeometryMismatch):
        rasterise(structure_of(), source, make_segments(*LABELS), {LABELS[0]: 1})


def test_what_is_no_structure_set_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(write_foreign(source_series(), declare(*LABELS), frames_of(painted()), SLICER))
    with pytest.raises(UnreadableSeg) as refused:
        open_structure_set(path)
    assert refused.value.reason is UnreadableReason.NOT_A_SEGMENTATION


def without_regions(ds: Dataset) -> None:
    ds.StructureSetROISequence = []


def odd_points(ds: Dataset) -> None:
    ds.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "3", "4"]


@pytest.mark.parametrize("change", [without_regions, odd_points])
def test_a_structure_set_that_contradicts_itself_is_refused(change: Callable[[Dataset], None]) -> None:
    with pytest.raises(UnreadableSeg):
        structure_of(change=change)


@pytest.mark.parametrize(("limit", "value"), [("MAX_CONTOURS", 3), ("MAX_REGIONS", 1), ("MAX_CONTOUR_BYTES", 100)])
def test_more_than_any_plan_holds_is_refused(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(rtstruct_read, limit, value)
    with pytest.raises(UnreadableSeg) as refused:
        structure_of()
    assert refused.value.reason is UnreadableReason.TOO_LARGE


WHOLE = write_structure_set(source_of(AXIAL), {"a": np.ones(SMALL, bool)}, Style(trace=cracks))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.integers(132, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, len(WHOLE)),
)
def test_a_damaged_structure_set_is_read_or_refused_by_name(changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(WHOLE)
    for place, value in changes:
        content[place] = value
    with contextlib.suppress(UnreadableObject):  # any other error fails the test
        structure = parse_structure_set(bytes(content if cut % 2 else content[:cut]))
        rasterise(structure, source_of(AXIAL), make_segments("a"), {r.name: r.number for r in structure.regions})
