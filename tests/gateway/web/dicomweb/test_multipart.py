from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.web.dicomweb.multipart import PartBegins, PartReader, boundary_of
from gateway.web.problems import BadRequest, UnsupportedMedia


async def _chunks(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def _read(body: bytes, *, size: int = 7, boundary: str = "B") -> list[tuple[str, bytes]]:
    async def collect() -> list[tuple[str, bytes]]:
        parts: list[tuple[str, bytes]] = []
        async for event in PartReader(boundary).read(_chunks(body, size)):
            if isinstance(event, PartBegins):
                parts.append((event.media_type, b""))
            else:
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
        return parts

    return asyncio.run(collect())


def _message(parts: list[bytes], *, first: bytes = b"") -> bytes:
    head = b"\r\n--B\r\nContent-Type: application/dicom\r\n\r\n"
    return (first + b"".join(head + part for part in parts) + b"\r\n--B--\r\n").removeprefix(b"\r\n")


#: What a boundary is made of, and what only looks like one.
_PIECES = [b"\r\n", b"--", b"--B", b"\r\n--", b"x", b"\0\xff", b"BB"]


@settings(max_examples=50)
@given(
    parts=st.lists(
        st.lists(st.sampled_from([b"\r\n", b"--", b"--B", b"\r\n--", b"x", b"\0\xff", b"BB"]), max_size=8).map(
            b"".join
        ),
        min_size=1,
        max_size=4,
    ).filter(lambda parts: not any(b"\r\n--B" in b"\r\n" + part for part in parts)),
    size=st.integers(1, 40),
)
def test_parts_come_out_as_they_went_in_however_the_body_is_cut(parts: list[bytes], size: int) -> None:
    assert _read(_message(parts), size=size) == [("application/dicom", part) for part in parts]


def test_text_before_the_first_boundary_is_no_part() -> None:
    assert _read(_message([b"one"], first=b"preamble")) == [("application/dicom", b"one")]


def test_a_part_may_have_no_content_type() -> None:
    assert _read(b"--B\r\nX: y\r\n\r\nabc\r\n--B--") == [("", b"abc")]


@pytest.mark.parametrize("body", [b"", b"--B\r\n", b"--B\r\nContent-Type: a/b\r\n\r\nabc", b"no boundary at all"])
def test_a_body_without_its_closing_boundary_is_cut(body: bytes) -> None:
    with pytest.raises(BadRequest, match="cut"):
        _read(body)


def test_a_header_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(BadRequest, match="header"):
        _read(b"--B\r\n" + b"a: b\r\n" * 10_000, size=1000)


def test_what_follows_the_closing_boundary_is_ignored() -> None:
    assert _read(_message([b"one"]) + b"--B\r\n\r\nmore") == [("application/dicom", b"one")]


def test_boundaries_are_read_with_and_without_quotes() -> None:
    assert boundary_of('multipart/related; type="application/dicom"; boundary="a b"') == ("a b", "application/dicom")
    assert boundary_of("Multipart/Related;boundary=x;type=application/dicom") == ("x", "application/dicom")


def test_other_media_types_and_missing_boundaries_are_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        boundary_of("multipart/form-data; boundary=x")
    with pytest.raises(BadRequest):
        boundary_of('multipart/related; type="application/dicom"')
