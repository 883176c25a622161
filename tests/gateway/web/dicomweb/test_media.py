from __future__ import annotations

from gateway.web.dicomweb.media import MediaRange, parse, split


def test_a_media_range_gives_its_parts_and_transfer_syntax() -> None:
    media = parse('multipart/related; type="application/dicom"; transfer-syntax=*;q=0.5')
    assert media is not None
    assert (media.part, media.transfer_syntax, media.quality) == ("application/dicom", "*", 0.5)


def test_commas_and_semicolons_inside_quotes_do_not_split() -> None:
    assert split('a; b="x;y", c', ",") == ['a; b="x;y"', "c"]
    assert split('a/b; c="x;y"', ";") == ["a/b", 'c="x;y"']


def test_ranges_cover_what_they_say() -> None:
    assert MediaRange(kind="*/*").covers("image/png")
    assert MediaRange(kind="image/*").covers("image/png")
    assert not MediaRange(kind="image/*").covers("imagery/png")
    assert not MediaRange(kind="image/jpeg").covers("image/png")


def test_nonsense_is_no_range() -> None:
    assert parse("nonsense") is None
    assert parse("") is None
    assert parse(" ; ") is None
    assert parse("a/b; q=high") == MediaRange(kind="a/b", quality=0.0)
