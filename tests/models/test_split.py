"""No person serves two purposes, and every run of the code divides them alike."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from models.split import Split, person_of, split_of, split_patients
from tests.support.shared import shared_data

NAMES = st.lists(st.integers(1, 400).map(lambda n: f"hippocampus_{n:03d}") | st.text(max_size=12), max_size=60)


@settings(deadline=None, max_examples=50)
@given(NAMES)
def test_every_name_is_in_one_split_and_no_person_in_two(names: list[str]) -> None:
    divided = split_patients(names)
    assert sorted(name for group in divided.values() for name in group) == sorted(set(names))
    persons = [person_of(name) for group in divided.values() for name in {person_of(n): n for n in group}.values()]
    assert len(persons) == len(set(persons))


@settings(deadline=None, max_examples=20)
@given(NAMES, NAMES)
def test_adding_patients_moves_nobody(names: list[str], more: list[str]) -> None:
    few, many = split_patients(names), split_patients([*names, *more])
    assert all(set(few[split]) <= set(many[split]) for split in Split)


def test_the_two_sides_of_one_person_share_a_key() -> None:
    assert person_of("hippocampus_003") == person_of("hippocampus_004")
    assert person_of("hippocampus_004") != person_of("hippocampus_005")
    assert split_of("hippocampus_299") is split_of("hippocampus_300")


def test_the_split_of_known_names_is_frozen() -> None:
    """The shipped figures were measured with this split; a change of it must not pass unnoticed."""
    known = {
        "hippocampus_001": "test",
        "hippocampus_003": "train",
        "hippocampus_006": "calibration",
        "hippocampus_033": "test",
    }
    assert {name: str(split_of(name)) for name in known} == known


def test_the_reference_data_give_the_counts_that_the_cards_name() -> None:
    images = (shared_data("hippocampus_msd") / "images").glob("*.nii.gz")
    divided = split_patients(path.name.removesuffix(".nii.gz") for path in images)
    counts = {str(split): len(names) for split, names in divided.items()}
    assert counts == {"train": 99, "qc_train": 20, "calibration": 34, "test": 42}
