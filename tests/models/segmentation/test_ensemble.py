"""A weights folder is read back bit for bit, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.card import CARD_FILE, read_card, write_card
from models.errors import FingerprintMismatch, InvalidModel, ModelError, TamperedWeights
from models.fingerprint import DatasetFingerprint, fingerprint_of
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.segmentation.ensemble import EnsembleConfig, read_ensemble, write_ensemble
from models.segmentation.segmenter import load_segmenter
from models.segmentation.unet import UNet3d, UNetShape

SHAPE = UNetShape(input_channels=1, output_channels=2, channels=(4, 8))
CARD = {"name": "tiny", "version": "1", "kind": "segmentation", "labels": ["Hippocampus"], "needs_region": False}


def _fingerprint(seed: int) -> DatasetFingerprint:
    volume, labels = hippocampus_phantom(seed)
    return fingerprint_of([(volume, (labels > 0).astype(np.uint8))], labels=["Hippocampus"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks = [UNet3d(SHAPE) for _ in range(2)]
    fingerprint = _fingerprint(0)
    config = EnsembleConfig(shape=SHAPE, members=2, plan=fingerprint.plan(), mirror=False)
    write_ensemble(tmp_path / "tiny", networks, config=config, fingerprint=fingerprint, card=CARD)
    return tmp_path / "tiny"


def _resealed(folder: Path) -> None:
    content = read_card(folder)
    del content["sha256"]
    write_card(folder, content)


def test_reading_and_writing_again_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    config, networks = read_ensemble(folder)
    write_ensemble(tmp_path / "again", list(networks), config=config, fingerprint=_fingerprint(0), card=CARD)
    for path in sorted(folder.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_writing_over_a_folder_leaves_nothing_of_the_old_one(folder: Path) -> None:
    (folder / "stale.json").write_text("{}")
    config, networks = read_ensemble(folder)
    write_ensemble(folder, list(networks), config=config, fingerprint=_fingerprint(0), card=CARD)
    assert not (folder / "stale.json").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_weights_of_another_fingerprint_are_refused(folder: Path) -> None:
    (folder / "fingerprint.json").write_text(_fingerprint(1).to_json())
    _resealed(folder)
    with pytest.raises(FingerprintMismatch, match="another fingerprint"):
        load_segmenter(find_model(str(folder)))


def test_changed_weights_are_refused_before_they_are_read(folder: Path) -> None:
    path = folder / "model.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(TamperedWeights):
        load_segmenter(find_model(str(folder)))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_weights_are_named_as_damaged_even_when_sealed(folder: Path, share: float) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _resealed(folder)
    with pytest.raises(InvalidModel, match="damaged"):
        load_segmenter(find_model(str(folder)))


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_keys_must_be_exactly_those_of_the_architecture(folder: Path, change: str) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if change == "missing":
        del tensors["member1.head.bias"]
    else:
        tensors["member1.extra"] = torch.zeros(1)
    save_file(tensors, path, metadata={"fingerprint_sha256": _fingerprint(0).digest()})
    _resealed(folder)
    with pytest.raises(InvalidModel, match="member 1"):
        load_segmenter(find_model(str(folder)))


@pytest.mark.parametrize("key", ["architecture", "preprocess", "members", "mirror"])
def test_a_card_without_architecture_or_preprocessing_is_refused(folder: Path, key: str) -> None:
    content = json.loads((folder / CARD_FILE).read_text())
    del content[key]
    (folder / CARD_FILE).write_text(json.dumps(content))
    with pytest.raises(InvalidModel):
        load_segmenter(find_model(str(folder)))


def test_a_card_whose_labels_do_not_fit_the_network_is_refused(folder: Path) -> None:
    content = json.loads((folder / CARD_FILE).read_text())
    content["labels"] = ["A", "B", "C"]
    (folder / CARD_FILE).write_text(json.dumps(content))
    with pytest.raises(ModelError, match="classes"):
        load_segmenter(find_model(str(folder)))
