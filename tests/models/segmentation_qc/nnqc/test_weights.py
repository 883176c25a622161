"""nnQC's weights come back bit for bit, or not at all; and only with the QC model they were calibrated with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.card import write_card
from models.errors import FingerprintMismatch, InvalidModel, TamperedWeights
from models.registry import find_model
from models.segmentation_qc.assess import load_segmentation_qc
from models.segmentation_qc.calibrated import CALIBRATION_FILE, read_calibration
from models.segmentation_qc.evidence import DIFFUSION_EVIDENCE_NAMES
from models.segmentation_qc.judge import NetworkSegmentationQc
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.preset import FAITHFUL, IMPROVED, Preset
from models.segmentation_qc.nnqc.weights import read_nnqc, write_nnqc
from tests.support.nnqc_example import TINY_PRESETS, tiny_weights

BASE = {"name": "x", "version": "0", "kind": "segmentation_qc", "labels": [], "needs_region": False}


def sealed(folder: Path, **more: object) -> Path:
    weights = tiny_weights()
    write_nnqc(folder, weights)
    write_card(folder, {**BASE, **weights.as_card(), **more})
    return folder


def companion() -> dict[str, str]:
    card = find_model("hippocampus-qc")
    return {"name": card.name, "digest": card.digest}


def test_weights_survive_their_file_bit_for_bit(tmp_path: Path) -> None:
    again, before = read_nnqc(sealed(tmp_path)), tiny_weights()
    for key, value in before.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key]), key
    assert (again.plan, again.structures) == (before.plan, before.structures)
    assert again.fingerprint.digest() == before.fingerprint.digest()


@pytest.mark.parametrize("preset", [FAITHFUL, IMPROVED, *TINY_PRESETS], ids=lambda p: p.name)
def test_a_preset_survives_its_card(preset: Preset) -> None:
    assert Preset.from_card(json.loads(json.dumps(preset.as_card()))) == preset


def test_another_fingerprint_is_refused(tmp_path: Path) -> None:
    path = sealed(tmp_path) / "fingerprint.json"
    path.write_text(path.read_text().replace('"case_count": 2', '"case_count": 3'))
    with pytest.raises(FingerprintMismatch):
        read_nnqc(tmp_path)


@pytest.mark.parametrize("missing", ["model.safetensors", "fingerprint.json", "card.json"])
def test_an_incomplete_folder_is_refused(tmp_path: Path, missing: str) -> None:
    (sealed(tmp_path) / missing).unlink()
    with pytest.raises(InvalidModel):
        read_nnqc(tmp_path)


def spoil(folder: Path, how: str) -> None:
    path = folder / "model.safetensors"
    if how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return
    tensors, name = load_file(path), "denoiser.network.out.2.conv.weight"
    digest = tiny_weights().fingerprint.digest()
    if how == "a tensor missing":
        del tensors[name]
    elif how == "a tensor too many":
        tensors["denoiser.more"] = torch.zeros(1)
    elif how == "another shape":
        tensors[name] = tensors[name][:1].clone()
    else:
        tensors[name] = tensors[name] * float("nan")
    save_file(tensors, path, metadata={"fingerprint_sha256": digest})


@pytest.mark.parametrize("how", ["truncated", "a tensor missing", "a tensor too many", "another shape", "not finite"])
def test_spoilt_weights_are_refused(tmp_path: Path, how: str) -> None:
    spoil(sealed(tmp_path), how)
    with pytest.raises(InvalidModel):
        read_nnqc(tmp_path)


@pytest.mark.parametrize("part", ["preset", "units", "structures"])
def test_a_card_that_does_not_describe_the_network_is_refused(tmp_path: Path, part: str) -> None:
    sealed(tmp_path, **{part: {"wrong": 1}})
    with pytest.raises(InvalidModel):
        read_nnqc(tmp_path)


def test_weights_changed_after_sealing_are_refused_when_loaded_as_a_model(tmp_path: Path) -> None:
    sealed(tmp_path, companion=companion())
    spoil(tmp_path, "not finite")
    with pytest.raises(TamperedWeights):
        load_segmentation_qc(find_model(str(tmp_path)), device="cpu")


@pytest.mark.parametrize("named", [None, {"name": "hippocampus-qc"}, {"name": "hippocampus-qc", "digest": "0" * 64}])
def test_it_serves_only_with_the_model_it_was_calibrated_with(tmp_path: Path, named: object) -> None:
    sealed(tmp_path, companion=named)
    with pytest.raises(InvalidModel):
        load_segmentation_qc(find_model(str(tmp_path)), device="cpu")


def test_a_calibration_made_for_other_evidence_is_refused(tmp_path: Path) -> None:
    default = find_model("hippocampus-qc")
    for path in default.folder.iterdir():
        if path.suffix != ".csv":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    raw = json.loads((tmp_path / CALIBRATION_FILE).read_text())
    raw["evidence"] = list(DIFFUSION_EVIDENCE_NAMES)
    (tmp_path / CALIBRATION_FILE).write_text(json.dumps(raw))
    assert read_calibration(tmp_path).evidence == DIFFUSION_EVIDENCE_NAMES
    with pytest.raises(InvalidModel):
        NetworkSegmentationQc(find_model(str(tmp_path)), device="cpu")


def test_the_improved_preset_fits_what_may_ship() -> None:
    with torch.device("meta"):
        network = Nnqc(IMPROVED, classes=3, slice_axis=1)
    half = sum(p.numel() for p in network.denoiser.parameters()) * 2
    whole = sum(p.numel() for p in network.autoencoder.parameters()) * 4
    assert half + whole < 16 * 2**20
