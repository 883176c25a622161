"""What a real OHIF and dcmqi sent back for delivered segmentations: every file and combination of the data's README."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from dicom_sr.hold import HoldReason
from dicom_sr.match import Evidence, Hold, Ignore, IgnoreReason, Match, OutputState, Unchanged, match_dataset
from dicom_sr.seg_read import open_seg
from tests.support.edited_seg import EditedSeg, edited_seg


@pytest.fixture(scope="module")
def data() -> EditedSeg:
    return edited_seg()


def accepted(data: EditedSeg, name: str, prior: str) -> Match:
    outcome = match_dataset(open_seg(data.path(name)), [data.prior(prior)])
    assert isinstance(outcome, Match), outcome
    return outcome


@pytest.mark.parametrize(
    ("name", "prior", "changed", "per_segment"),
    [
        ("ohif_edited_labelmap_rle.dcm", "P1", 1198, {"FLAIR lesion": 1198, "Brain": -1088, "Ventricle": -95}),
        ("ohif_edited_labelmap_newseries.dcm", "P1", 1198, {"FLAIR lesion": 1198, "Brain": -1088, "Ventricle": -95}),
        ("ohif_edited_bitmap_evrle.dcm", "P1", 1198, {"FLAIR lesion": 1198, "Brain": -1088, "Ventricle": -95}),
        ("ohif_edited_labelmap_rle_smallstroke.dcm", "P1", 337, {"FLAIR lesion": 337, "Brain": -167, "Ventricle": 0}),
        ("ohif_edited_from_hd_labelmap.dcm", "P2", 337, {"Ventricle": 337, "Brain": -167, "FLAIR lesion": 0}),
        ("ohif_edited_overlap_to_labelmap.dcm", "P3", 337, {"Lesion in brain": 337, "Brain whole": -167}),
    ],
)
def test_an_edit_by_ohif_is_accepted_with_exactly_the_voxels_it_changed(
    data: EditedSeg, name: str, prior: str, changed: int, per_segment: dict[str, int]
) -> None:
    outcome = accepted(data, name, prior)
    assert outcome.candidate.case_id == f"case-{prior}"
    assert outcome.diff.changed_voxels == changed
    assert outcome.diff.slices == (13,)
    assert {s.label: s.edited_voxels - s.prior_voxels for s in outcome.diff.segments} == per_segment
    assert outcome.evidence is Evidence.LABELS


def test_the_overlap_of_agreement_is_the_measured_one(data: EditedSeg) -> None:
    changes = accepted(data, "ohif_edited_labelmap_rle.dcm", "P1").diff
    dice = {s.label: round(s.dice, 3) for s in changes.segments}
    assert dice == {"Brain": 0.996, "Ventricle": 0.989, "FLAIR lesion": 0.663}
    lesion = changes.segment_named("FLAIR lesion")
    assert lesion is not None
    assert round(lesion.volume_ratio, 2) == 2.02
    assert lesion.added_ml == pytest.approx(1198 * 1.5 * 1.5 * 5 / 1000)


def test_the_three_forms_ohif_saved_of_one_edit_give_equal_masks(data: EditedSeg) -> None:
    names = ["ohif_edited_labelmap_rle.dcm", "ohif_edited_labelmap_newseries.dcm", "ohif_edited_bitmap_evrle.dcm"]
    assert len({accepted(data, name, "P1").segmentation.digest() for name in names}) == 1


def test_an_object_rewritten_without_change_is_a_verdict_without_edit(data: EditedSeg) -> None:
    outcome = match_dataset(open_seg(data.path("dcmqi_rewritten_seg.dcm")), [data.prior("P1")])
    assert isinstance(outcome, Unchanged)
    assert outcome.evidence is Evidence.TRACKING


def test_a_new_segmentation_from_scratch_is_held_for_its_unknown_label(data: EditedSeg) -> None:
    outcome = match_dataset(open_seg(data.path("ohif_new_from_scratch_labelmap.dcm")), [data.prior("P1")])
    assert isinstance(outcome, Hold)
    assert outcome.codes == (HoldReason.UNKNOWN_LABEL, HoldReason.MISSING_SEGMENT)


@pytest.mark.parametrize("prior", ["P1", "P2", "P3"])
def test_our_own_object_sent_back_is_ignored_as_an_echo(data: EditedSeg, prior: str) -> None:
    names = {
        "P1": "original_highdicom_seg",
        "P2": "original_highdicom_labelmap_seg",
        "P3": "original_highdicom_overlap_seg",
    }
    outcome = match_dataset(open_seg(data.path(f"{names[prior]}.dcm")), [data.prior(prior)])
    assert isinstance(outcome, Ignore)
    assert outcome.reason is IgnoreReason.OWN_ECHO


def test_our_own_uid_with_other_pixels_is_held(data: EditedSeg) -> None:
    ds = open_seg(data.path("ohif_edited_bitmap_evrle.dcm"))
    prior = data.prior("P1")
    ds.SOPInstanceUID = prior.sop_instance_uid
    assert codes(match_dataset(ds, [prior])) == (HoldReason.SAME_UID_OTHER_BYTES,)


def test_a_second_edit_of_the_same_parent_is_concurrent_until_the_next_iteration_is_out(data: EditedSeg) -> None:
    first = accepted(data, "ohif_edited_labelmap_rle.dcm", "P1")
    parent = data.prior("P1", state=OutputState.EDITED, accepted=frozenset({first.segmentation.digest()}))
    second = open_seg(data.path("ohif_edited_labelmap_rle_smallstroke.dcm"))
    assert codes(match_dataset(second, [parent])) == (HoldReason.CONCURRENT_EDIT,)


def test_an_edit_of_the_iteration_before_is_stale_once_the_next_is_out(data: EditedSeg) -> None:
    first = accepted(data, "ohif_edited_labelmap_rle.dcm", "P1")
    old = data.prior("P1", state=OutputState.SUPERSEDED, accepted=frozenset({first.segmentation.digest()}))
    new = replace(
        data.prior("P1", iteration=1),
        sop_instance_uid="1.2.3",
        series_instance_uid="1.2.4",
        load=lambda: first.segmentation,
    )
    second = open_seg(data.path("ohif_edited_labelmap_rle_smallstroke.dcm"))
    outcome = match_dataset(second, [old, new])
    assert codes(outcome) == (HoldReason.STALE_PARENT,)
    forced = match_dataset(second, [old, new], forced=old.line)
    assert isinstance(forced, Match)
    assert forced.candidate is new


def test_the_same_masks_under_a_new_uid_never_start_a_second_rerun(data: EditedSeg) -> None:
    first = accepted(data, "ohif_edited_labelmap_rle.dcm", "P1")
    again = open_seg(data.path("ohif_edited_labelmap_newseries.dcm"))
    digests = frozenset({first.segmentation.digest()})
    running = match_dataset(again, [data.prior("P1", state=OutputState.EDITED, accepted=digests)])
    assert isinstance(running, Ignore)
    assert running.reason is IgnoreReason.DUPLICATE
    old = data.prior("P1", state=OutputState.SUPERSEDED, accepted=digests)
    new = replace(
        data.prior("P1", iteration=1),
        sop_instance_uid="1.2.3",
        series_instance_uid="1.2.4",
        load=lambda: first.segmentation,
    )
    assert isinstance(match_dataset(again, [old, new]), Unchanged)


@pytest.mark.parametrize(
    "name",
    [
        "ohif_edited_labelmap_rle.dcm",
        "ohif_edited_bitmap_evrle.dcm",
        "ohif_edited_labelmap_rle_smallstroke.dcm",
        "dcmqi_rewritten_seg.dcm",
    ],
)
def test_two_open_results_that_fit_make_every_edit_ambiguous(data: EditedSeg, name: str) -> None:
    outcome = match_dataset(open_seg(data.path(name)), [data.prior("P1"), data.prior("P2")])
    assert codes(outcome) == (HoldReason.AMBIGUOUS_PRIOR,)
    assert isinstance(outcome, Hold)
    assert {c.case_id for c in outcome.candidates} == {"case-P1", "case-P2"}


def test_two_open_stages_of_one_case_that_fit_are_an_ambiguous_stage(data: EditedSeg) -> None:
    candidates = [data.prior("P1", case_id="one", stage="a"), data.prior("P2", case_id="one", stage="b")]
    outcome = match_dataset(open_seg(data.path("ohif_edited_labelmap_rle.dcm")), candidates)
    assert codes(outcome) == (HoldReason.AMBIGUOUS_STAGE,)


def test_naming_case_and_stage_releases_an_ambiguous_edit(data: EditedSeg) -> None:
    candidates = [data.prior("P1"), data.prior("P2")]
    outcome = match_dataset(
        open_seg(data.path("ohif_edited_labelmap_rle.dcm")), candidates, forced=("case-P2", "brain")
    )
    assert isinstance(outcome, Match)
    assert outcome.candidate is candidates[1]
    assert outcome.evidence is Evidence.PERSON


def test_an_image_that_is_not_in_the_case_holds_the_edit(data: EditedSeg) -> None:
    prior = data.prior("P1")
    images = frozenset(sorted(prior.source.sop_instance_uids)[1:])
    prior = replace(prior, source=replace(prior.source, sop_instance_uids=images))
    for forced in (None, prior.line):
        outcome = match_dataset(open_seg(data.path("ohif_edited_labelmap_rle.dcm")), [prior], forced=forced)
        assert codes(outcome) == (HoldReason.FOREIGN_REFERENCES,)


def test_an_altered_patient_id_holds_the_edit_even_against_a_person(data: EditedSeg) -> None:
    ds = open_seg(data.path("ohif_edited_labelmap_rle.dcm"))
    ds.PatientID = "QC0010"
    prior = data.prior("P1")
    assert codes(match_dataset(ds, [prior])) == (HoldReason.IDENTITY_MISMATCH,)
    assert codes(match_dataset(ds, [prior], forced=prior.line)) == (HoldReason.IDENTITY_MISMATCH,)


def codes(outcome: object) -> tuple[HoldReason, ...]:
    assert isinstance(outcome, Hold), outcome
    return outcome.codes


def test_matching_reads_each_object_at_most_once(data: EditedSeg) -> None:
    from dicom_sr.match import match
    from dicom_sr.seg_read import SegContent, read_seg, read_seg_header
    from dicom_sr.source import SourceSeries

    ds: Dataset = open_seg(data.path("ohif_edited_labelmap_rle.dcm"))
    header = read_seg_header(ds)
    calls = []

    def read(source: SourceSeries) -> SegContent:
        calls.append(source)
        return read_seg(ds, source, header=header)

    assert isinstance(match(header, read, [data.prior("P1")]), Match)
    assert calls == [data.source]
