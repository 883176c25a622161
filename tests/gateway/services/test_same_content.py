"""Whether two files say the same: re-encoding does not matter, any value does."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

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
