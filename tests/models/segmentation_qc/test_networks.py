"""The second network learns, keeps every input alive, and is written and read back exactly or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.card import write_card
from models.errors import FingerprintMismatch, InvalidModel
from models.fingerprint import DatasetFingerprint, fingerprint_of
from models.metrics import dice
from models.phantom import hippocampus_phantom
from models.preprocess import PreprocessPlan
from models.segmentation.augment import Augmentation
from models.segmentation.cases import LabelledVolume, TrainingCase, training_case
from models.segmentation_qc.fitting import FitSettings, fit
from models.segmentation_qc.networks import DilatedNet, ResidualNet, ResidualShape
from models.segmentation_qc.pseudo_truth import PseudoTruthPainter
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.train import TASK
from models.segmentation_qc.weights import QcWeights, read_weights, write_weights

SMALL = ResidualShape(channels=(8, 16, 32))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def phantom_cases(count: int) -> list[LabelledVolume]:
    made = []
    for seed in range(count):
        volume, labels = hippocampus_phantom(seed)
        made.append(LabelledVolume(name=f"phantom_{seed}", volume=volume, expert=labels.astype(np.uint16)))
    return made


def prepared(cases: list[LabelledVolume]) -> list[TrainingCase]:
    return [training_case(case, TASK, PreprocessPlan()) for case in cases]


def weights_of(network: ResidualNet) -> QcWeights:
    cases = phantom_cases(2)
    parts = fingerprint_of([(c.volume, c.expert) for c in cases], labels=HIPPOCAMPUS_PLAN.front_to_back)
    return QcWeights(network=network, preprocess=PreprocessPlan(), plan=HIPPOCAMPUS_PLAN, fingerprint=parts)


def sealed(folder: Path, weights: QcWeights) -> Path:
    write_weights(folder, weights)
    write_card(folder, {"name": "x", "version": "0", "kind": "segmentation_qc", "labels": [], **weights.as_card()})
    return folder


@pytest.mark.parametrize("network", [ResidualNet(SMALL), DilatedNet(channels=8)])
def test_every_weight_is_reached_by_the_gradient(network: torch.nn.Module) -> None:
    network(torch.randn(1, 1, 16, 16, 16)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.slow
def test_a_minute_of_training_finds_the_structure() -> None:
    torch.manual_seed(0)
    network = ResidualNet(SMALL)
    settings = FitSettings(steps=150, minutes=3, augmentation=Augmentation(patch=(32, 48, 32)))
    fit(network, prepared(phantom_cases(4)), settings)
    unseen = phantom_cases(6)[-1]
    painted = PseudoTruthPainter(network, PreprocessPlan(), HIPPOCAMPUS_PLAN, device="cpu").paint(unseen.volume)
    assert dice(painted.masks["Hippocampus"], unseen.expert > 0) > 0.6


def test_snapshots_come_at_their_steps_and_in_evaluation_mode() -> None:
    taken: list[tuple[int, bool]] = []
    settings = FitSettings(steps=3, batch=1, augmentation=Augmentation(patch=(16, 16, 16)))
    steps = fit(
        ResidualNet(SMALL),
        prepared(phantom_cases(1)),
        settings,
        snapshot_steps=(1, 3),
        on_snapshot=lambda step, network: taken.append((step, network.training)),
    )
    assert steps == 3
    assert taken == [(1, False), (3, False)]


def test_the_same_seed_trains_the_same_network() -> None:
    settings = FitSettings(steps=2, batch=1, augmentation=Augmentation(patch=(16, 16, 16)))
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        network = ResidualNet(SMALL)
        fit(network, prepared(phantom_cases(1)), settings)
        made.append(network.state_dict())
    assert all(torch.equal(made[0][key], made[1][key]) for key in made[0])


def test_weights_survive_their_file(tmp_path: Path) -> None:
    network = ResidualNet(SMALL).half().float().eval()
    again = read_weights(sealed(tmp_path, weights_of(network)))
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key])
    assert again.plan == HIPPOCAMPUS_PLAN
    assert isinstance(again.fingerprint, DatasetFingerprint)


def test_another_fingerprint_is_refused(tmp_path: Path) -> None:
    sealed(tmp_path, weights_of(ResidualNet(SMALL)))
    path = tmp_path / "fingerprint.json"
    path.write_text(path.read_text().replace('"case_count": 2', '"case_count": 3'))
    with pytest.raises(FingerprintMismatch):
        read_weights(tmp_path)


@pytest.mark.parametrize("missing", ["model.safetensors", "fingerprint.json", "card.json"])
def test_an_incomplete_folder_is_refused(tmp_path: Path, missing: str) -> None:
    sealed(tmp_path, weights_of(ResidualNet(SMALL)))
    (tmp_path / missing).unlink()
    with pytest.raises(InvalidModel):
        read_weights(tmp_path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    sealed(tmp_path, weights_of(ResidualNet(SMALL)))
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InvalidModel):
        read_weights(tmp_path)


def test_pseudo_truth_lies_on_the_grid_of_any_axis_order() -> None:
    case = phantom_cases(1)[0]
    painter = PseudoTruthPainter(ResidualNet(SMALL).eval(), PreprocessPlan(), HIPPOCAMPUS_PLAN, device="cpu")
    straight = painter.paint(case.volume)
    assert straight.masks["Hippocampus"].shape == case.volume.grid.shape
    parts = straight.masks["Hippocampus anterior"] | straight.masks["Hippocampus posterior"]
    assert np.array_equal(parts, straight.masks["Hippocampus"])
    assert all(((p >= 0) & (p <= 1.0001)).all() for p in straight.probabilities.values())
