"""Run times: each image apart, the first, which warms up, left out; those that are published keep the goals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models import run_time
from models.registry import find_model
from models.run_time import IMAGE_QC, SEGMENTATION_QC, TIMES_FILE, Timed, measure_run_time, read_times, time_figures
from tests.support.shared import shared_data


def test_median_and_largest_are_by_what_was_timed() -> None:
    rows = [
        Timed(case=str(n), what=what, seconds=factor * n, processor_seconds=2.0 * factor * n)
        for what, factor in ((IMAGE_QC, 1.0), (SEGMENTATION_QC, 10.0))
        for n in (1, 2, 6)
    ]
    figures = time_figures(rows)
    assert figures[IMAGE_QC] == {"images": 3, "median_s": 2.0, "largest_s": 6.0, "median_processor_s": 4.0}
    assert figures[SEGMENTATION_QC]["largest_s"] == 60.0


def test_what_is_loaded_on_first_use_is_not_timed_and_threads_are_put_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run_time, "_IMAGES", 2)
    before = torch.get_num_threads()
    figures = measure_run_time(shared_data("hippocampus_msd"), tmp_path)
    assert torch.get_num_threads() == before
    assert figures[IMAGE_QC]["images"] == figures[SEGMENTATION_QC]["images"] == 1
    assert figures == time_figures(read_times(tmp_path / TIMES_FILE))


def test_the_published_times_keep_the_goals() -> None:
    figures = time_figures(read_times(find_model("hippocampus-qc").folder / TIMES_FILE))
    assert figures[IMAGE_QC]["median_processor_s"] <= 2.0
    assert figures[SEGMENTATION_QC]["median_processor_s"] <= 3.0
