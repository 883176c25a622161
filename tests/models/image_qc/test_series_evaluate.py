"""Real DICOM series: what a target is meant for is accepted, everything else is not, and the table says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dicom_sr.acquisition import Acquisition
from dicom_sr.verdict import Outcome
from models.image_qc.likeness import WEIGHTS_NAME
from models.image_qc.series_evaluate import (
    GOOD,
    SERIES_FILE,
    SeriesImage,
    judge_series,
    read_series,
    series_figures,
    write_series,
)
from models.nifti import read_nifti
from models.registry import find_model
from tests.support.shared import shared_data

PUBLISHED = find_model(WEIGHTS_NAME).folder / SERIES_FILE


def crop(name: str) -> SeriesImage:
    volume = read_nifti(shared_data("hippocampus_msd") / "images" / "hippocampus_001.nii.gz")
    return SeriesImage(name=name, volume=volume, acquisition=Acquisition(modality="MR", sop_class_uid=""))


def test_no_good_series_was_rejected_and_no_real_reject_was_accepted() -> None:
    rows = read_series(PUBLISHED)
    assert {row.series for row in rows if row.good} == set(GOOD)
    assert {row.outcome for row in rows if row.good} == {Outcome.ACCEPT}
    assert [row for row in rows if not row.good and not row.made and row.outcome == Outcome.ACCEPT] == []
    assert series_figures(rows)["balanced_accuracy"] >= 0.97


def test_a_series_is_judged_for_every_target_and_spoilt_only_where_it_is_good(tmp_path: Path) -> None:
    rows = list(judge_series([crop("converted_dicom/hippocampus_001"), crop("some other folder")]))
    good = [row for row in rows if row.good]
    assert [(row.target, row.outcome) for row in good] == [("t1-hippocampus-crop", Outcome.ACCEPT)]
    made = {row.made for row in rows if row.series == "converted_dicom/hippocampus_001"} - {""}
    assert {"inverted", "noise only", "label map", "constant", "a third of the slices"} == made
    assert {row.made for row in rows if row.series == "some other folder"} == {""}
    write_series(rows, tmp_path / SERIES_FILE)
    assert read_series(tmp_path / SERIES_FILE) == rows


def test_a_series_that_makes_no_volume_is_a_reject_of_every_target() -> None:
    nothing = SeriesImage(name="x", volume=None, acquisition=Acquisition(modality="SR", sop_class_uid=""))
    rows = list(judge_series([nothing]))
    assert {row.outcome for row in rows} == {Outcome.REJECT}
    assert all("NO_VOLUME" in row.reasons for row in rows)


def test_figures_count_what_was_let_through() -> None:
    rows = list(judge_series([crop("converted_dicom/hippocampus_001")]))
    figures = series_figures(rows)
    refused = [row.outcome != Outcome.ACCEPT for row in rows if not row.good]
    assert figures["good series"] == {"pairs": 1, "accepted": 1}
    assert figures["real rejects"]["pairs"] == 3
    assert figures["balanced_accuracy"] == round((1 + float(np.mean(refused))) / 2, 4)
