"""Measuring and training on data sets that are not there ends before anything is written, and names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from models.brain import heads
from models.image_qc import evaluate, real_scans
from tests.support.shared import shared_data


@pytest.mark.parametrize("family", ["brain-mask", "lesions", "image-qc-adaptation", "image-qc", "all"])
def test_the_report_beside_shipped_weights_is_not_written_over_with_less(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path, family: str
) -> None:
    (tmp_path / "hippocampus_msd").mkdir()
    code, out, err = overread("evaluate", family, tmp_path)
    assert (code, out) == (1, "")
    assert f"needs data sets that are not in {tmp_path}" in err
    assert "ms_lesion_nifti" in err
    assert "hippocampus_msd" not in err


@pytest.mark.parametrize("family", ["image-qc", "segmentation", "segmentation-qc", "nnqc"])
def test_a_folder_without_images_is_named_as_such_and_leaves_no_report(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path, family: str
) -> None:
    code, out, err = overread("evaluate", family, tmp_path, "--out", tmp_path / "report")
    assert (code, out) == (1, "")
    assert "the folder holds no" in err
    assert [path.name for path in (tmp_path / "report").rglob("*") if not path.name.endswith(".part.csv")] == []


@pytest.mark.parametrize("family", ["brain-mask", "lesions"])
def test_training_on_heads_that_are_not_there_names_them(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path, family: str
) -> None:
    code, _, err = overread("train", family, tmp_path, "--out", tmp_path / "w")
    assert code == 1
    assert "brain_tumor_mr_dicom" in err
    assert not (tmp_path / "w").exists()


def test_the_folders_asked_for_are_those_of_the_data() -> None:
    data = shared_data("hippocampus_msd").parent
    wanted = {*heads.DATA_SETS, *real_scans.DATA_SETS, *evaluate.DATA_SETS}
    assert [name for name in wanted if not (data / name).is_dir()] == []
