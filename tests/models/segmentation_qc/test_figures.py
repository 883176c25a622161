"""The published figures follow from the published tables, on patients nothing was trained or calibrated on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from models.card import read_card
from models.image_qc.evaluate import figures_again as image_figures_again
from models.registry import find_model
from models.run_time import TIMES_FILE
from models.segmentation_qc.evaluate import ACCIDENTS_FILE, CANDIDATES_FILE, figures_again, read_accidents
from models.segmentation_qc.table import read_table
from models.segmentation_qc.train import NAME, TABLE_FILE
from models.split import Split, person_of, split_of

FOLDER = find_model(NAME).folder


def test_tables_hold_the_patients_they_should_and_share_none() -> None:
    test, known = read_table(FOLDER / CANDIDATES_FILE), read_table(FOLDER / TABLE_FILE)
    assert {split_of(line.case) for line in test} == {Split.TEST}
    assert {split_of(line.case) for line in known} == {Split.QC_TRAIN, Split.CALIBRATION}
    assert not {line.person for line in test} & {line.person for line in known}
    assert all(line.person == person_of(line.case) for line in test)


def test_calibration_belongs_to_the_segmenters_that_ship() -> None:
    for name, digest in read_card(FOLDER)["calibration"]["segmenters"].items():
        assert find_model(name).digest == digest, f"{name} changed: run `overread train segmentation-qc` again"


def test_published_accidents_were_never_accepted() -> None:
    rows = read_accidents(FOLDER / ACCIDENTS_FILE)
    assert len({row["case"] for row in rows}) >= 40
    assert [row for row in rows if row["outcome"] == "ACCEPT"] == []


def test_published_figures_beat_the_plain_baseline() -> None:
    figures = json.loads((FOLDER / "metrics.json").read_text())["predicted_dice"]["all"]
    ours, plain = figures["calibrated scorer"], figures["baseline: Dice with the second network"]
    assert ours["mae"][2] < plain["mae"][1]
    assert ours["band"]["mae"][2] < plain["band"]["mae"][1]
    for name in ("pearson_r", "spearman", "auc_bad", "specificity_at_95_sensitivity"):
        assert ours[name][0] > plain[name][0]


def test_published_intervals_are_as_narrow_as_aimed_at_where_the_origin_is_told() -> None:
    figures = json.loads((FOLDER / "metrics.json").read_text())
    for label, told in figures["intervals_as_told"].items():
        assert told["mean_width"] <= 0.15, label
        assert told["coverage"] >= 0.87, label
    splits = [row["random_splits"]["mean"] for origin in figures["intervals"].values() for row in origin.values()]
    assert max(abs(mean - 0.9) for mean in splits) <= 0.03


@pytest.mark.slow
def test_figures_follow_from_the_tables(tmp_path: Path) -> None:
    for name in (CANDIDATES_FILE, ACCIDENTS_FILE, TIMES_FILE):
        shutil.copy(FOLDER / name, tmp_path)
    again = figures_again(tmp_path, find_model(NAME))
    assert json.loads(json.dumps(again)) == json.loads((FOLDER / "metrics.json").read_text())


def test_image_figures_follow_from_their_table(tmp_path: Path) -> None:
    folder = find_model("image-qc").folder
    for table in folder.glob("*.csv"):
        shutil.copy(table, tmp_path)
    assert json.loads(json.dumps(image_figures_again(tmp_path))) == json.loads((folder / "metrics.json").read_text())
