"""Reading segmentations of any writer: masks, warnings and conflicts as data, refusals by name."""

from __future__ import annotations

import tempfile
import time
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_sr import seg_open
from dicom_sr.errors import GeometryMismatch
from dicom_sr.seg_bytes import elements
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_read import (
    SegConflictCode,
    SegContent,
    SegWarningCode,
    UnreadableReason,
    UnreadableSeg,
    open_seg,
    parse_seg,
    read_seg,
    read_seg_header,
)
from dicom_sr.seg_write import write_seg
from dicom_sr.segmentation import Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from tests.support.dicom_tools import dcmqi_masks
from tests.support.highdicom_writer import write_with_highdicom
from tests.support.make_segmentation import make_description, make_segmentation, make_segments
from tests.support.make_series import AXIAL, CORONAL, SAGITTAL, make_mr_series, oblique
from tests.support.seg_writers import (
    OHIF_BITMAP,
    OHIF_LABELMAP,
    Declared,
    Frame,
    Writer,
    declare,
    file_bytes,
    frames_of,
    read_foreign,
    write_foreign,
)
from tests.support.shared import shared_data

SHAPE = (5, 9, 11)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return read_series(make_mr_series(tmp_path_factory.mktemp("series"), shape=SHAPE))


@pytest.fixture(scope="module")
def masks() -> dict[int, np.ndarray]:
    """Two segments that touch but do not overlap; no symmetry, the last slice empty, a pixel in two corners."""
    first, second = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    first[0:3, 1:4, 2:9] = True
    first[0, 0, 0] = True
    second[1:4, 4:8, 3:5] = True
    second[3, 8, 10] = True
    return {1: first, 2: second}


def assert_masks(content: SegContent, masks: dict[int, np.ndarray]) -> None:
    assert {n: int(m.sum()) for n, m in content.masks.items()} == {n: int(m.sum()) for n, m in masks.items()}
    for number, mask in masks.items():
        np.testing.assert_array_equal(content.mask(number), mask)


def warning_codes(content: SegContent) -> set[SegWarningCode]:
    return {warning.code for warning in content.warnings}


def conflict_codes(content: SegContent) -> set[SegConflictCode]:
    return {conflict.code for conflict in content.conflicts}


def refusal(data: bytes, source: SourceSeries) -> UnreadableReason:
    with pytest.raises(UnreadableSeg) as refused:
        read_seg(parse_seg(data), source)
    return refused.value.reason


@pytest.mark.parametrize("writer", [Writer(), OHIF_BITMAP, OHIF_LABELMAP, Writer(syntax=ImplicitVRLittleEndian)])
def test_each_writers_form_reads_to_the_same_masks(source: SourceSeries, masks: dict, writer: Writer) -> None:
    content = read_foreign(source, declare("A", "B"), frames_of(masks, kind=writer.kind), writer)
    assert_masks(content, masks)
    assert not content.conflicts


@pytest.mark.parametrize("kind", [SegKind.BINARY, SegKind.LABELMAP])
def test_frames_may_stand_in_any_order(source: SourceSeries, masks: dict, kind: SegKind) -> None:
    frames = frames_of(masks, kind=kind)
    shuffled = [frames[i] for i in np.random.default_rng(3).permutation(len(frames))]
    assert_masks(read_foreign(source, declare("A", "B"), shuffled, Writer(kind=kind)), masks)


@pytest.mark.parametrize("flips", ["r", "c", "t", "rc", "rt", "ct", "rct"])
@pytest.mark.parametrize("kind", [SegKind.BINARY, SegKind.LABELMAP])
def test_turned_frames_are_turned_back_by_their_orientation(
    source: SourceSeries, masks: dict, kind: SegKind, flips: str
) -> None:
    content = read_foreign(source, declare("A", "B"), frames_of(masks, kind=kind), Writer(kind=kind, flips=flips))
    assert_masks(content, masks)
    assert SegWarningCode.TURNED_FRAMES in warning_codes(content)


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, oblique(17, -31)])
def test_any_orientation_of_the_source_is_read(tmp_path: Path, masks: dict, orientation: tuple[float, ...]) -> None:
    turned = read_series(make_mr_series(tmp_path, shape=SHAPE, orientation=orientation, descending=True))
    content = read_foreign(turned, declare("A", "B"), frames_of(masks), Writer())
    assert_masks(content, masks)
    assert not content.conflicts


def test_frames_cut_along_another_axis_of_the_grid_are_put_in_place(source: SourceSeries, masks: dict) -> None:
    grid = source.grid
    assert grid is not None
    frames = [
        Frame(plane=0, pixels=masks[1][:, y], number=1, position=(grid.affine @ [0, y, 0, 1])[:3]) for y in range(9)
    ]
    ds = parse_seg(write_foreign(source, declare("A"), frames, Writer(orientation=False, cites_sources=False)))
    cosines = (*grid.image_orientation_patient[:3], *(grid.affine[:3, 0] / grid.spacing[0]))
    shared = ds.SharedFunctionalGroupsSequence[0]
    placed = Dataset()
    placed.ImageOrientationPatient = [round(v, 6) for v in cosines]
    shared.PlaneOrientationSequence = [placed]
    shared.PixelMeasuresSequence[0].PixelSpacing = [grid.spacing[0], grid.spacing[2]]
    content = read_seg(ds, source)
    assert_masks(content, {1: masks[1]})


def test_overlapping_segments_of_a_label_map_are_united_over_the_frames_of_a_plane(source: SourceSeries) -> None:
    outer, inner = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    outer[1:4, 1:8, 1:9] = True
    inner[2:4, 3:5, 3:6] = True
    content = read_foreign(
        source, declare("Outer", "Inner"), frames_of({1: outer, 2: inner}, kind=SegKind.LABELMAP), OHIF_LABELMAP
    )
    assert_masks(content, {1: outer, 2: inner})
    assert {w.code: w.count for w in content.warnings}[SegWarningCode.SEVERAL_FRAMES_ON_PLANE] == 2


def test_a_segment_split_over_two_frames_of_a_plane_keeps_both_parts(source: SourceSeries, masks: dict) -> None:
    frames = []
    for frame in frames_of(masks, kind=SegKind.LABELMAP):
        upper, lower = frame.pixels.copy(), frame.pixels.copy()
        upper[4:], lower[:4] = 0, 0
        frames += [Frame(plane=frame.plane, pixels=upper), Frame(plane=frame.plane, pixels=lower)]
    assert_masks(read_foreign(source, declare("A", "B"), frames, OHIF_LABELMAP), masks)


def test_the_background_segment_of_a_label_map_is_no_segment(source: SourceSeries, masks: dict) -> None:
    declared = (Declared(number=0, label="Background"), *declare("A", "B"))
    content = read_foreign(source, declared, frames_of(masks, kind=SegKind.LABELMAP), OHIF_LABELMAP)
    assert set(content.masks) == {1, 2}
    assert [s.label for s in content.header.foreground] == ["A", "B"]
    assert SegWarningCode.BACKGROUND_SEGMENT in warning_codes(content)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_pixel_padding_value_of_a_label_map_is_its_background(source: SourceSeries, masks: dict, bits: int) -> None:
    frames = [
        Frame(plane=f.plane, pixels=np.where(f.pixels == 0, 9, f.pixels))
        for f in frames_of(masks, kind=SegKind.LABELMAP)
    ]
    declared = (Declared(number=9, label="Background"), *declare("A", "B"))
    for segments in (declared, declared[1:]):
        writer = Writer(kind=SegKind.LABELMAP, bits=bits, attributes={"PixelPaddingValue": 9})
        content = read_foreign(source, segments, frames, writer)
        assert_masks(content, masks)
        assert not content.conflicts


@pytest.mark.parametrize(("number", "padding"), [(0, None), (0, 9), (2, 2)])
def test_a_segment_with_the_number_of_the_background_is_a_conflict(
    source: SourceSeries, masks: dict, number: int, padding: int | None
) -> None:
    declared = (*declare("A"), Declared(number=number, label="B"))
    attributes = {} if padding is None else {"PixelPaddingValue": padding}
    frames = frames_of({1: masks[1], 2: masks[2]} if number else {1: masks[1]}, kind=SegKind.LABELMAP)
    content = read_foreign(source, declared, frames, Writer(kind=SegKind.LABELMAP, attributes=attributes))
    assert conflict_codes(content) == {SegConflictCode.BACKGROUND_IN_DOUBT}


def test_segment_numbers_may_have_holes_and_exceed_a_byte(source: SourceSeries, masks: dict) -> None:
    renumbered = {7: masks[1], 300: masks[2]}
    declared = (Declared(number=300, label="B"), Declared(number=7, label="A"))
    for writer in (Writer(), Writer(kind=SegKind.LABELMAP, bits=16)):
        assert_masks(read_foreign(source, declared, frames_of(renumbered, kind=writer.kind), writer), renumbered)


def test_frames_on_another_plane_than_the_image_they_cite_are_a_conflict(source: SourceSeries, masks: dict) -> None:
    depth = SHAPE[0]
    frames = [
        Frame(plane=f.plane, pixels=f.pixels, number=f.number, placed_on=depth - 1 - f.plane) for f in frames_of(masks)
    ]
    content = read_foreign(source, declare("A", "B"), frames, OHIF_BITMAP)
    # Slice 2 is its own mirror image.
    wrong = sum(f.plane != 2 for f in frames)
    assert {c.code: c.count for c in content.conflicts} == {SegConflictCode.PLANE_SOURCE_CONFLICT: wrong}


def test_a_frame_that_comes_twice_is_a_conflict_in_a_binary_object_only(source: SourceSeries, masks: dict) -> None:
    frames = frames_of(masks)
    content = read_foreign(source, declare("A", "B"), [*frames, frames[0]])
    assert {c.code: c.count for c in content.conflicts} == {SegConflictCode.DOUBLED_PLANE: 1}
    labels = frames_of(masks, kind=SegKind.LABELMAP)
    assert not read_foreign(source, declare("A", "B"), [*labels, labels[0]], OHIF_LABELMAP).conflicts


def test_frames_of_an_undeclared_segment_are_a_conflict(source: SourceSeries, masks: dict) -> None:
    frames = frames_of({1: masks[1], 5: masks[2]})
    content = read_foreign(source, declare("A", "B"), frames, OHIF_BITMAP)
    assert conflict_codes(content) == {SegConflictCode.UNDECLARED_SEGMENT}
    assert_masks(content, {1: masks[1], 2: np.zeros(SHAPE, bool)})


@pytest.mark.parametrize("bits", [8, 16])
def test_undeclared_labels_are_counted_in_voxels_and_left_out(source: SourceSeries, masks: dict, bits: int) -> None:
    frames = frames_of({1: masks[1], 9: masks[2]}, kind=SegKind.LABELMAP)
    content = read_foreign(source, declare("A"), frames, Writer(kind=SegKind.LABELMAP, bits=bits))
    assert [(c.code, c.count) for c in content.conflicts] == [(SegConflictCode.UNDECLARED_SEGMENT, int(masks[2].sum()))]
    assert set(np.unique(content.layers)) == {0, 1}


def test_a_segment_number_declared_twice_is_a_conflict(source: SourceSeries, masks: dict) -> None:
    declared = (Declared(number=1, label="A"), Declared(number=1, label="B"), Declared(number=2, label="C"))
    content = read_foreign(source, declared, frames_of(masks))
    assert conflict_codes(content) == {SegConflictCode.DOUBLED_SEGMENT_NUMBER}


@pytest.mark.parametrize("shift", [(0.0, 0.0, 1.5), (0.7, 0.0, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 300.0)])
def test_frames_between_or_beyond_the_planes_are_off_the_grid(
    source: SourceSeries, masks: dict, shift: tuple[float, float, float]
) -> None:
    grid = source.grid
    assert grid is not None
    frames = [
        Frame(
            plane=f.plane,
            pixels=f.pixels,
            number=f.number,
            position=np.array(grid.image_position_patient(f.plane)) + shift,
        )
        for f in frames_of(masks)
    ]
    content = read_foreign(source, declare("A", "B"), frames)
    assert {c.code: c.count for c in content.conflicts} == {SegConflictCode.OFF_GRID: len(frames)}
    assert not content.layers.any()


def test_a_hundredth_of_a_millimetre_is_no_displacement(tmp_path: Path, masks: dict) -> None:
    pet = read_series(make_mr_series(tmp_path, shape=SHAPE, spacing=(0.05, 1.5, 1.25)))
    grid = pet.grid
    assert grid is not None
    frames = [
        Frame(
            plane=f.plane,
            pixels=f.pixels,
            number=f.number,
            position=np.array(grid.image_position_patient(f.plane)) + np.array([0, 0, 0.0095]),
        )
        for f in frames_of(masks)
    ]
    assert_masks(read_foreign(pet, declare("A", "B"), frames), masks)


def test_frames_may_copy_the_positions_of_an_unevenly_rounded_source(tmp_path: Path, masks: dict) -> None:
    source = read_series(make_mr_series(tmp_path, shape=SHAPE, spacing=(0.1, 1.5, 1.25), jitter_mm=0.015))
    assert source.grid is not None, source.acquisition.defects
    positions = {str(h.SOPInstanceUID): [float(v) for v in h.ImagePositionPatient] for h in source.headers}
    frames = [
        Frame(
            plane=f.plane,
            pixels=f.pixels,
            number=f.number,
            position=positions[source.slices[f.plane].sop_instance_uid],
        )
        for f in frames_of(masks)
    ]
    assert_masks(read_foreign(source, declare("A", "B"), frames), masks)


def test_another_matrix_or_spacing_is_off_the_grid(source: SourceSeries, masks: dict) -> None:
    cropped = [Frame(plane=f.plane, pixels=f.pixels[:-1], number=f.number) for f in frames_of(masks)]
    assert conflict_codes(read_foreign(source, declare("A", "B"), cropped)) == {SegConflictCode.OFF_GRID}
    ds = parse_seg(write_foreign(source, declare("A", "B"), frames_of(masks)))
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.51, 1.25]
    assert conflict_codes(read_seg(ds, source)) == {SegConflictCode.OFF_GRID}


def test_frames_without_position_or_orientation_are_off_the_grid(source: SourceSeries, masks: dict) -> None:
    content = read_foreign(source, declare("A", "B"), frames_of(masks), Writer(orientation=False))
    assert conflict_codes(content) == {SegConflictCode.OFF_GRID}


def test_a_spacing_that_is_absent_comes_from_the_source(source: SourceSeries, masks: dict) -> None:
    content = read_foreign(source, declare("A", "B"), frames_of(masks), Writer(spacing=False))
    assert_masks(content, masks)
    assert SegWarningCode.SPACING_FROM_SOURCE in warning_codes(content)


def test_frames_of_a_multiframe_source_are_checked_against_the_frames_they_cite(tmp_path: Path, masks: dict) -> None:
    source = read_series(make_mr_series(tmp_path, shape=SHAPE, multiframe=True))
    content = read_foreign(source, declare("A", "B"), frames_of(masks))
    assert_masks(content, masks)
    assert not content.conflicts
    wrong = [Frame(plane=f.plane, pixels=f.pixels, number=f.number, cites=(f.plane + 1) % 5) for f in frames_of(masks)]
    assert conflict_codes(read_foreign(source, declare("A", "B"), wrong)) == {SegConflictCode.PLANE_SOURCE_CONFLICT}


def test_a_probability_counts_from_one_half(source: SourceSeries) -> None:
    values = np.zeros(SHAPE, np.uint8)
    values[1, 2, 3:7] = [127, 128, 200, 255]
    frames = [Frame(plane=1, pixels=values[1], number=1)]
    content = read_foreign(source, declare("A"), frames, Writer(kind=SegKind.FRACTIONAL))
    assert_masks(content, {1: values >= 128})
    assert SegWarningCode.THRESHOLDED in warning_codes(content)


def test_the_header_tells_editor_references_and_predecessor_apart(source: SourceSeries, masks: dict) -> None:
    ds = parse_seg(write_foreign(source, declare("A", "B"), frames_of(masks), OHIF_BITMAP))
    image, series, study = Dataset(), Dataset(), Dataset()
    image.ReferencedSOPInstanceUID = "1.2.3.4"
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [image], "1.2.3"
    study.ReferencedSeriesSequence = [series]
    ds.PredecessorDocumentsSequence = [study]
    other = Dataset()
    other.ReferencedSOPInstanceUID = "1.2.3.5"
    ds.ReferencedImageSequence = [other]
    header = read_seg_header(parse_seg(file_bytes(ds)))
    assert header.predecessor_uids == {"1.2.3.4"}
    assert "1.2.3.5" in header.referenced_seg_uids
    assert header.referenced_sop_instance_uids == source.sop_instance_uids
    assert header.manufacturer == "Unspecified"
    assert not header.declares_character_set


@pytest.mark.parametrize(
    ("character_set", "expected"), [("ISO_IR 192", "Läsion 病変"), (None, "Läsion 病変"), ("ISO_IR 100", None)]
)
def test_labels_in_any_script_are_read_even_without_a_character_set(
    source: SourceSeries, masks: dict, character_set: str | None, expected: str | None
) -> None:
    data = write_foreign(
        source, declare("Läsion 病変", "B"), frames_of(masks), Writer(attributes={"SpecificCharacterSet": "ISO_IR 192"})
    )
    ds = parse_seg(data)
    if character_set is None:
        del ds.SpecificCharacterSet
    else:
        ds.SpecificCharacterSet = character_set
    header = read_seg_header(parse_seg(file_bytes(ds)))
    if expected is not None:
        assert header.segments[0].label == expected
    assert header.segments[1].label == "B"


def test_a_source_without_a_grid_takes_no_masks(source: SourceSeries, masks: dict, tmp_path: Path) -> None:
    irregular = read_series(make_mr_series(tmp_path, shape=SHAPE, gap_at=2))
    with pytest.raises(GeometryMismatch):
        read_seg(parse_seg(write_foreign(source, declare("A", "B"), frames_of(masks))), irregular)


def test_what_is_no_segmentation_is_refused_by_name(source: SourceSeries, masks: dict, tmp_path: Path) -> None:
    image = next(iter(sorted(make_mr_series(tmp_path, shape=SHAPE))))
    assert refusal(image.read_bytes(), source) is UnreadableReason.NOT_A_SEGMENTATION
    assert refusal(b"", source) is UnreadableReason.NOT_DICOM
    assert refusal(b"\0" * 4000, source) is UnreadableReason.NOT_DICOM
    good = write_foreign(source, declare("A", "B"), frames_of(masks))
    assert refusal(good[:-10], source) is UnreadableReason.BROKEN_STRUCTURE
    path = tmp_path / "empty.dcm"
    path.write_bytes(b"")
    with pytest.raises(UnreadableSeg):
        open_seg(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"NumberOfFrames": 3}, UnreadableReason.FRAME_COUNT),
        ({"Rows": 60000}, UnreadableReason.PIXEL_LENGTH),
        ({"Rows": 65535, "Columns": 65535}, UnreadableReason.TOO_LARGE),
        ({"Columns": 12}, UnreadableReason.PIXEL_LENGTH),
        ({"BitsAllocated": 32}, UnreadableReason.UNSUPPORTED_PIXELS),
        ({"SamplesPerPixel": 3}, UnreadableReason.UNSUPPORTED_PIXELS),
        ({"SegmentationType": "SURFACE"}, UnreadableReason.UNSUPPORTED_PIXELS),
    ],
)
def test_a_header_that_contradicts_its_pixels_is_refused_by_name(
    source: SourceSeries, masks: dict, change: dict[str, object], reason: UnreadableReason
) -> None:
    data = write_foreign(source, declare("A", "B"), frames_of(masks), Writer(attributes=change))
    assert refusal(data, source) is reason


def test_far_more_frames_than_planes_are_refused_before_decoding(source: SourceSeries, masks: dict) -> None:
    frames = [*frames_of(masks)] * 30
    assert refusal(write_foreign(source, declare("A", "B"), frames), source) is UnreadableReason.TOO_LARGE


def test_big_endian_is_refused_by_name() -> None:
    path = shared_data("seg_sr") / "pydicom" / "liver_expb_1frame.dcm"
    with pytest.raises(UnreadableSeg) as refused:
        open_seg(path)
    assert refused.value.reason is UnreadableReason.UNSUPPORTED_TRANSFER_SYNTAX


def test_a_deflated_file_is_read_and_its_inflation_is_bounded(
    source: SourceSeries, masks: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_foreign(source, declare("A", "B"), frames_of(masks), Writer(syntax=DeflatedExplicitVRLittleEndian))
    assert_masks(read_seg(parse_seg(data), source), masks)
    with pytest.raises(UnreadableSeg):
        parse_seg(data[:-20])
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(1 << 22)) + deflater.flush()
    meta_end = data.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    meta_end += meta_end % 2
    monkeypatch.setattr(seg_open, "MAX_FILE_BYTES", 1 << 20)
    with pytest.raises(UnreadableSeg) as refused:
        parse_seg(data[:meta_end] + bomb)
    assert refused.value.reason is UnreadableReason.TOO_LARGE


def test_sequences_nested_too_deep_are_refused() -> None:
    level = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(UnreadableSeg) as refused:
        list(elements(level * 5000, 0, len(level) * 5000, explicit=True))
    assert refused.value.reason is UnreadableReason.BROKEN_STRUCTURE


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_what_our_writer_writes_is_read_back_voxel_for_voxel(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(2, 5)))
    orientation = data.draw(st.sampled_from([AXIAL, SAGITTAL, CORONAL, oblique(20, 35)]))
    kind = data.draw(st.sampled_from([SegKind.BINARY, SegKind.LABELMAP]))
    seed = data.draw(st.integers(0, 2**16))
    source = series_of(shape, orientation)
    rng = np.random.default_rng(seed)
    assert source.grid is not None
    segments = make_segments(*(f"S{i}" for i in range(data.draw(st.integers(1, 4)))))
    if kind is SegKind.LABELMAP:
        labels = rng.integers(0, len(segments) + 1, shape)
        written = Segmentation.from_labelmap(source.grid, labels, segments)
    else:
        written = Segmentation.from_masks(
            source.grid, {s.number: rng.random(shape) < rng.random() for s in segments}, segments
        )
    ds = write_seg(written, source, make_description(segments), kind=kind)
    content = read_seg(parse_seg(file_bytes(ds)), source)
    read = content.segmentation(segments, {s.label: s.number for s in content.header.foreground})
    assert not content.conflicts
    assert read.digest() == written.digest()


@cache
def series_of(shape: tuple[int, int, int], orientation: tuple[float, ...]) -> SourceSeries:
    with tempfile.TemporaryDirectory() as folder:
        return read_series(make_mr_series(Path(folder), shape=shape, orientation=orientation))


def test_an_object_in_memory_reads_as_its_file_does(source: SourceSeries) -> None:
    assert source.grid is not None
    segmentation = make_segmentation(source.grid, overlap=True)
    ds = write_seg(segmentation, source, make_description(segmentation.segments))
    in_memory = read_seg(ds, source)
    from_file = read_seg(parse_seg(file_bytes(ds)), source)
    by_pydicom = read_seg(dcmread(BytesIO(file_bytes(ds))), source)
    np.testing.assert_array_equal(in_memory.layers, from_file.layers)
    np.testing.assert_array_equal(by_pydicom.layers, from_file.layers)


@pytest.mark.parametrize("overlap", [False, True])
def test_what_highdicom_writes_is_read_voxel_for_voxel(tmp_path: Path, overlap: bool) -> None:
    files = make_mr_series(tmp_path, shape=SHAPE)
    source = read_series(files)
    assert source.grid is not None
    segmentation = make_segmentation(source.grid, "A", "B", "C", overlap=overlap)
    for kind in (SegKind.BINARY,) if overlap else (SegKind.BINARY, SegKind.LABELMAP):
        content = read_seg(parse_seg(write_with_highdicom(segmentation, files, kind)), source)
        read = content.segmentation(segmentation.segments, {s.label: s.number for s in content.header.foreground})
        assert read.digest() == segmentation.digest()
        assert not content.conflicts


def test_masks_in_another_schema_are_packed_in_its_order(source: SourceSeries) -> None:
    assert source.grid is not None
    written = make_segmentation(source.grid, "A", "B", "C", overlap=True)
    content = read_foreign(
        source, declare("C", "B", "A"), frames_of({4 - s.number: written.mask(s) for s in written.segments}), Writer()
    )
    read = content.segmentation(written.segments, {"A": 3, "B": 2, "C": 1})
    assert read.digest() == written.digest()
    without_b = content.segmentation(written.segments, {"A": 3, "C": 1})
    assert without_b.voxel_count(written.segments[1]) == 0


def test_a_hundred_segments_are_read_in_bounded_time_and_one_layer(tmp_path: Path) -> None:
    shape = (60, 128, 128)
    source = read_series(make_mr_series(tmp_path, shape=shape))
    assert source.grid is not None
    labels = (np.arange(np.prod(shape)).reshape(shape) // 7 % 101).astype(np.uint16)
    segments = make_segments(*(f"S{i}" for i in range(100)))
    written = Segmentation.from_labelmap(source.grid, labels, segments)
    data = file_bytes(write_seg(written, source, make_description(segments)))
    start = time.process_time()
    content = read_seg(parse_seg(data), source)
    assert time.process_time() - start < 8
    assert content.layers.shape == (1, *shape)
    assert content.header.frames.count == 6000
    np.testing.assert_array_equal(content.layers[0], np.where(labels <= 100, labels, 0))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("23x38x3/seg/label.seg", "23x38x3/image"),
        ("24x38x3/seg/label.seg", "24x38x3/image"),
        ("liver.dcm", "ct-3slice"),
        ("partial_overlaps.dcm", "ct-3slice"),
    ],
)
def test_segmentations_of_dcmqis_own_tests_read_as_dcmqi_reads_them(tmp_path: Path, name: str, series: str) -> None:
    folder = shared_data("seg_sr") / "dcmqi" / "segmentations"
    source = read_series(sorted((folder / series).glob("*.dcm")))
    assert source.grid is not None, source.acquisition.defects
    content = read_seg(open_seg(folder / name), source)
    theirs = dcmqi_masks(folder / name, tmp_path, source.grid)
    ours = {s.label: content.mask(s.number) for s in content.header.foreground}
    assert set(ours) == set(theirs)
    for label, mask in theirs.items():
        np.testing.assert_array_equal(ours[label], mask)
