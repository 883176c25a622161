"""A model is found by name or folder, known by its bytes, and refused when they change; none of that needs torch."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from models.card import CARD_FILE, write_card
from models.errors import InvalidModel, ModelError, ModelNotFound, TamperedWeights
from models.registry import find_model, shipped_models, verify

CONTENT = {"name": "made-up", "version": "1", "kind": "segmentation", "labels": ["A", "B"], "needs_region": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made-up"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "fingerprint.json").write_text("{}")
    write_card(made, CONTENT)
    return made


def test_a_folder_is_found_by_path_and_by_name_in_its_parent(folder: Path) -> None:
    by_path, by_name = find_model(str(folder)), find_model("made-up", [folder.parent])
    assert by_path == by_name
    assert (by_path.labels, by_path.needs_region, by_path.kind) == (("A", "B"), True, "segmentation")
    verify(by_path)


def test_shipped_models_are_found_by_name_and_are_untouched() -> None:
    names = [card.name for card in shipped_models()]
    assert {"hippocampus", "hippocampus-subfields"} <= set(names)
    for card in shipped_models():
        assert find_model(card.name) == card
        verify(card)


def test_the_hippocampus_models_declare_their_segments() -> None:
    assert find_model("hippocampus").labels == ("Hippocampus",)
    subfields = find_model("hippocampus-subfields")
    assert subfields.labels == ("Hippocampus anterior", "Hippocampus posterior")
    assert subfields.needs_region


def test_shipped_weights_are_small() -> None:
    for card in shipped_models():
        assert sum(path.stat().st_size for path in card.folder.iterdir()) <= 10 * 2**20


@pytest.mark.parametrize("name", ["model.safetensors", "fingerprint.json", CARD_FILE])
def test_the_digest_follows_every_file_the_answer_depends_on(folder: Path, name: str) -> None:
    before = find_model(str(folder)).digest
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert find_model(str(folder)).digest != before


def test_reports_of_an_evaluation_do_not_change_the_digest(folder: Path) -> None:
    before = find_model(str(folder))
    (folder / "metrics.json").write_text("{}")
    (folder / "cases.csv").write_text("case\n")
    assert find_model(str(folder)) == before
    verify(before)


@pytest.mark.parametrize("change", ["bytes", "added", "removed"])
def test_a_changed_folder_is_refused(folder: Path, change: str) -> None:
    if change == "bytes":
        (folder / "model.safetensors").write_bytes(b"other")
    elif change == "added":
        (folder / "extra.py").write_text("")
    else:
        (folder / "fingerprint.json").unlink()
    with pytest.raises(TamperedWeights):
        verify(find_model(str(folder)))


def test_a_folder_swapped_after_it_was_found_is_refused(folder: Path) -> None:
    with pytest.raises(TamperedWeights, match="changed"):
        verify(replace(find_model(str(folder)), digest="0" * 64))


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match="hippocampus-subfields"):
        find_model("no-such-model")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="neither"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({**CONTENT, "labels": 3})])
def test_a_broken_card_is_named_as_such(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text)
    with pytest.raises(InvalidModel):
        find_model(str(folder))


def test_every_error_has_its_own_code() -> None:
    kinds = ModelError.__subclasses__()
    assert len({kind.code for kind in kinds} | {ModelError.code}) == len(kinds) + 1


def test_the_light_modules_do_not_import_torch() -> None:
    light = (
        "registry, fingerprint, preprocess, measure, metrics, nifti, split, phantom, evaluate, segmentation.segmenter"
    )
    code = f"import sys; {'; '.join(f'import models.{n}' for n in light.split(', '))}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
