"""UIDs: derived ones are valid, stable and distinct; foreign ones are never trusted into a path."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.errors import InvalidUid
from dicom_sr.uids import INSTANCE_CREATOR_UID, derive_uid, is_path_safe_uid, is_valid_uid, require_uid

parts = st.lists(st.one_of(st.text(max_size=20), st.integers()), min_size=1, max_size=5)


@settings(deadline=None, max_examples=50)
@given(parts)
def test_equal_parts_give_one_valid_uid(given_parts):
    uid = derive_uid(*given_parts)

    assert uid == derive_uid(*given_parts)
    assert is_valid_uid(uid)
    assert uid.startswith("2.25.")
    assert len(uid) <= 44


@settings(deadline=None, max_examples=50)
@given(parts, parts)
def test_other_parts_give_another_uid(one, two):
    if [str(p) for p in one] != [str(p) for p in two] and "\x1f" not in "".join(map(str, one + two)):
        assert derive_uid(*one) != derive_uid(*two)


def test_where_one_part_ends_counts():
    assert derive_uid("ab", "c") != derive_uid("a", "bc")


def test_a_derived_uid_never_changes():
    """A resend after an upgrade must be the same object: this value may not change between versions."""
    assert derive_uid("case", "stage", 0, "SEG") == "2.25.155745908252309861555547355562166456013"


def test_our_own_uid_is_valid():
    assert is_valid_uid(INSTANCE_CREATOR_UID)


@pytest.mark.parametrize("text", ["1.2.840.10008.1.1", "2.25.0", "0.1", "1." + "2" * 62])
def test_a_uid_is_valid(text):
    assert is_valid_uid(text)
    assert is_path_safe_uid(text)
    assert require_uid(text, "SOP Instance UID") == text


@pytest.mark.parametrize("text", ["1.02.3", "00.1"])
def test_leading_zeros_are_tolerated_in_what_others_send(text):
    assert not is_valid_uid(text)
    assert is_path_safe_uid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1..2",
        "1.",
        ".1",
        "1.2.",
        "../../evil",
        "1.2/3",
        "1.2\n",
        "1.2\0",
        " 1.2",
        "1.a",
        "1." + "2" * 63,
        "\u0661.\u0662",
    ],
)
def test_everything_else_is_refused_without_being_quoted(text):
    assert not is_valid_uid(text)
    assert not is_path_safe_uid(text)
    with pytest.raises(InvalidUid) as caught:
        require_uid(text, "SOP Instance UID")
    assert "SOP Instance UID" in str(caught.value)
    assert not text.strip(". \n\0") or text not in str(caught.value)
