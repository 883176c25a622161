"""Any program can be a segmenter; whatever it does wrong becomes a named error."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.card import write_card
from models.errors import CommandFailed, InvalidModel, ModelError, UnsuitableAnswer, UntrustedBundle
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.segmentation.command import CommandSegmenter
from models.segmentation.segmenter import load_segmenter

VOLUME, LABELS = hippocampus_phantom(0)
HEAD = "import sys, nibabel as nib, numpy as np\nimage = nib.load(sys.argv[1])\nv = np.asarray(image.dataobj)\n"
SAVE = "nib.save(nib.Nifti1Image(out.astype(np.uint8), affine), sys.argv[2])\n"


def _program(folder: Path, code: str) -> list[str]:
    path = folder / "program.py"
    path.write_text(HEAD + code)
    return [sys.executable, str(path), "{image}", "{output}"]


def _segmenter(folder: Path, code: str, timeout_s: float = 60) -> CommandSegmenter:
    return CommandSegmenter(_program(folder, code), timeout_s, "d" * 64)


def test_the_answer_lands_on_the_grid_of_the_image(tmp_path: Path) -> None:
    code = f"out = np.where(v > 800, 2, np.where(v > 500, 1, 0)); affine = image.affine\n{SAVE}"
    result = _segmenter(tmp_path, code).segment(VOLUME)
    expected = np.where(VOLUME.voxels > 800, 2, np.where(VOLUME.voxels > 500, 1, 0))
    np.testing.assert_array_equal(result.labels, expected)
    assert result.agreement == {}


def test_an_answer_stored_the_other_way_round_is_turned_back(tmp_path: Path) -> None:
    code = (
        "out = (v > 800)[::-1].transpose(2, 0, 1)\n"
        "a = image.affine.copy(); a[:, 3] += a[:, 0] * (v.shape[0] - 1); a[:, 0] *= -1\n"
        f"affine = a[:, [2, 0, 1, 3]]\n{SAVE}"
    )
    np.testing.assert_array_equal(_segmenter(tmp_path, code).segment(VOLUME).labels, VOLUME.voxels > 800)


def test_a_region_is_handed_over_where_the_command_asks_for_it(tmp_path: Path) -> None:
    code = f"r = np.asarray(nib.load(sys.argv[3]).dataobj); out = r * 2; affine = image.affine\n{SAVE}"
    segmenter = CommandSegmenter([*_program(tmp_path, code), "{region}"], 60, "d")
    np.testing.assert_array_equal(segmenter.segment(VOLUME, region=LABELS > 0).labels, (LABELS > 0) * 2)
    with pytest.raises(UnsuitableAnswer, match="not given"):
        segmenter.segment(VOLUME)


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("sys.exit(3)", CommandFailed, "exit code 3"),
        ("pass", CommandFailed, "no output"),
        ("open(sys.argv[2], 'w').write('text')", UnsuitableAnswer, "unusable"),
        (f"out = v[:20] * 0; affine = image.affine\n{SAVE}", UnsuitableAnswer, "part"),
        (f"out = v * 0; affine = image.affine.copy(); affine[0, 3] += 90\n{SAVE}", UnsuitableAnswer, "elsewhere"),
        ("nib.save(nib.Nifti1Image(v / 7, image.affine), sys.argv[2])", UnsuitableAnswer, "not integers"),
    ],
)
def test_a_bad_answer_is_named(tmp_path: Path, code: str, error: type[ModelError], reason: str) -> None:
    with pytest.raises(error, match=reason) as caught:
        _segmenter(tmp_path, code).segment(VOLUME)
    assert str(tmp_path) not in caught.value.detail


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="took longer"):
        _segmenter(tmp_path, "import time; time.sleep(60)", timeout_s=0.2).segment(VOLUME)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandFailed, match="installed"):
        CommandSegmenter(["/no/such/program", "{image}", "{output}"], 5, "d").segment(VOLUME)


@pytest.mark.parametrize("argv", [[], ["program"], ["program", "{image}"], ["program", "{output}"]])
def test_a_command_without_placeholders_is_refused(argv: list[str]) -> None:
    with pytest.raises(InvalidModel, match="image"):
        CommandSegmenter(argv, 5, "d")


def test_a_folder_can_name_a_command_but_only_a_trusted_one_runs(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    argv = _program(tmp_path, f"out = (v > 800); affine = image.affine\n{SAVE}")
    content = {"name": "own", "version": "1", "kind": "command", "labels": ["White"], "needs_region": False}
    write_card(folder, {**content, "argv": argv, "timeout_s": 60})
    card = find_model(str(folder))
    with pytest.raises(UntrustedBundle, match="trusted"):
        load_segmenter(card)
    segmenter = load_segmenter(card, trusted=True)
    assert segmenter.digest == card.digest
    np.testing.assert_array_equal(segmenter.segment(VOLUME).labels, VOLUME.voxels > 800)


def test_a_folder_without_its_command_is_refused(tmp_path: Path) -> None:
    content = {"name": "own", "version": "1", "kind": "command", "labels": ["White"], "needs_region": False}
    write_card(tmp_path, content)
    with pytest.raises(InvalidModel, match="argv"):
        load_segmenter(find_model(str(tmp_path)), trusted=True)


def test_shell_characters_are_not_interpreted(tmp_path: Path) -> None:
    marker = tmp_path / "created"
    code = f"out = v * 0; affine = image.affine\n{SAVE}"
    CommandSegmenter([*_program(tmp_path, code), f"; touch {marker}"], 60, "d").segment(VOLUME)
    assert not marker.exists()
