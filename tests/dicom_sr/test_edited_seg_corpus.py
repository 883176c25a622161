"""A corpus of edits from many real writers: the expected outcome for every one, and never a wrong acceptance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dicom_sr.hold import HoldReason
from dicom_sr.match import Evidence, Hold, Match, Outcome, Unchanged, match_dataset
from dicom_sr.seg_kind import SEGMENTATION_STORAGE, SegKind
from dicom_sr.seg_open import parse_seg
from dicom_sr.seg_read import SegWarningCode, read_seg
from tests.support.adapters_writer import write_with_adapters
from tests.support.edit_corpus import (
    KINDS,
    Edit,
    adapter_request,
    candidates_for,
    edit_of,
    study,
    write_by_dcmqi,
    write_by_highdicom,
    write_like_mitk,
    write_like_slicer,
)

#: What an object of each kind comes to, whoever wrote it; a writer's own faults are in FAULTS.
EXPECTED: dict[str, type[Outcome] | HoldReason] = {
    "paint": Match,
    "erase": Match,
    "delete segment": HoldReason.MISSING_SEGMENT,
    "add segment": HoldReason.UNKNOWN_LABEL,
    "empty": HoldReason.EMPTY,
    "untouched": Unchanged,
    "flipped": HoldReason.ZFLIP,
    "reordered stack": Match,
    "stale": HoldReason.STALE_PARENT,
    "concurrent": HoldReason.CONCURRENT_EDIT,
    "foreign study": HoldReason.UNKNOWN_STUDY,
}

#: Identities that an object of our images may have lost on its way, and what it is held for.
COPIES = {
    "StudyInstanceUID": HoldReason.IDENTITY_MISMATCH,
    "PatientID": HoldReason.IDENTITY_MISMATCH,
    "FrameOfReferenceUID": HoldReason.FOR_MISMATCH,
}

#: Measured faults and habits of writers that change the outcome, always to a hold.
FAULTS: dict[tuple[str, str], HoldReason] = {
    # Saves one group of several: nothing tells a deleted segment from one that is in another file.
    ("MITK", "delete segment"): HoldReason.PARTIAL_SET,
    # Renumbers Segment Sequence but not the frames once a segment is gone.
    ("5.6.8 bitmap", "delete segment"): HoldReason.UNDECLARED_SEGMENT,
    ("5.6.8 bitmap RLE", "delete segment"): HoldReason.UNDECLARED_SEGMENT,
    # Takes plane positions from the sorted stack and the images cited from the caller's.
    ("5.6.8 bitmap", "reordered stack"): HoldReason.POS_SRC_CONFLICT,
    ("5.6.8 bitmap RLE", "reordered stack"): HoldReason.POS_SRC_CONFLICT,
    # Sort the stack and not the masks: the header is consistent, the mask is reversed.
    ("4.19.0 bitmap", "reordered stack"): HoldReason.ZFLIP,
    ("3.33.5 bitmap", "reordered stack"): HoldReason.ZFLIP,
    # Run-length encodes masks as probabilities.
    **{("3.33.5 fractional RLE", kind): HoldReason.FRACTIONAL for kind in KINDS},
}

#: Variants that each line knows; older lines ignore the options of newer ones and write plain bitmaps.
LINES = [
    *((version, variant) for version in ("5.14.0", "5.6.8") for variant in ("bitmap", "bitmap RLE", "label map")),
    ("4.19.0", "bitmap"),
    ("3.33.5", "bitmap"),
    ("3.33.5", "fractional RLE"),
]

#: Writers that refuse to write a segmentation with nothing in it.
REFUSE_EMPTY = frozenset({"dcmqi binary", "dcmqi label map", *(f"{version} {variant}" for version, variant in LINES)})

LOCAL: dict[str, Callable[[Edit, Path], bytes]] = {
    "dcmqi binary": lambda edit, folder: write_by_dcmqi(edit, folder, labelmap=False),
    "dcmqi label map": lambda edit, folder: write_by_dcmqi(edit, folder, labelmap=True),
    "highdicom binary": lambda edit, folder: write_by_highdicom(edit, kind=SegKind.BINARY),
    "highdicom label map": lambda edit, folder: write_by_highdicom(edit, kind=SegKind.LABELMAP),
    "Slicer": lambda edit, folder: write_like_slicer(edit),
    "MITK": lambda edit, folder: write_like_mitk(edit),
}


def check(writer: str, kind: str, data: bytes) -> None:
    """Match one object and compare the outcome with the expected one; an acceptance must give the true masks."""
    outcome = match_dataset(parse_seg(data), candidates_for(kind))
    if isinstance(outcome, Match):
        for segment in outcome.candidate.segments:
            np.testing.assert_array_equal(outcome.segmentation.mask(segment), edit_of(kind).masks[segment.label])
    expected = FAULTS.get((writer, kind), EXPECTED[kind])
    if isinstance(expected, HoldReason):
        assert isinstance(outcome, Hold), (writer, kind, type(outcome))
        assert expected in outcome.codes, (writer, kind, outcome.reasons)
    else:
        assert isinstance(outcome, expected), (writer, kind, outcome.reasons if isinstance(outcome, Hold) else outcome)
    if kind == "paint":
        check_copies(writer, data)


def check_copies(writer: str, data: bytes) -> None:
    """Change one identity of an object at a time, as an anonymiser between viewer and gateway would."""
    for keyword, reason in COPIES.items():
        copied = parse_seg(data)
        setattr(copied, keyword, "1.2.3.4.5")
        outcome = match_dataset(copied, candidates_for("paint"))
        assert isinstance(outcome, Hold), (writer, keyword, outcome)
        assert reason in outcome.codes or HoldReason.FRACTIONAL in outcome.codes, (writer, keyword, outcome.reasons)


@pytest.mark.peer
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", LOCAL)
def test_each_kind_of_edit_by_each_writer_has_the_expected_outcome(tmp_path: Path, writer: str, kind: str) -> None:
    if kind == "empty" and writer in REFUSE_EMPTY:
        with pytest.raises(FileNotFoundError):
            LOCAL[writer](edit_of(kind), tmp_path)
    else:
        check(writer, kind, LOCAL[writer](edit_of(kind), tmp_path))


@pytest.mark.peer
@pytest.mark.parametrize(("version", "variant"), LINES)
def test_each_kind_of_edit_by_each_line_of_the_cornerstone_adapters_has_the_expected_outcome(
    tmp_path: Path, version: str, variant: str
) -> None:
    written = write_with_adapters(version, {kind: adapter_request(edit_of(kind), variant) for kind in KINDS}, tmp_path)
    for kind, data in written.items():
        assert isinstance(data, str) == (kind == "empty"), data
        if isinstance(data, bytes):
            check(f"{version} {variant}", kind, data)


@pytest.mark.peer
@pytest.mark.parametrize("variant", ["bitmap", "bitmap RLE"])
def test_the_adapters_pad_frames_and_are_read_all_the_same(tmp_path: Path, variant: str) -> None:
    written = write_with_adapters("5.14.0", {"paint": adapter_request(edit_of("paint"), variant)}, tmp_path)
    assert isinstance(written["paint"], bytes)
    content = read_seg(parse_seg(written["paint"]), study()[0])
    padded = SegWarningCode.PADDED_FRAMES in {warning.code for warning in content.warnings}
    assert padded == (variant == "bitmap")
    for label, mask in edit_of("paint").masks.items():
        np.testing.assert_array_equal(content.mask(edit_of("paint").numbers[label]), mask)


@pytest.mark.peer
@pytest.mark.parametrize(("version", "evidence"), [("5.14.0", Evidence.PREDECESSOR), ("5.6.8", Evidence.LABELS)])
def test_a_predecessor_is_used_where_the_viewer_writes_it_and_never_required(
    tmp_path: Path, version: str, evidence: Evidence
) -> None:
    [prior] = candidates_for("paint")
    image = {
        "ReferencedSOPClassUID": SEGMENTATION_STORAGE,
        "ReferencedSOPInstanceUID": prior.sop_instance_uid,
    }
    series = {"SeriesInstanceUID": prior.series_instance_uid, "ReferencedSOPSequence": image}
    study_ = {"StudyInstanceUID": prior.study_instance_uid, "ReferencedSeriesSequence": series}
    predecessor = {
        "SeriesInstanceUID": prior.series_instance_uid,
        "SeriesNumber": 300,
        "InstanceNumber": 2,
        "PredecessorDocumentsSequence": study_,
    }
    request = adapter_request(edit_of("paint"), "label map", predecessor=predecessor)
    written = write_with_adapters(version, {"paint": request}, tmp_path)
    assert isinstance(written["paint"], bytes)
    outcome = match_dataset(parse_seg(written["paint"]), [prior])
    assert isinstance(outcome, Match)
    assert outcome.evidence is evidence
