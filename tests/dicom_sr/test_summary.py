"""The summary: the picture tells verdict, slices and edit truthfully; Secondary Capture and PDF carry it legally."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.errors import GeometryMismatch, InvalidObject
from dicom_sr.montage import WIDTH
from dicom_sr.montage_legend import legend
from dicom_sr.montage_slices import changed_slices, region_of, slices_to_show
from dicom_sr.pdf import pdf_bytes, summary_pdf
from dicom_sr.picture_planes import Overlay, anatomical_views, draw_plane, window_of
from dicom_sr.picture_text import cut, font, text_width, wrap
from dicom_sr.qc_report import ContentQualification
from dicom_sr.segment_codes import segment_codes
from dicom_sr.segmentation import Segment, Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.sr_findings import bounds_sentence
from dicom_sr.summary import MontageContent, montage, summary_sc, title_lines
from dicom_sr.uids import derive_uid
from dicom_sr.validate import check
from dicom_sr.verdict import Criterion, Finding, Outcome, Reason, Verdict, decide
from dicom_sr.verdict_look import LOOKS, reason_text, threshold_text, value_text, worst_first
from dicom_sr.volume import Grid, Volume
from tests.support import sr_tools
from tests.support.qc_example import (
    EQUIPMENT,
    TRIAL,
    image_report,
    make_source,
    segmentation_report,
    signed_report,
    write_source,
)

Rgb = npt.NDArray[np.uint8]
BLUE, YELLOW = (86, 180, 233), (240, 228, 66)
BANNER = (250, 212, 60)


def _grid(shape: tuple[int, int, int] = (12, 20, 16)) -> Grid:
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = 1.0  # x along columns, y along rows
    affine[2, 0] = 2.0
    affine[3, 3] = 1.0
    return Grid(shape=shape, affine=affine)


def _volume(grid: Grid) -> Volume:
    voxels = np.random.default_rng(3).normal(100, 10, grid.shape).astype(np.float32)
    return Volume(grid=grid, voxels=voxels, modality="MR")


def _segmentation(grid: Grid, *, shift: int = 0) -> Segmentation:
    codes = segment_codes("hippocampus")
    segments = tuple(
        Segment(number=n, label=label, category=codes.category, property_type=codes.property_type, color=color)
        for n, label, color in ((1, "Hippocampus anterior", BLUE), (2, "Hippocampus posterior", YELLOW))
    )
    labels = np.zeros(grid.shape, np.uint16)
    labels[3:9, 4 + shift : 9 + shift, 4:12] = 1
    labels[3:9, 9 + shift : 14 + shift, 4:12] = 2
    return Segmentation.from_labelmap(grid, labels, segments)


def _pixels_near(picture: Rgb, color: tuple[int, int, int], *, within: int = 12) -> int:
    distance = np.abs(picture.astype(int) - np.array(color)).max(axis=-1)
    return int(np.count_nonzero(distance <= within))


def _content(**changes: object) -> MontageContent:
    grid = _grid()
    content = MontageContent(
        verdict=segmentation_report().verdict,
        lines=("pipeline 1.0", "case 1"),
        volume=_volume(grid),
        segmentations=(_segmentation(grid),),
    )
    return replace(content, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return make_source(tmp_path_factory.mktemp("source"), **TRIAL)


@pytest.fixture(scope="module")
def pixels() -> Rgb:
    return montage(_content())


def test_the_picture_is_rgb_of_fixed_width_and_the_same_each_time(pixels: Rgb) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (WIDTH, 3)
    assert pixels.shape[0] % 2 == 0
    assert np.array_equal(pixels, montage(_content()))


def test_contours_have_the_colors_of_their_segments(pixels: Rgb) -> None:
    assert _pixels_near(pixels, BLUE) > 500
    assert _pixels_near(pixels, YELLOW) > 500
    without = montage(_content(segmentations=()))
    assert _pixels_near(without, BLUE) == _pixels_near(without, YELLOW) == 0


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_outcome_has_its_word_shape_and_color(outcome: Outcome) -> None:
    reasons = (
        () if outcome is Outcome.ACCEPT else (Reason(stage="", code="X", segment="", outcome=outcome, text="why"),)
    )
    picture = montage(MontageContent(verdict=Verdict(outcome=outcome, reasons=reasons, assessed=()), lines=()))
    assert _pixels_near(picture, LOOKS[outcome].color) > 3000
    others = [look.color for o, look in LOOKS.items() if o is not outcome]
    assert all(_pixels_near(picture, color) == 0 for color in others)


def test_symbols_and_words_differ_between_outcomes() -> None:
    assert len({look.symbol for look in LOOKS.values()}) == len({look.word for look in LOOKS.values()}) == 4


def test_research_is_marked_and_product_is_not(pixels: Rgb) -> None:
    research = montage(_content(content_qualification=ContentQualification.RESEARCH))
    assert _pixels_near(research, BANNER, within=2) > 10_000
    assert _pixels_near(pixels, BANNER, within=2) == 0


def test_an_edit_adds_a_row_with_added_and_removed_in_their_colors(pixels: Rgb) -> None:
    grid = _grid()
    edited = montage(_content(before=_segmentation(grid, shift=2)))
    assert edited.shape[0] > pixels.shape[0] + 250
    added, removed = (86, 220, 130), (255, 90, 160)
    assert _pixels_near(edited, added) > 300
    assert _pixels_near(edited, removed) > 300
    assert _pixels_near(pixels, added) == _pixels_near(pixels, removed) == 0


def test_change_counts_what_each_segment_gained_and_lost() -> None:
    grid = _grid()
    change = changed_slices(_segmentation(grid, shift=1), _segmentation(grid))
    assert change.slice_count == 6
    assert 3 <= change.index < 9
    assert np.count_nonzero(change.added) == 6 * 2 * 8
    assert change.added_ml == pytest.approx(6 * 2 * 8 * 0.002)
    assert change.removed_ml == pytest.approx(6 * 2 * 8 * 0.002)


def test_a_report_without_image_or_findings_is_still_a_picture() -> None:
    picture = montage(MontageContent(verdict=decide((), ()), lines=()))
    assert picture.shape[0] > 150


def test_more_findings_than_fit_are_counted_not_dropped_silently() -> None:
    findings = [Finding(stage="s", code=f"RULE_{i}", value=1.0) for i in range(40)]
    few = montage(MontageContent(verdict=decide(findings[:14], ()), lines=()))
    many = montage(MontageContent(verdict=decide(findings, ()), lines=()))
    assert 0 < many.shape[0] - few.shape[0] < 60


def test_a_mask_of_another_grid_is_refused() -> None:
    with pytest.raises(GeometryMismatch):
        montage(_content(segmentations=(_segmentation(_grid((14, 20, 16))),)))


@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0])
def test_odd_voxels_do_not_break_the_picture(fill: float) -> None:
    grid = _grid()
    voxels = np.full(grid.shape, fill, np.float32)
    assert montage(_content(volume=Volume(grid=grid, voxels=voxels, modality="MR"))).shape[1] == WIDTH


def test_ct_is_shown_in_a_soft_tissue_window_whatever_else_is_in_it() -> None:
    grid = _grid()
    volume = Volume(grid=grid, voxels=np.full(grid.shape, 3000, np.float32), modality="CT")
    assert window_of(volume, region_of(volume, ())) == (-160.0, 240.0)


@settings(deadline=None, max_examples=40)
@given(order=st.permutations([0, 1, 2]), signs=st.tuples(*[st.sampled_from([-1, 1])] * 3), tilt=st.floats(-0.3, 0.3))
def test_left_is_right_and_anterior_is_up_for_any_storage_order(
    order: list[int], signs: tuple[int, int, int], tilt: float
) -> None:
    shape = (9, 11, 13)
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    directions = turn @ (np.eye(3)[:, order] * np.array(signs))
    affine = np.eye(4)
    affine[:3, :3] = directions
    grid = Grid(shape=shape, affine=affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1) - np.array(shape) / 2 + 0.5
    patient = index @ directions.T
    views = anatomical_views(grid)
    expected = {"axial": (0, 1, 1, 1), "coronal": (0, 1, 2, -1), "sagittal": (1, 1, 2, -1)}
    whole = (slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2]))
    for name, (across, rightward, down, downward) in expected.items():
        view = views[name]
        middle = shape[view.through] // 2
        for axis, direction, along in ((across, rightward, 1), (down, downward, 0)):
            volume = Volume(grid=grid, voxels=patient[..., axis].astype(np.float32), modality="MR")
            window = (float(patient[..., axis].min()), float(patient[..., axis].max()))
            tile = draw_plane(volume, view, middle, region=whole, window=window, overlays=(), size=64)
            grey = np.asarray(tile, dtype=float)[20:44, 20:44, 0]
            slope = np.diff(grey.mean(axis=1 - along)).mean()
            assert slope * direction > 0, (name, along)


def test_a_plane_keeps_true_proportions() -> None:
    grid = _grid((30, 20, 20))  # 60 mm deep, 20 mm wide
    volume = Volume(grid=grid, voxels=np.full(grid.shape, 50, np.float32), modality="MR")
    view = anatomical_views(grid)["coronal"]
    whole = (slice(0, 30), slice(0, 20), slice(0, 20))
    tile = np.asarray(draw_plane(volume, view, 10, region=whole, window=(0, 50), overlays=(), size=120))
    lit = (tile > 200).all(axis=-1)
    assert lit.any(axis=1).sum() == 120
    assert lit[30].sum() == pytest.approx(40, abs=2)


def test_a_contour_lies_on_the_border_of_the_mask() -> None:
    grid = _grid((3, 20, 20))
    volume = Volume(grid=grid, voxels=np.zeros(grid.shape, np.float32), modality="MR")
    layer = np.zeros(grid.shape, np.uint16)
    layer[1, 5:15, 5:15] = 7
    whole = (slice(0, 3), slice(0, 20), slice(0, 20))
    view = anatomical_views(grid)["axial"]
    overlay = Overlay(layer=layer, label=7, color=(255, 0, 0))
    tile = np.asarray(draw_plane(volume, view, 1, region=whole, window=(0, 1), overlays=[overlay], size=200))
    strong = np.argwhere(tile[..., 0] > 200)
    strong = strong[(tile[strong[:, 0], strong[:, 1], 1] < 60)]
    assert strong.min(axis=0) == pytest.approx([50, 50], abs=3)
    assert strong.max(axis=0) == pytest.approx([149, 149], abs=3)
    assert 0 < tile[100, 100, 0] < 90  # inside: a light fill only
    other = np.asarray(draw_plane(volume, view, 0, region=whole, window=(0, 1), overlays=[overlay], size=200))
    assert _pixels_near(other, (255, 0, 0), within=60) == 0


def test_worst_slices_of_every_segment_come_before_filling_ones() -> None:
    grid = _grid()
    layers = list(_segmentation(grid).layers)
    worst = {"a": (7, 5), "b": (4,), "c": (99, 6)}
    shown = slices_to_show(worst, layers, _volume(grid), 4)
    assert {(s.index, s.worst_of) for s in shown} == {(7, "a"), (4, "b"), (5, "a"), (6, "c")}
    assert [s.index for s in shown] == sorted(s.index for s in shown)


@given(depth=st.integers(1, 30), count=st.integers(1, 6), worst=st.lists(st.integers(-3, 40), max_size=6))
@settings(deadline=None, max_examples=50)
def test_slices_to_show_exist_and_come_once(depth: int, count: int, worst: list[int]) -> None:
    grid = _grid((depth, 6, 5))
    shown = slices_to_show({"a": worst}, (), _volume(grid), count)
    assert len(shown) == min(count, depth)
    assert len({s.index for s in shown}) == len(shown)
    assert all(0 <= s.index < depth for s in shown)


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=200), width=st.integers(30, 400), lines=st.integers(1, 4))
def test_text_never_runs_out_of_its_box(text: str, width: int, lines: int) -> None:
    face = font(15)
    broken = wrap(text, face, width, lines=lines)
    assert len(broken) <= lines
    assert all(text_width(line, face) <= width for line in [*broken, cut(text, face, width)])


def test_values_and_thresholds_read_as_people_write_them() -> None:
    finding = Finding(stage="s", code="PREDICTED_HD95", value=3.456, unit="mm", low=1.0, high=12.0)
    criterion = Criterion(code="PREDICTED_HD95", review_above=5)
    (assessed,) = decide((finding,), (criterion,)).assessed
    assert value_text(finding) == "3.46 mm (1-12)"
    assert threshold_text(assessed) == "review above 5"
    assert value_text(replace(finding, value=None)) == "not measurable"
    assert value_text(Finding(stage="s", code="X", value=-0.5, low=-1.0, high=0.5)) == "-0.5 (-1 to 0.5)"


def test_bounds_on_both_sides_read_as_a_range() -> None:
    both = Criterion(code="X", review_below=1.8, review_above=4.4, reject_above=9, abstain_below=0)
    assert bounds_sentence(both) == "reject above 9, review outside 1.8 to 4.4, abstain below 0"
    assert bounds_sentence(Criterion(code="X", required=True)) == "must be measurable"


def test_rules_read_as_yes_or_no_and_come_after_measurements() -> None:
    findings = [Finding(stage="s", code="LOCALIZER", value=0.0), Finding(stage="s", code="EFC", value=0.4),
                Finding(stage="s", code="PHANTOM", value=1.0), Finding(stage="s", code="SNR", value=3.0)]  # fmt: skip
    criteria = [Criterion(code="LOCALIZER", reject_above=0.5), Criterion(code="PHANTOM", reject_above=0.5),
                Criterion(code="EFC", review_above=0.7)]  # fmt: skip
    shown = worst_first(decide(findings, criteria))
    assert [a.finding.code for a in shown] == ["PHANTOM", "EFC", "LOCALIZER", "SNR"]
    assert [value_text(a.finding) for a in shown] == ["yes", "0.4", "no", "3"]
    assert [threshold_text(a) for a in shown] == ["reject if yes", "review above 0.7", "reject if yes", ""]


def test_a_reason_names_finding_and_segment_once() -> None:
    generic = decide((Finding(stage="s", code="PREDICTED_DICE", value=0.4, segment="Brain"),),
                     (Criterion(code="PREDICTED_DICE", reject_below=0.5),)).reasons[0]  # fmt: skip
    assert reason_text(generic) == "Predicted dice of Brain is 0.4 (reject below 0.5)"
    own = Reason(stage="s", code="HOLES", segment="Brain", outcome=Outcome.REVIEW, text="3 % of it")
    assert reason_text(own) == "Holes of Brain: 3 % of it"
    assert reason_text(replace(own, text="", segment="")) == "Holes"


def test_title_lines_hold_pipeline_iteration_case_criteria_and_decision_but_no_comment_and_no_person() -> None:
    lines = "\n".join(title_lines(signed_report()))
    for part in ("hippocampus-mr 1.0", "iteration 1", "case-0001", "2026-03", "QC status: PASS with edits"):
        assert part in lines
    assert "Müller" not in lines


def test_secondary_capture_keeps_the_pixels_and_says_what_it_is(source: SourceSeries, pixels: Rgb) -> None:
    buffer = io.BytesIO()
    summary_sc(segmentation_report(), pixels, source, EQUIPMENT).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    read = pydicom.dcmread(buffer)
    assert np.array_equal(read.pixel_array, pixels)
    assert (read.ConversionType, read.BurnedInAnnotation, read.PhotometricInterpretation) == ("WSD", "YES", "RGB")
    assert read.PatientID == "0007"
    assert {str(i.ReferencedSOPInstanceUID) for i in read.SourceImageSequence} == source.sop_instance_uids


def test_secondary_capture_of_an_odd_count_of_bytes_is_padded(source: SourceSeries) -> None:
    odd = np.zeros((3, 5, 3), np.uint8)
    ds = summary_sc(segmentation_report(), odd, source, EQUIPMENT)
    assert len(ds.PixelData) == 46


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_a_picture_that_is_not_rgb_is_refused(wrong: Rgb, source: SourceSeries) -> None:
    with pytest.raises(InvalidObject):
        summary_sc(segmentation_report(), wrong, source, EQUIPMENT)


def test_pdf_is_the_same_each_time_and_is_stored_whole(source: SourceSeries, pixels: Rgb) -> None:
    report = signed_report(content_qualification=ContentQualification.RESEARCH)
    document = pdf_bytes(report, pixels)
    assert document == pdf_bytes(report, pixels)
    assert document.startswith(b"%PDF-")
    ds = summary_pdf(report, pixels, source, EQUIPMENT)
    assert ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength] == document
    assert len(ds.EncapsulatedDocument) % 2 == 0
    assert (ds.MIMETypeOfEncapsulatedDocument, ds.DocumentTitle) == ("application/pdf", report.series_description)
    assert ds.VerificationFlag == "VERIFIED"


def test_pdf_takes_markup_and_any_script_as_text(pixels: Rgb) -> None:
    report = signed_report(comment="<b>1 & 2</i> 山田 العربية")
    assert pdf_bytes(report, pixels).startswith(b"%PDF-")


def test_pdf_of_an_empty_report_and_a_long_picture_fits_its_page() -> None:
    tall = np.zeros((4000, 1280, 3), np.uint8)
    assert pdf_bytes(image_report(verdict=decide((), ())), tall).startswith(b"%PDF-")


def test_foreign_validators_and_our_own_check_find_no_error(tmp_path: Path, pixels: Rgb) -> None:
    files = write_source(tmp_path / "source", **TRIAL)
    source = read_series(files)
    made = []
    for name, writer in (("sc", summary_sc), ("pdf", summary_pdf)):
        report = segmentation_report(sop_instance_uid=derive_uid(name), series_instance_uid=derive_uid("series", name))
        ds = writer(report, pixels, source, EQUIPMENT)
        assert check(ds) == ()
        made.append(tmp_path / f"{name}.dcm")
        ds.save_as(made[-1], enforce_file_format=True)
        assert sr_tools.dciodvfy_errors(made[-1]) == []
    assert sr_tools.dcentvfy_complaints([*files, *made]) == []


@pytest.mark.parametrize("count", [1, 3, 8, 24, 25, 100])
def test_the_legend_names_all_segments_or_counts_the_rest(count: int) -> None:
    codes = segment_codes("tissue")
    segments = tuple(
        Segment(
            number=n, label=f"S{n}", category=codes.category, property_type=codes.property_type, color=(n, 250, 250)
        )
        for n in range(1, count + 1)
    )
    grid = _grid((2, 2, 2))
    segmentation = Segmentation.from_labelmap(grid, np.zeros(grid.shape, np.uint16), segments)
    dark = (20, 20, 20)
    picture = legend([segmentation], decide((), ()), size=299, panel=dark, text=(255, 255, 255), dim=(150, 150, 150))
    shown = {n for n in range(1, count + 1) if (np.asarray(picture) == (n, 250, 250)).all(axis=-1).any()}
    assert len(shown) == (count if count <= 24 else 23)
