"""Series for evaluation are read folder by folder; what is no series is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_sr.acquisition import SeriesDefect
from gateway.commands import dicom_series
from gateway.commands.dicom_series import read_every_series
from tests.support.shared import shared_data


def test_every_series_of_a_folder_is_read_and_named_by_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_series, "SERIES_FOLDERS", ("odd_dicom/dicom2nifti_cases",))
    found = {image.name.rpartition("cases/")[2]: image for image in read_every_series(shared_data("odd_dicom").parent)}
    assert len(found) == 10
    assert SeriesDefect.MISSING_SLICES in found["failing/sliceincrement/001"].acquisition.defects
    assert found["failing/sliceincrement/001"].volume is None
    assert found["generic/compressed_rle/001"].volume is not None


def test_several_series_in_one_folder_are_told_apart_and_other_files_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dicom_series, "SERIES_FOLDERS", ("seg_sr/highdicom", "no_such_folder"))
    names = [image.name for image in read_every_series(shared_data("seg_sr").parent)]
    assert len(set(names)) == len(names) > 3
    assert all(name.startswith("seg_sr/highdicom") for name in names)


def test_a_folder_without_the_data_sets_holds_no_series(tmp_path: Path) -> None:
    assert list(read_every_series(tmp_path)) == []
