"""Decoding the frames of a segmentation: every packing and compression, and what is refused before it is decoded."""

from __future__ import annotations

from pathlib import Path

import jpeg_ls
import numpy as np
import numpy.typing as npt
import openjpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from dicom_sr import seg_codecs, seg_layers, seg_pixels
from dicom_sr.seg_block import crop, crop_bits
from dicom_sr.seg_header import read_seg_header
from dicom_sr.seg_kind import SegKind
from dicom_sr.seg_pixels import DEFLATED_IMAGE_FRAME, open_pixels
from dicom_sr.seg_read import SegWarningCode, UnreadableReason, UnreadableSeg, open_seg, parse_seg, read_seg
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from tests.support.make_series import make_mr_series
from tests.support.seg_writers import SLICER, Frame, Writer, declare, file_bytes, frames_of, read_foreign, write_foreign
from tests.support.shared import shared_data

#: 1155 pixels a frame: no multiple of 8, so bits of two frames share a byte.
SHAPE = (12, 33, 35)
Mask = npt.NDArray[np.bool_]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SourceSeries:
    return read_series(make_mr_series(tmp_path_factory.mktemp("series"), shape=SHAPE))


@pytest.fixture(scope="module")
def mask() -> Mask:
    found: Mask = np.random.default_rng(5).random(SHAPE) < 0.3
    return found


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless, DEFLATED_IMAGE_FRAME],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_label_maps_decode_in_every_lossless_syntax(source: SourceSeries, mask: Mask, syntax: str, bits: int) -> None:
    number = 2**bits - 3
    declared = declare("A", first=number)
    writer = Writer(kind=SegKind.LABELMAP, syntax=syntax, bits=bits)
    content = read_foreign(source, declared, frames_of({number: mask}, kind=SegKind.LABELMAP), writer)
    np.testing.assert_array_equal(content.mask(number), mask)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, DEFLATED_IMAGE_FRAME])
@pytest.mark.parametrize("bits", [1, 8])
def test_binary_frames_decode_from_bits_and_from_bytes(
    source: SourceSeries, mask: Mask, syntax: str, bits: int
) -> None:
    content = read_foreign(source, declare("A"), frames_of({1: mask}), Writer(syntax=syntax, bits=bits))
    np.testing.assert_array_equal(content.mask(1), mask)
    unpacked = SegWarningCode.UNPACKED_BITS in {w.code for w in content.warnings}
    assert unpacked == (bits == 8)


def test_the_one_bit_run_length_segmentation_of_pydicom_is_decoded() -> None:
    folder = shared_data("seg_sr") / "pydicom"
    frames = []
    for name in ("liver.dcm", "liver_rle.dcm"):
        ds = open_seg(folder / name)
        header = read_seg_header(ds)
        pixels = open_pixels(ds, header)
        frames.append([pixels.frame(i) for i in range(header.frames.count)])
    for native, compressed in zip(*frames, strict=True):
        assert native.any()
        np.testing.assert_array_equal(native, compressed)


def test_frames_padded_to_whole_bytes_are_decoded_frame_by_frame(source: SourceSeries, mask: Mask) -> None:
    content = read_foreign(source, declare("A"), frames_of({1: mask}), Writer(pad_frames=True))
    np.testing.assert_array_equal(content.mask(1), mask)
    assert SegWarningCode.PADDED_FRAMES in {w.code for w in content.warnings}


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**16), rows=st.integers(1, 9), columns=st.integers(1, 9), count=st.integers(1, 9))
def test_both_packings_are_told_apart_or_refused_but_never_misread(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, columns: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = (rng.random((count, rows, columns)) < rng.choice([0.02, 0.3, 0.9])).astype(np.uint8)
    source = small_series(tmp_path_factory, (12, max(rows, 2), max(columns, 2)))
    frames = np.pad(frames, ((0, 0), (0, max(rows, 2) - rows), (0, max(columns, 2) - columns)))
    declared = declare("A")
    written = [Frame(plane=z, pixels=frames[z], number=1) for z in range(count)]
    reasons: set[UnreadableReason] = set()
    for pad in (False, True):
        writer = Writer(pad_frames=pad)
        try:
            content = read_foreign(source, declared, written, writer)
        except UnreadableSeg as refused:
            reasons.add(refused.reason)
            continue
        np.testing.assert_array_equal(content.mask(1)[:count], frames.astype(bool))
    assert reasons <= {UnreadableReason.AMBIGUOUS_PACKING}


_SERIES: dict[tuple[int, int, int], SourceSeries] = {}


def small_series(factory: pytest.TempPathFactory, shape: tuple[int, int, int]) -> SourceSeries:
    if shape not in _SERIES:
        _SERIES[shape] = read_series(make_mr_series(factory.mktemp("small"), shape=shape))
    return _SERIES[shape]


def test_a_writer_that_keeps_the_standard_is_read_by_the_standard_where_lengths_do_not_tell(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    source = small_series(tmp_path_factory, (2, 3, 3))
    corner = np.zeros((3, 3), np.uint8)
    corner[2, 2] = 1
    frames = [Frame(plane=0, pixels=corner[::-1], number=1), Frame(plane=1, pixels=corner, number=1)]
    content = read_foreign(source, declare("A"), frames, SLICER)
    np.testing.assert_array_equal(content.mask(1), np.stack([corner[::-1], corner]).astype(bool))
    with pytest.raises(UnreadableSeg) as refused:
        read_foreign(source, declare("A"), frames, Writer())
    assert refused.value.reason is UnreadableReason.AMBIGUOUS_PACKING


@pytest.mark.parametrize("length", [-1, 2, -2, 40])
def test_pixel_data_of_another_length_is_refused(source: SourceSeries, mask: Mask, length: int) -> None:
    ds = parse_seg(
        write_foreign(source, declare("A"), frames_of({1: mask}, kind=SegKind.LABELMAP), Writer(kind=SegKind.LABELMAP))
    )
    data = ds.PixelData
    ds.PixelData = data[:length] if length < 0 else data + b"\0" * length
    with pytest.raises(UnreadableSeg) as refused:
        read_seg(ds, source)
    assert refused.value.reason is UnreadableReason.PIXEL_LENGTH


def test_no_pixel_data_is_refused(source: SourceSeries, mask: Mask) -> None:
    ds = parse_seg(write_foreign(source, declare("A"), frames_of({1: mask})))
    del ds.PixelData
    with pytest.raises(UnreadableSeg) as refused:
        read_seg(ds, source)
    assert refused.value.reason is UnreadableReason.PIXEL_LENGTH


def test_a_lossy_syntax_is_refused(source: SourceSeries, mask: Mask) -> None:
    ds = parse_seg(
        write_foreign(
            source,
            declare("A"),
            frames_of({1: mask}, kind=SegKind.LABELMAP),
            Writer(kind=SegKind.LABELMAP, syntax=RLELossless),
        )
    )
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    with pytest.raises(UnreadableSeg) as refused:
        read_seg(ds, source)
    assert refused.value.reason is UnreadableReason.UNSUPPORTED_TRANSFER_SYNTAX


def test_binary_values_above_one_are_refused(source: SourceSeries) -> None:
    frames = [Frame(plane=0, pixels=np.full(SHAPE[1:], 2, np.uint8), number=1)]
    with pytest.raises(UnreadableSeg) as refused:
        read_foreign(source, declare("A"), frames, Writer(bits=8))
    assert refused.value.reason is UnreadableReason.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_frame_that_declares_another_matrix_is_refused_before_it_is_decoded(
    source: SourceSeries, mask: Mask, syntax: str
) -> None:
    kind = SegKind.LABELMAP
    writer = Writer(kind=kind, syntax=syntax, attributes={"Rows": SHAPE[1] + 1})
    ds = parse_seg(write_foreign(source, declare("A"), frames_of({1: mask}, kind=kind), writer))
    pixels = open_pixels(ds, read_seg_header(ds))
    with pytest.raises(UnreadableSeg) as refused:
        pixels.frame(0)
    assert refused.value.reason is UnreadableReason.UNDECODABLE_PIXELS


def test_a_codestream_that_declares_a_huge_matrix_is_never_handed_to_the_decoder() -> None:
    rows, columns = SHAPE[1:]
    pixels = np.zeros((rows, columns), np.uint8)
    small = {
        seg_codecs.decode_jpeg2000: bytes(openjpeg.encode(pixels, photometric_interpretation=2, codec_format=0)),
        seg_codecs.decode_jpeg_ls: bytes(jpeg_ls.encode_array(pixels)),
    }
    for decode, data in small.items():
        assert decode(data, rows, columns, 8) == pixels.tobytes()
        position = data.index(b"\xff\x51" if decode is seg_codecs.decode_jpeg2000 else b"\xff\xf7")
        huge = data[: position + 5] + b"\x7f" * 8 + data[position + 13 :]
        with pytest.raises(UnreadableSeg) as refused:
            decode(huge, rows, columns, 8)
        assert refused.value.reason is UnreadableReason.UNDECODABLE_PIXELS


def test_more_voxels_or_slower_bytes_than_can_be_decoded_in_time_are_refused(
    source: SourceSeries, mask: Mask, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = SegKind.LABELMAP
    files = {
        "MAX_NATIVE_VOXELS": Writer(kind=kind),
        "MAX_COMPRESSED_VOXELS": Writer(kind=kind, syntax=RLELossless),
        "MAX_ENCODED_BYTES": Writer(kind=kind, syntax=JPEG2000Lossless),
    }
    for limit, writer in files.items():
        ds = parse_seg(write_foreign(source, declare("A"), frames_of({1: mask}, kind=kind), writer))
        with monkeypatch.context() as patch:
            patch.setattr(seg_pixels, limit, {JPEG2000Lossless: 100} if limit == "MAX_ENCODED_BYTES" else 100)
            with pytest.raises(UnreadableSeg) as refused:
                read_seg(ds, source)
        assert refused.value.reason is UnreadableReason.TOO_LARGE
        assert read_seg(ds, source).mask(1).any()


def test_more_overlapping_segments_than_fit_in_memory_are_refused(
    source: SourceSeries, mask: Mask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seg_layers, "MAX_LAYER_BYTES", 2 * 2 * mask.size)
    for kind in (SegKind.BINARY, SegKind.LABELMAP):
        two = read_foreign(source, declare("A", "B"), frames_of({1: mask, 2: mask}, kind=kind), Writer(kind=kind))
        assert len(two.layers) == 2
        with pytest.raises(UnreadableSeg) as refused:
            read_foreign(
                source, declare("A", "B", "C"), frames_of({1: mask, 2: mask, 3: mask}, kind=kind), Writer(kind=kind)
            )
        assert refused.value.reason is UnreadableReason.TOO_LARGE


def test_fragments_are_joined_as_the_offset_table_says(source: SourceSeries, mask: Mask) -> None:
    kind = SegKind.LABELMAP
    ds = parse_seg(
        write_foreign(source, declare("A"), frames_of({1: mask}, kind=kind), Writer(kind=kind, syntax=JPEGLSLossless))
    )
    frames = list(generate_frames(ds.PixelData, number_of_frames=SHAPE[0]))
    ds.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=True)
    content = read_seg(parse_seg(file_bytes(ds)), source)
    np.testing.assert_array_equal(content.mask(1), mask)
    ds.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=False)
    with pytest.raises(UnreadableSeg) as refused:
        read_seg(parse_seg(file_bytes(ds)), source)
    assert refused.value.reason is UnreadableReason.PIXEL_LENGTH


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(1, 12),
    columns=st.integers(1, 40),
    start=st.integers(0, 70),
    density=st.sampled_from([0.0, 0.01, 0.5]),
)
def test_cropping_packed_bits_equals_cropping_the_unpacked_frame(
    seed: int, rows: int, columns: int, start: int, density: float
) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random(start + rows * columns + 50) < density
    packed = np.packbits(bits, bitorder="little")
    frame = bits[start : start + rows * columns].reshape(rows, columns)
    block = crop_bits(packed, start, (rows, columns))
    assert (block is None) == (not frame.any())
    again = crop(frame)
    if block is not None and again is not None:
        rebuilt = np.zeros_like(frame)
        top, left, pixels = block
        rebuilt[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        np.testing.assert_array_equal(rebuilt, frame)
        assert (block.first_row, block.first_column) == (again.first_row, again.first_column)


def test_decoding_reads_no_file_but_the_one_it_is_given(tmp_path: Path, source: SourceSeries, mask: Mask) -> None:
    path = tmp_path / "seg.dcm"
    path.write_bytes(write_foreign(source, declare("A"), frames_of({1: mask})))
    ds = open_seg(path)
    path.unlink()
    np.testing.assert_array_equal(read_seg(ds, source).mask(1), mask)
