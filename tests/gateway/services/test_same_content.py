"""Whether two files say the same: re-encoding does not matter, any value does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from dicom_sr import series_pixels
from gateway.services.same_content import same_content
from tests.support.instances import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, make_instance

PIXELS = bytes(range(200))


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN])
def test_the_same_data_set_in_another_transfer_syntax_is_the_same(tmp_path: Path, syntax: str) -> None:
    first = _file(tmp_path, "a", make_instance(pixels=PIXELS))
    pixels = PIXELS
    if syntax == BIG_ENDIAN:
        pixels = b"".join(bytes(reversed(PIXELS[i : i + 2])) for i in range(0, len(PIXELS), 2))
    second = _file(tmp_path, "b", make_instance(pixels=pixels, syntax=syntax))
    assert same_content(first, second)


def test_lossless_compression_is_the_same(tmp_path: Path) -> None:
    first = _file(tmp_path, "a", make_instance(pixels=PIXELS))
    compressed = dcmread(first)
    compressed.compress(RLELossless, generate_instance_uid=False)
    compressed.save_as(tmp_path / "b")
    assert same_content(first, tmp_path / "b")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("changed", [{"pixels": b"\x01" + PIXELS[1:]}, {"PatientID": "P2"}, {"StudyID": "1"}])
def test_any_other_value_or_voxel_is_another_content(tmp_path: Path, syntax: str, changed: dict[str, object]) -> None:
    first = _file(tmp_path, "a", make_instance(pixels=PIXELS))
    second = _file(tmp_path, "b", make_instance(**{"pixels": PIXELS, "syntax": syntax, **changed}))  # type: ignore[arg-type]
    assert not same_content(first, second)


def test_other_file_meta_information_does_not_matter(tmp_path: Path) -> None:
    first = _file(tmp_path, "a", make_instance())
    again = dcmread(first)
    again.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    again.save_as(tmp_path / "b")
    assert first.read_bytes() != (tmp_path / "b").read_bytes()
    assert same_content(first, tmp_path / "b")


def test_pixels_that_cannot_be_decoded_are_another_content(tmp_path: Path) -> None:
    first = _file(tmp_path, "a", make_instance(pixels=PIXELS))
    spoiled = dcmread(first)
    spoiled.compress(RLELossless, generate_instance_uid=False)
    spoiled.PixelData = spoiled.PixelData[:-40] + bytes(40)
    spoiled.save_as(tmp_path / "b")
    assert not same_content(first, tmp_path / "b")


def test_every_frame_counts_and_gdcm_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = series_pixels.pixel_array

    def note(*arguments: object, **options: object) -> object:
        asked.append(str(options["decoding_plugin"]))
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(series_pixels, "pixel_array", note)
    first = _file(tmp_path, "a", make_instance(pixels=bytes(range(256)) * 6, NumberOfFrames=3))
    compressed = dcmread(first)
    compressed.compress(RLELossless, generate_instance_uid=False)
    compressed.save_as(tmp_path / "b")
    assert same_content(first, tmp_path / "b")
    assert len(asked) == 6
    assert not [name for name in asked if name == "gdcm"]
    changed = dcmread(first)
    changed.PixelData = changed.PixelData[:-1] + b"\x77"
    changed.compress(RLELossless, generate_instance_uid=False)
    changed.save_as(tmp_path / "c")
    assert not same_content(first, tmp_path / "c")
