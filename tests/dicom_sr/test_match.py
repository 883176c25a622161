"""Matching as a table: one row for each hold reason, each evidence and each outcome; and what must never matter."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_sr.codes import Code
from dicom_sr.hold import HoldReason
from dicom_sr.match import (
    Candidate,
    ChangeBounds,
    Evidence,
    Hold,
    Ignore,
    IgnoreReason,
    Match,
    Outcome,
    OutputSource,
    OutputState,
    Read,
    Unchanged,
    hold_unreadable,
    match,
    match_dataset,
    match_parts,
)
from dicom_sr.match_segments import map_segments
from dicom_sr.seg_header import DeclaredSegment, SegHeader, read_seg_header
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_read import UnreadableSeg, parse_seg, read_seg
from dicom_sr.segmentation import Mask
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from tests.support.make_segmentation import make_segments
from tests.support.match_example import LABELS, SHAPE, candidate, delivered_masks, painted, source_series
from tests.support.seg_writers import (
    BRAIN,
    MITK,
    OHIF_BITMAP,
    OHIF_LABELMAP,
    SLICER,
    Declared,
    Frame,
    Writer,
    declare,
    frames_of,
    write_foreign,
)


@dataclass(frozen=True, kw_only=True)
class Incoming:
    """An incoming object: masks by number, declared segments, writer, and changes to the dataset."""

    masks: Callable[[], Mapping[int, Mask]] = painted
    declared: Sequence[Declared] = declare(*LABELS)
    writer: Writer = SLICER
    source: SourceSeries | None = None
    frames: Sequence[Frame] | None = None
    change: Callable[[Dataset], None] = field(default=lambda ds: None)

    def dataset(self) -> Dataset:
        frames = frames_of(self.masks(), kind=self.writer.kind) if self.frames is None else self.frames
        ds = parse_seg(write_foreign(self.source or source_series(), self.declared, frames, self.writer))
        self.change(ds)
        return ds


def outcome(incoming: Incoming, *candidates: Candidate, forced: tuple[str, str] | None = None) -> Outcome:
    return match_dataset(incoming.dataset(), candidates or (candidate(),), forced=forced)


def codes(found: Outcome) -> tuple[HoldReason, ...]:
    assert isinstance(found, Hold), found
    return found.codes


def setting(**attributes: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)

    return change


def naming_predecessor(uid: str) -> Callable[[Dataset], None]:
    """Refer to a predecessor in the shape cornerstone3D writes."""

    def change(ds: Dataset) -> None:
        image, series, study = Dataset(), Dataset(), Dataset()
        image.ReferencedSOPInstanceUID = uid
        series.ReferencedSOPSequence = [image]
        study.ReferencedSeriesSequence = [series]
        ds.PredecessorDocumentsSequence = [study]

    return change


def referring_to(uid: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        image = Dataset()
        image.ReferencedSOPInstanceUID = uid
        ds.ReferencedImageSequence = [image]

    return change


def only(*numbers: int) -> Callable[[], dict[int, Mask]]:
    return lambda: {n: m for n, m in painted().items() if n in numbers}


def flipped(axis: int) -> Callable[[], dict[int, Mask]]:
    return lambda: {n: np.flip(m, axis) for n, m in painted().items()}


def moved(*offset: int) -> Callable[[], dict[int, Mask]]:
    return lambda: {n: np.roll(m, offset, (0, 1, 2)) for n, m in delivered_masks().items()}


def overlapping() -> dict[int, Mask]:
    masks = delivered_masks()
    masks[1][3, 3:9, 5:12] = True
    return masks


def eroded() -> dict[int, Mask]:
    masks = delivered_masks()
    masks[2][:, 4:] = False
    return masks


def emptied() -> dict[int, Mask]:
    return {1: np.zeros(SHAPE, bool), 2: np.zeros(SHAPE, bool)}


def swapped_planes() -> list[Frame]:
    return [
        Frame(plane=f.plane, pixels=f.pixels, number=f.number, placed_on=SHAPE[0] - 1 - f.plane)
        for f in frames_of(painted())
    ]


def shifted_positions() -> list[Frame]:
    grid = source_series().grid
    assert grid is not None
    return [
        Frame(
            plane=f.plane,
            pixels=f.pixels,
            number=f.number,
            position=np.array(grid.image_position_patient(f.plane)) + 0.6,
        )
        for f in frames_of(painted())
    ]


def cite_stranger(ds: Dataset) -> None:
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = "1.2.3.4.5"


def cite_nothing(ds: Dataset) -> None:
    del ds.ReferencedSeriesSequence


HOLDS: dict[str, tuple[Incoming, tuple[HoldReason, ...]]] = {
    "frames on planes other than those of the images they cite": (
        Incoming(frames=swapped_planes(), writer=OHIF_BITMAP),
        (HoldReason.POS_SRC_CONFLICT,),
    ),
    "one plane of a segment twice": (
        Incoming(frames=[*frames_of(painted()), frames_of(painted())[0]]),
        (HoldReason.POS_SRC_CONFLICT,),
    ),
    "frames of a segment that is not declared": (
        Incoming(frames=frames_of({1: painted()[1], 5: painted()[2]}), writer=OHIF_BITMAP),
        (HoldReason.UNDECLARED_SEGMENT,),
    ),
    "a segment number declared twice": (
        Incoming(declared=(Declared(number=1, label=LABELS[0]), Declared(number=1, label=LABELS[1])), masks=only(1)),
        (HoldReason.DUPLICATE_LABEL,),
    ),
    "a new segment beside ours": (
        Incoming(declared=declare(*LABELS, "Segment 3")),
        (HoldReason.UNKNOWN_LABEL,),
    ),
    "nothing but a new segment": (
        Incoming(declared=declare("Segment 1"), masks=only(1)),
        (HoldReason.UNKNOWN_LABEL, HoldReason.MISSING_SEGMENT),
    ),
    "one label twice": (
        Incoming(declared=declare(LABELS[0], LABELS[0].upper())),
        (HoldReason.DUPLICATE_LABEL, HoldReason.MISSING_SEGMENT),
    ),
    "a tracking id and a label that name different segments": (
        Incoming(
            declared=(
                Declared(number=1, label=LABELS[1], tracking=("x", derive_uid("tracking", "one", LABELS[0]))),
                Declared(number=2, label=LABELS[1]),
            )
        ),
        (HoldReason.UNKNOWN_LABEL, HoldReason.MISSING_SEGMENT),
    ),
    "a delivered segment is gone": (
        Incoming(declared=declare(LABELS[0]), masks=only(1)),
        (HoldReason.MISSING_SEGMENT,),
    ),
    "a part of a set by MITK": (
        Incoming(declared=declare(LABELS[0]), masks=only(1), writer=MITK),
        (HoldReason.PARTIAL_SET,),
    ),
    "slices in reverse order": (Incoming(masks=flipped(0)), (HoldReason.ZFLIP, HoldReason.EXTREME_CHANGE)),
    "left and right exchanged": (Incoming(masks=flipped(2)), (HoldReason.LRFLIP, HoldReason.EXTREME_CHANGE)),
    "upside down": (Incoming(masks=flipped(1)), (HoldReason.UDFLIP, HoldReason.EXTREME_CHANGE)),
    "moved by a voxel": (Incoming(masks=moved(0, 1, 0)), (HoldReason.SHIFTED,)),
    "frames between the planes": (Incoming(frames=shifted_positions()), (HoldReason.GRID_MISMATCH,)),
    "another frame of reference": (
        Incoming(change=setting(FrameOfReferenceUID="1.2.3")),
        (HoldReason.FOR_MISMATCH,),
    ),
    "an image of elsewhere cited": (Incoming(change=cite_stranger), (HoldReason.FOREIGN_REFERENCES,)),
    "no image cited": (
        Incoming(writer=replace(SLICER, cites_sources=False), change=cite_nothing),
        (HoldReason.FOREIGN_REFERENCES,),
    ),
    "segments that overlap": (Incoming(masks=overlapping), (HoldReason.OVERLAP_NOT_ALLOWED,)),
    "a segment reduced to little": (Incoming(masks=eroded), (HoldReason.EXTREME_CHANGE,)),
    "nothing left": (
        Incoming(masks=emptied, frames=[Frame(plane=0, pixels=np.zeros(SHAPE[1:], np.uint8), number=1)]),
        (HoldReason.EMPTY, HoldReason.EXTREME_CHANGE),
    ),
    "no segment declared": (
        Incoming(declared=(), frames=[Frame(plane=0, pixels=np.zeros(SHAPE[1:], np.uint8))], writer=OHIF_LABELMAP),
        (HoldReason.EMPTY,),
    ),
    "probabilities": (Incoming(writer=Writer(kind=SegKind.FRACTIONAL)), (HoldReason.FRACTIONAL,)),
    "lossy pixels": (
        Incoming(change=lambda ds: setattr(ds.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.4.50")),
        (HoldReason.UNREADABLE,),
    ),
    "no frame described": (Incoming(change=setting(NumberOfFrames=99)), (HoldReason.UNREADABLE,)),
    "another patient": (Incoming(change=setting(PatientID="P00011")), (HoldReason.IDENTITY_MISMATCH,)),
    "another study": (Incoming(change=setting(StudyInstanceUID="1.2.3")), (HoldReason.IDENTITY_MISMATCH,)),
    "the UID of our own object over other masks": (
        Incoming(change=setting(SOPInstanceUID=derive_uid("out", "one", "parts", 0))),
        (HoldReason.SAME_UID_OTHER_BYTES,),
    ),
}


@pytest.mark.parametrize("row", HOLDS)
def test_each_doubt_holds_the_edit_with_its_reason(row: str) -> None:
    incoming, expected = HOLDS[row]
    found = codes(outcome(incoming))
    assert tuple(dict.fromkeys(found)) == expected


def test_the_table_has_a_row_for_each_reason_an_object_alone_can_give() -> None:
    shown = {reason for _, reasons in HOLDS.values() for reason in reasons}
    elsewhere = {
        HoldReason.AMBIGUOUS_STAGE,
        HoldReason.AMBIGUOUS_PRIOR,
        HoldReason.STALE_PARENT,
        HoldReason.CONCURRENT_EDIT,
        HoldReason.DOOR_CLOSED,
        HoldReason.UNKNOWN_STUDY,
        HoldReason.NO_OPEN_OUTPUT,
        # Reasons of contours: see test_rtstruct.
        HoldReason.STAGE_NOT_NAMED,
        HoldReason.CONTOURS_IN_DOUBT,
        # Reasons of the pipeline's policy, which the gateway gives after a match.
        HoldReason.ITERATION_CAP,
        HoldReason.RERUN_NOT_CONFIRMED,
    }
    assert shown == set(HoldReason) - elsewhere


@pytest.mark.parametrize("row", HOLDS)
def test_a_person_releases_what_is_plausibility_and_never_identity_or_geometry(row: str) -> None:
    incoming, reasons = HOLDS[row]
    found = outcome(incoming, forced=("one", "parts"))
    if all(reason.releasable for reason in reasons):
        assert isinstance(found, Match), found
        assert found.evidence is Evidence.PERSON
    else:
        assert set(codes(found)) <= set(reasons)
        assert not any(code.releasable and code is not HoldReason.MISSING_SEGMENT for code in codes(found))


def test_every_reason_says_what_happened_and_the_way_out() -> None:
    sentences = {reason.sentence for reason in HoldReason}
    assert len(sentences) == len(HoldReason)
    for sentence in sentences:
        assert len(sentence) > 40
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize("writer", [SLICER, MITK, OHIF_LABELMAP, OHIF_BITMAP, Writer()])
def test_an_edit_by_any_writer_is_accepted_with_what_it_changed(writer: Writer) -> None:
    found = outcome(Incoming(writer=writer))
    assert isinstance(found, Match)
    assert found.evidence is Evidence.LABELS
    # Four of the twelve voxels painted were the segment's before.
    assert found.diff.changed_voxels == int((painted()[1] & ~delivered_masks()[1]).sum())
    assert found.diff.slices == (4,)
    assert found.segmentation.segments == found.candidate.segments


EVIDENCE: dict[Evidence, Incoming] = {
    Evidence.PREDECESSOR: Incoming(change=naming_predecessor(derive_uid("out", "one", "parts", 0))),
    Evidence.REFERENCE: Incoming(change=referring_to(derive_uid("out", "one", "parts", 0))),
    Evidence.SERIES: Incoming(change=setting(SeriesInstanceUID=derive_uid("out series", "one", "parts", 0))),
    Evidence.TRACKING: Incoming(
        declared=[
            Declared(number=n, label=f"renamed {n}", tracking=("t", derive_uid("tracking", "one", label)))
            for n, label in enumerate(LABELS, start=1)
        ]
    ),
    Evidence.LABELS: Incoming(),
}


@pytest.mark.parametrize("evidence", EVIDENCE)
def test_each_evidence_is_recognised(evidence: Evidence) -> None:
    found = outcome(EVIDENCE[evidence])
    assert isinstance(found, Match)
    assert found.evidence is evidence
    assert evidence.sentence in found.confidence


@pytest.mark.parametrize("evidence", [e for e in EVIDENCE if e is not Evidence.LABELS])
def test_what_names_one_output_settles_between_two_that_fit(evidence: Evidence) -> None:
    other = candidate(name="other")
    found = outcome(EVIDENCE[evidence], other, candidate())
    assert isinstance(found, Match)
    assert found.candidate.case_id == "one"


def test_labels_alone_do_not_settle_between_two_that_fit() -> None:
    assert codes(outcome(Incoming(), candidate(name="other"), candidate())) == (HoldReason.AMBIGUOUS_PRIOR,)


@pytest.mark.parametrize("state", [OutputState.CLOSED, OutputState.EDITED, OutputState.SUPERSEDED])
def test_labels_alone_do_not_settle_for_the_open_of_two_that_fit(state: OutputState) -> None:
    other = candidate(name="other", state=state)
    assert codes(outcome(Incoming(), other, candidate())) == (HoldReason.AMBIGUOUS_PRIOR,)


def test_two_stages_of_one_case_that_fit_are_an_ambiguous_stage() -> None:
    assert codes(outcome(Incoming(), candidate(stage="a"), candidate(stage="b"))) == (HoldReason.AMBIGUOUS_STAGE,)


def test_segments_of_two_stages_in_one_object_are_an_ambiguous_stage() -> None:
    masks = delivered_masks()
    whole = candidate(stage="whole", labels=("Left part",), masks={1: masks[1]})
    part = candidate(stage="part", labels=("Right part",), masks={1: masks[2]})
    assert codes(outcome(Incoming(), whole, part)) == (HoldReason.AMBIGUOUS_STAGE,)


def test_stages_are_told_apart_by_their_labels() -> None:
    other = candidate(stage="other", labels=("Cortex",), masks={1: delivered_masks()[1]})
    found = outcome(Incoming(), other, candidate())
    assert isinstance(found, Match)
    assert found.candidate.stage == "parts"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (OutputState.EDITED, HoldReason.CONCURRENT_EDIT),
        (OutputState.SUPERSEDED, HoldReason.STALE_PARENT),
        (OutputState.CLOSED, HoldReason.DOOR_CLOSED),
    ],
)
def test_an_output_that_takes_no_edit_holds_it_until_a_person_releases_it(
    state: OutputState, reason: HoldReason
) -> None:
    closed = candidate(state=state)
    assert codes(outcome(Incoming(), closed)) == (reason,)
    assert isinstance(outcome(Incoming(), closed, forced=closed.line), Match)


def test_a_predecessor_that_is_superseded_makes_the_edit_stale_though_it_fits_the_newest() -> None:
    old, new = candidate(state=OutputState.SUPERSEDED), candidate(iteration=1)
    named = Incoming(change=naming_predecessor(old.sop_instance_uid))
    assert codes(outcome(named, old, new)) == (HoldReason.STALE_PARENT,)
    released = outcome(named, old, new, forced=new.line)
    assert isinstance(released, Match)
    assert released.candidate is new


def test_an_edit_without_reference_belongs_to_the_iteration_it_is_nearer_to() -> None:
    reworked = delivered_masks()
    reworked[2][6, 3:9, 10:16] = True
    old = candidate(state=OutputState.SUPERSEDED)
    new = candidate(iteration=1, masks=reworked)
    assert codes(outcome(Incoming(), old, new)) == (HoldReason.STALE_PARENT,)
    of_new = Incoming(masks=lambda: {1: painted()[1], 2: reworked[2]})
    found = outcome(of_new, old, new)
    assert isinstance(found, Match)
    assert found.candidate is new


def test_the_masks_of_an_accepted_edit_again_are_a_duplicate() -> None:
    first = outcome(Incoming())
    assert isinstance(first, Match)
    edited = candidate(state=OutputState.EDITED, accepted_edit_digests=frozenset({first.segmentation.digest()}))
    again = outcome(Incoming(writer=OHIF_LABELMAP), edited)
    assert isinstance(again, Ignore)
    assert again.reason is IgnoreReason.DUPLICATE


@pytest.mark.parametrize("writer", [SLICER, OHIF_LABELMAP])
@pytest.mark.parametrize("algorithm_type", ["AUTOMATIC", "MANUAL"])
def test_an_untouched_copy_is_unchanged_whatever_its_algorithm_type_says(writer: Writer, algorithm_type: str) -> None:
    declared = [replace(d, algorithm_type=algorithm_type) for d in declare(*LABELS)]
    assert isinstance(outcome(Incoming(masks=delivered_masks, declared=declared, writer=writer)), Unchanged)


def test_an_empty_segment_that_the_viewer_dropped_is_not_missing() -> None:
    masks = {1: delivered_masks()[1], 2: np.zeros(SHAPE, bool)}
    found = outcome(Incoming(declared=declare(LABELS[0]), masks=only(1)), candidate(masks=masks))
    assert isinstance(found, Match)
    assert isinstance(
        outcome(Incoming(declared=declare(LABELS[0]), masks=lambda: {1: masks[1]}), candidate(masks=masks)), Unchanged
    )


def test_a_stage_may_take_a_missing_segment_as_emptied() -> None:
    bounds = ChangeBounds(missing_segment_means_empty=True)
    found = outcome(Incoming(declared=declare(LABELS[0]), masks=only(1)), candidate(bounds=bounds))
    assert isinstance(found, Match)
    assert found.segmentation.voxel_count(found.candidate.segments[1]) == 0


def test_releasing_a_missing_segment_empties_it_and_releasing_a_part_keeps_the_rest() -> None:
    part = {"declared": declare(LABELS[0]), "masks": only(1)}
    right = candidate().segments[1]
    emptied_ = outcome(Incoming(**part), forced=("one", "parts"))  # type: ignore[arg-type]
    kept = outcome(Incoming(**part, writer=MITK), forced=("one", "parts"))  # type: ignore[arg-type]
    assert isinstance(emptied_, Match)
    assert isinstance(kept, Match)
    assert emptied_.segmentation.voxel_count(right) == 0
    assert kept.segmentation.voxel_count(right) == int(delivered_masks()[2].sum())
    assert kept.diff.changed_segments[0].label == LABELS[0]


def parts_of(*numbers: int) -> list[tuple[SegHeader, Read]]:
    """Each segment as an object of its own, as MITK stores them."""
    parts: list[tuple[SegHeader, Read]] = []
    for number in numbers:
        ds = Incoming(declared=declare(LABELS[number - 1], first=number), masks=only(number), writer=MITK).dataset()
        header = read_seg_header(ds)
        parts.append((header, partial(read_seg, ds, header=header)))
    return parts


def test_the_parts_of_a_set_are_accepted_together_once_it_is_complete() -> None:
    [left, right] = parts_of(1, 2)
    assert codes(match_parts([left], [candidate()])) == (HoldReason.PARTIAL_SET,)
    whole, single = match_parts([right, left], [candidate()]), outcome(Incoming())
    assert isinstance(whole, Match)
    assert isinstance(single, Match)
    assert whole.segmentation.digest() == single.segmentation.digest()
    assert whole.diff == single.diff


def test_parts_that_give_a_segment_twice_or_belong_to_two_outputs_are_held() -> None:
    [left, right] = parts_of(1, 2)
    assert codes(match_parts([left, right, left], [candidate()])) == (HoldReason.DUPLICATE_LABEL,)
    masks = delivered_masks()
    whole = candidate(stage="whole", labels=("Left part",), masks={1: masks[1]})
    part = candidate(stage="part", labels=("Right part",), masks={1: masks[2]})
    assert codes(match_parts([left, right], [whole, part])) == (HoldReason.AMBIGUOUS_PRIOR,)
    assert codes(match_parts([left, right], [])) == (HoldReason.UNKNOWN_STUDY,)


def test_painting_into_a_segment_that_was_empty_is_not_extreme() -> None:
    masks = {1: delivered_masks()[1], 2: np.zeros(SHAPE, bool)}
    assert isinstance(outcome(Incoming(), candidate(masks=masks)), Match)


def test_bounds_of_the_stage_decide_what_is_extreme() -> None:
    loose = ChangeBounds(min_dice=0.1, max_volume_ratio=20)
    assert isinstance(outcome(Incoming(masks=eroded), candidate(bounds=loose)), Match)
    strict = ChangeBounds(min_dice=0.99)
    assert codes(outcome(Incoming(), candidate(bounds=strict))) == (HoldReason.EXTREME_CHANGE,)
    allowed = ChangeBounds(overlap_allowed=True)
    assert isinstance(outcome(Incoming(masks=overlapping), candidate(bounds=allowed)), Match)


def test_the_study_of_no_case_and_a_stage_without_output_are_told() -> None:
    assert codes(match_dataset(Incoming().dataset(), [])) == (HoldReason.UNKNOWN_STUDY,)
    foreign = source_series(seed="elsewhere", study="elsewhere")
    held = outcome(Incoming(source=foreign))
    assert codes(held) == (HoldReason.UNKNOWN_STUDY,)
    assert isinstance(held, Hold)
    assert "another study than the case" in held.reasons[0].detail
    assert codes(outcome(Incoming(), forced=("one", "nothing"))) == (HoldReason.NO_OPEN_OUTPUT,)


def test_images_of_two_series_are_foreign_references() -> None:
    other = source_series(seed="second")

    def cite_both(ds: Dataset) -> None:
        more = Dataset()
        more.ReferencedSOPInstanceUID = other.slices[0].sop_instance_uid
        ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence.append(more)

    candidates = candidate(), candidate(name="second", source=other)
    assert codes(outcome(Incoming(change=cite_both), *candidates)) == (HoldReason.FOREIGN_REFERENCES,)


def test_the_right_one_of_two_series_is_found_by_the_images_cited() -> None:
    other = source_series(seed="second")
    candidates = candidate(), candidate(name="second", source=other)
    found = outcome(Incoming(source=other), *candidates)
    assert isinstance(found, Match)
    assert found.candidate.case_id == "second"


def test_a_predecessor_of_another_series_contradicts_the_images_cited() -> None:
    second = candidate(name="second", source=source_series(seed="second"))
    named = Incoming(change=naming_predecessor(second.sop_instance_uid))
    assert codes(outcome(named, candidate(), second)) == (HoldReason.FOREIGN_REFERENCES,)


def test_referring_to_our_own_segmentation_as_an_image_is_no_foreign_reference() -> None:
    def cite_ours(ds: Dataset) -> None:
        more = Dataset()
        more.ReferencedSOPInstanceUID = derive_uid("out", "one", "parts", 0)
        ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence.append(more)

    found = outcome(Incoming(change=cite_ours))
    assert isinstance(found, Match)
    assert found.evidence is Evidence.REFERENCE


def test_leading_zeros_of_a_patient_id_count() -> None:
    zeros = source_series(seed="zeros", patient_id="00042", study="zeros")
    matched = candidate(source=zeros)
    assert isinstance(outcome(Incoming(source=zeros), matched), Match)
    stripped = Incoming(source=zeros, change=setting(PatientID="42"))
    assert codes(outcome(stripped, matched)) == (HoldReason.IDENTITY_MISMATCH,)


@pytest.mark.parametrize("patient_id", ["Müller-7", "山田01"])
@pytest.mark.parametrize("character_set", ["ISO_IR 192", None])
def test_a_patient_id_in_any_script_is_compared_even_without_a_character_set(
    patient_id: str, character_set: str | None
) -> None:
    source = source_series(seed="script", patient_id=patient_id, study="script" + patient_id)
    writer = Writer(attributes={"SpecificCharacterSet": "ISO_IR 192"})

    data = write_foreign(source, declare(*LABELS), frames_of(painted()), writer)
    if character_set is None:
        # Drop (0008,0005) from the encoded file: the bytes stay UTF-8, as OHIF's bitmaps have them.
        start = data.index(b"\x08\x00\x05\x00CS")
        length = int.from_bytes(data[start + 6 : start + 8], "little")
        data = data[:start] + data[start + 8 + length :]
    assert isinstance(match_dataset(parse_seg(data), [candidate(source=source)]), Match)


def test_our_own_object_sent_back_is_an_echo_even_when_a_router_changed_its_header() -> None:
    ours = setting(SOPInstanceUID=derive_uid("out", "one", "parts", 0), PatientID="coerced")
    found = outcome(Incoming(masks=delivered_masks, change=ours))
    assert isinstance(found, Ignore)
    assert found.reason is IgnoreReason.OWN_ECHO


def test_an_unreadable_file_is_held_with_the_readers_reason() -> None:
    with pytest.raises(UnreadableSeg) as refused:
        parse_seg(b"no DICOM")
    held = hold_unreadable(refused.value)
    assert held.codes == (HoldReason.UNREADABLE,)
    assert "NOT_DICOM" in held.reasons[0].detail


def test_no_detail_quotes_what_the_sender_wrote() -> None:
    canary = "CANARY^Patient"
    incoming = Incoming(
        declared=declare(canary), masks=only(1), change=setting(PatientName=canary, SeriesDescription=canary)
    )
    found = outcome(incoming)
    assert isinstance(found, Hold)
    assert canary.casefold() not in repr(found).casefold()


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_frame_order_segment_numbers_and_descriptions_never_matter(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([SegKind.BINARY, SegKind.LABELMAP]))
    numbers = data.draw(st.lists(st.integers(1, 255), min_size=2, max_size=2, unique=True))
    order = data.draw(st.permutations([0, 1]))
    masks = {numbers[i]: painted()[i + 1] for i in range(2)}
    frames = frames_of(masks, kind=kind)
    shuffled = data.draw(st.permutations(frames))
    text = data.draw(st.text("ABC xyz 0189", max_size=12))
    incoming = Incoming(
        declared=[Declared(number=numbers[i], label=LABELS[i]) for i in order],
        frames=shuffled,
        writer=Writer(
            kind=kind,
            attributes={
                "SeriesDescription": text,
                "SeriesNumber": data.draw(st.integers(0, 9999)),
                "ContentLabel": "EDIT",
                "ContentCreatorName": text,
                "InstanceNumber": data.draw(st.integers(0, 9999)),
            },
        ),
    )
    found, expected = outcome(incoming), outcome(Incoming())
    assert isinstance(found, Match)
    assert isinstance(expected, Match)
    assert found.segmentation.digest() == expected.segmentation.digest()
    assert found.evidence is expected.evidence
    assert found.diff == expected.diff


def told(number: int, label: str, uid: str = "", code: tuple[str, str, str] | None = None) -> DeclaredSegment:
    return DeclaredSegment(number=number, label=label, tracking_uid=uid, property_type=Code(*code) if code else None)


def test_segments_are_told_by_tracking_then_label_then_specific_code() -> None:
    ours = list(make_segments("Cortex", "White matter", "Lesion"))
    ours[2] = replace(ours[2], property_type=Code("52988006", "SCT", "Lesion"))
    mapping = map_segments(
        [
            told(9, "renamed", uid="1.2.3"),
            told(4, "  white   MATTER "),
            told(2, "thing", code=("M-01100", "SRT", "Lesion")),
        ],
        ours,
        {"Cortex": ("c", "1.2.3")},
    )
    assert mapping.number_of == {"Cortex": 9, "White matter": 4, "Lesion": 2}
    assert mapping.is_clear
    assert mapping.by_code == 1


@pytest.mark.parametrize("code", [("T-D0050", "SRT", "Tissue"), ("85756007", "SCT", "Tissue"), None])
def test_a_generic_code_tells_no_segment(code: tuple[str, str, str] | None) -> None:
    generic = [replace(s, property_type=Code("85756007", "SCT", "Tissue")) for s in make_segments("Cortex")]
    assert map_segments([told(1, "x", code=code)], generic, {}).unknown == 1


def test_a_code_that_two_segments_share_tells_neither() -> None:
    assert map_segments([told(1, "x", code=BRAIN)], make_segments("Left", "Right"), {}).unknown == 1
    both = [told(1, "x", code=BRAIN), told(2, "y", code=BRAIN)]
    assert map_segments(both, make_segments("Left"), {}).unknown == 2


HIPPOCAMPUS, ANTERIOR, POSTERIOR = (
    Code("5366008", "SCT", "Hippocampus"),
    Code("255549009", "SCT", "Anterior"),
    Code("255551008", "SCT", "Posterior"),
)


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ((ANTERIOR, POSTERIOR), {"Front": 1, "Back": 2}),
        ((POSTERIOR, ANTERIOR), {"Front": 2, "Back": 1}),
        ((ANTERIOR, None), {"Front": 1}),
        ((ANTERIOR, ANTERIOR), {}),
        ((None, None), {}),
    ],
)
def test_the_modifier_of_a_type_tells_its_parts_apart(
    theirs: tuple[Code | None, ...], expected: dict[str, int]
) -> None:
    ours = [
        replace(segment, property_type=HIPPOCAMPUS, property_type_modifier=modifier)
        for segment, modifier in zip(make_segments("Front", "Back"), (ANTERIOR, POSTERIOR), strict=True)
    ]
    declared = [
        DeclaredSegment(number=n, label=f"Segment {n}", property_type=HIPPOCAMPUS, property_type_modifier=modifier)
        for n, modifier in enumerate(theirs, 1)
    ]
    mapping = map_segments(declared, ours, {})
    assert mapping.number_of == expected
    assert mapping.by_code == len(expected)


def test_a_modifier_never_overrules_a_label() -> None:
    ours = [replace(s, property_type=HIPPOCAMPUS, property_type_modifier=ANTERIOR) for s in make_segments("Front")]
    declared = DeclaredSegment(number=3, label="Front", property_type=HIPPOCAMPUS, property_type_modifier=POSTERIOR)
    assert map_segments([declared], ours, {}).number_of == {"Front": 3}


def test_a_modifier_that_only_the_editor_states_contradicts_nothing() -> None:
    ours = [replace(s, property_type=HIPPOCAMPUS) for s in make_segments("Hippocampus")]
    declared = DeclaredSegment(number=1, label="x", property_type=HIPPOCAMPUS, property_type_modifier=ANTERIOR)
    assert map_segments([declared], ours, {}).number_of == {"Hippocampus": 1}


def test_a_code_alone_ties_no_edit_to_an_output() -> None:
    single = candidate(labels=("Cortex",), masks={1: delivered_masks()[1]})
    coded = Incoming(declared=[Declared(number=1, label="Segment 1", code=BRAIN)], masks=only(1))
    assert codes(outcome(coded, single))[0] is HoldReason.UNKNOWN_LABEL
    named = replace(coded, change=naming_predecessor(single.sop_instance_uid))
    assert isinstance(outcome(named, single), Match)


def test_the_number_of_a_segment_never_tells_it() -> None:
    swapped = Incoming(
        declared=(Declared(number=2, label=LABELS[0]), Declared(number=1, label=LABELS[1])),
        masks=lambda: {2: painted()[1], 1: painted()[2]},
    )
    found = outcome(swapped)
    assert isinstance(found, Match)
    assert found.diff.changed_voxels == int((painted()[1] & ~delivered_masks()[1]).sum())


def test_ten_thousand_candidates_are_filtered_by_the_header_in_a_moment() -> None:
    series = source_series()
    one = candidate()
    others = [
        replace(
            one,
            case_id=f"case {i}",
            study_instance_uid=f"1.2.{i}",
            sop_instance_uid=f"1.3.{i}",
            series_instance_uid=f"1.4.{i}",
            source=OutputSource(
                series_instance_uid=f"1.5.{i}",
                frame_of_reference_uid=f"1.6.{i}",
                sop_instance_uids=frozenset({f"1.7.{i}"}),
                load=lambda: series,
            ),
        )
        for i in range(10_000)
    ]
    header = read_seg_header(Incoming(change=setting(PatientID="nobody")).dataset())
    candidates = [*others, one]

    def read(source: SourceSeries) -> object:
        raise AssertionError("the header settles it")

    best = min(_seconds(lambda: match(header, read, candidates)) for _ in range(5))  # type: ignore[arg-type]
    assert best < 0.5


def _seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start
