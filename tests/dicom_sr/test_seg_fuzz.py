"""Mutated files: a named refusal or an outcome of matching, never another exception, bounded in time and memory."""

from __future__ import annotations

import resource
import time
from collections import Counter
from functools import cache

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from dicom_sr.match import Hold, Ignore, Match, Outcome, Unchanged, hold_unreadable, match_dataset
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_open import parse_seg
from dicom_sr.seg_read import UnreadableSeg
from tests.support.edited_seg import edited_seg
from tests.support.match_example import LABELS, candidate, painted, source_series
from tests.support.mutate import mutate
from tests.support.seg_writers import (
    MITK,
    OHIF_BITMAP,
    OHIF_LABELMAP,
    SLICER,
    Writer,
    declare,
    frames_of,
    write_foreign,
)

WRITERS = {
    "binary": SLICER,
    "parts": MITK,
    "ohif label map": OHIF_LABELMAP,
    "ohif bitmap": OHIF_BITMAP,
    "implicit": Writer(syntax=ImplicitVRLittleEndian),
    "deflated": Writer(syntax=DeflatedExplicitVRLittleEndian),
    "label map 16": Writer(kind=SegKind.LABELMAP, bits=16),
    "jpeg-ls": Writer(kind=SegKind.LABELMAP, syntax=JPEGLSLossless),
    "jpeg 2000": Writer(kind=SegKind.LABELMAP, syntax=JPEG2000Lossless),
    "fractional": Writer(kind=SegKind.FRACTIONAL),
}
MEGABYTE = 1024 * 1024


@cache
def seeds() -> dict[str, bytes]:
    return {
        name: write_foreign(source_series(), declare(*LABELS), frames_of(painted(), kind=writer.kind), writer)
        for name, writer in WRITERS.items()
    }


def answer(data: bytes) -> Outcome:
    """What the gateway makes of a received file."""
    try:
        ds = parse_seg(data)
    except UnreadableSeg as refusal:
        return hold_unreadable(refusal)
    return match_dataset(ds, [candidate()])


def fuzz(files: dict[str, bytes], count: int, first: int = 0) -> Counter[str]:
    """Answer `count` mutations of the files and count the outcomes; any exception fails the test with its seed."""
    outcomes: Counter[str] = Counter()
    names = list(files)
    for seed in range(first, first + count):
        name = names[seed // 13 % len(names)]
        kind, data = mutate(files[name], seed)
        before = time.process_time()
        try:
            outcome = answer(data)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {name}, {kind}: {type(error).__name__}: {error}") from error
        assert time.process_time() - before < 10, f"seed {seed}: {name}, {kind}"
        assert isinstance(outcome, Match | Unchanged | Hold | Ignore)
        if isinstance(outcome, Hold):
            assert outcome.reasons
            outcomes.update(str(code) for code in set(outcome.codes))
        else:
            outcomes[type(outcome).__name__] += 1
    return outcomes


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_every_unmutated_file_is_accepted() -> None:
    for name, data in seeds().items():
        outcome = answer(data)
        assert isinstance(outcome, Hold if name == "fractional" else Match), name


def test_mutated_files_are_refused_or_held_by_name() -> None:
    answer(seeds()["jpeg 2000"])
    before = peak_megabytes()
    outcomes = fuzz(seeds(), 390)
    assert outcomes["UNREADABLE"] > 50
    assert len(outcomes) > 4
    assert peak_megabytes() - before < 300


def test_a_file_of_nothing_but_headers_is_refused_in_bounded_time() -> None:
    elements = b"\x09\x00\x10\x10LO\x00\x00" * (2 * MEGABYTE)
    start = time.process_time()
    assert isinstance(answer(seeds()["binary"][:400] + elements), Hold)
    assert time.process_time() - start < 10


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_five_thousand_mutations_of_synthetic_files_are_refused_or_held_by_name() -> None:
    before = peak_megabytes()
    outcomes = fuzz(seeds(), 5200, first=1000)
    assert sum(outcomes.values()) >= 5200
    assert peak_megabytes() - before < 1000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mutations_of_what_real_editors_wrote_are_refused_or_held_by_name() -> None:
    data = edited_seg()
    files = {path.name: path.read_bytes() for path in sorted(data.folder.glob("*.dcm"))}
    prior = data.prior("P1")

    def received(content: bytes) -> Outcome:
        try:
            return match_dataset(parse_seg(content), [prior])
        except UnreadableSeg as refusal:
            return hold_unreadable(refusal)

    before = peak_megabytes()
    for seed in range(600):
        name = list(files)[seed // 13 % len(files)]
        _, mutated = mutate(files[name], seed)
        start = time.process_time()
        assert isinstance(received(mutated), Match | Unchanged | Hold | Ignore)
        assert time.process_time() - start < 10, (seed, name)
    assert peak_megabytes() - before < 1000
