from __future__ import annotations

import pytest

from gateway.services.holdings import fits


@pytest.mark.parametrize(
    ("value", "wanted", "does"),
    [
        ("MR", "", True),
        ("MR", "*", True),
        ("MR", "MR", True),
        ("MR", "CT,MR", True),
        ("MR", "CT\\MR", True),
        ("MR", "CT", False),
        ("", "CT", False),
        ("T1 sag", "T1*", True),
        ("T1 sag", "T?*", True),
        ("T1 sag", "?1", False),
        ("a[b]", "a[b]*", True),
        ("ab", "a[b]", False),
        ("ab", "a[b]*", False),
        ("mr", "MR", False),
    ],
)
def test_matching_follows_the_standard(value: str, wanted: str, does: bool) -> None:
    assert fits(value, wanted) is does
