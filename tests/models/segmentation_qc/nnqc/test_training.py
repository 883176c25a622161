"""nnQC trains in both stages at any preset, can be stopped and taken up again, and its examples are what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from models.card import read_card
from models.errors import InvalidModel, TrainingDiverged
from models.registry import find_model
from models.segmentation_qc.nnqc.checkpoint import LoopSettings, optimise, start_from
from models.segmentation_qc.nnqc.examples import Known, draw_examples, known_cases
from models.segmentation_qc.nnqc.preset import Prediction, Preset
from models.segmentation_qc.nnqc.train import NnqcTrainingSettings, continue_from
from models.segmentation_qc.nnqc.train_autoencoder import AutoencoderSettings, train_autoencoder
from models.segmentation_qc.nnqc.train_diffusion import DiffusionSettings, train_diffusion
from models.segmentation_qc.nnqc.units import cut_units
from models.segmentation_qc.nnqc.weights import read_nnqc
from models.segmentation_qc.train import TASK
from tests.support.nnqc_example import (
    TINY,
    TINY_FAITHFUL,
    TINY_PRESETS,
    phantom_case,
    small_plan,
    tiny_network,
    tiny_plan,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def known(preset: Preset) -> list[Known]:
    return known_cases([phantom_case(0)], TASK, tiny_plan(preset), undertrained={}, failures=0, seed=0)


@pytest.mark.parametrize("preset", TINY_PRESETS, ids=lambda p: p.name)
def test_both_stages_train_a_few_steps(preset: Preset, tmp_path: Path) -> None:
    network, plan = tiny_network(preset, awake=False), small_plan(preset)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first = AutoencoderSettings(loop=LoopSettings(steps=2), batch=1)
    assert (
        train_autoencoder(
            network.autoencoder, known(preset), preset, plan, settings=first, path=tmp_path / "a.safetensors"
        )
        == 2
    )
    kept = {key: value.clone() for key, value in network.autoencoder.state_dict().items()}
    second = DiffusionSettings(loop=LoopSettings(steps=2), batch=1)
    assert train_diffusion(network, known(preset), plan, settings=second, path=tmp_path / "d.safetensors") == 2
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert any(key.startswith("denoiser.network") for key in changed)
    assert any(key.startswith("denoiser.conditional.positional") for key in changed)
    assert all(torch.equal(value, kept[key]) for key, value in network.autoencoder.state_dict().items())


@pytest.mark.parametrize("prediction", list(Prediction))
def test_every_kind_of_prediction_can_be_trained(prediction: Prediction, tmp_path: Path) -> None:
    preset = replace(TINY, prediction=prediction)
    network = tiny_network(preset, awake=False)
    settings = DiffusionSettings(loop=LoopSettings(steps=1), batch=1)
    train_diffusion(network, known(preset), small_plan(preset), settings=settings, path=tmp_path / "d.safetensors")
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def regression(steps: int, path: Path) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)

    def loss(step: int) -> torch.Tensor:
        inputs = torch.randn((4, 3), generator=torch.Generator().manual_seed(step))
        return (network(inputs) - inputs[:, :2]).square().mean()

    optimise(network, loss, LoopSettings(steps=steps, learning_rate=0.1, save_every=5), path=path)
    return network


def test_training_taken_up_again_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    straight = regression(20, tmp_path / "one")
    path = tmp_path / "two"

    class Stop(Exception):
        pass

    torch.manual_seed(0)
    network = nn.Linear(3, 2)

    def loss(step: int) -> torch.Tensor:
        if step == 12:
            raise Stop
        inputs = torch.randn((4, 3), generator=torch.Generator().manual_seed(step))
        return (network(inputs) - inputs[:, :2]).square().mean()

    with pytest.raises(Stop):
        optimise(network, loss, LoopSettings(steps=20, learning_rate=0.1, save_every=5), path=path)
    again = regression(20, path)
    for one, two in zip(straight.parameters(), again.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-7)


def test_training_goes_on_from_weights_without_moments_by_small_steps(tmp_path: Path) -> None:
    trained = regression(20, tmp_path / "one")
    before = [p.detach().clone() for p in trained.parameters()]
    start_from(trained, tmp_path / "two", step=20)
    assert optimise(trained, _no_error, LoopSettings(steps=20), path=tmp_path / "two") == 20
    assert all(torch.equal(p, b) for p, b in zip(trained.parameters(), before, strict=True))
    rate = 0.01
    optimise(
        trained,
        lambda _: trained(torch.ones(1, 3)).sum(),
        LoopSettings(steps=21, learning_rate=rate, averaging=0.0),
        path=tmp_path / "two",
    )
    # A first step of Adam is as long as its rate, never longer, whatever the gradient.
    moved = max(float((p.detach() - b).abs().max()) for p, b in zip(trained.parameters(), before, strict=True))
    assert 0.0 < moved <= rate * 1.1


def _no_error(_: int) -> torch.Tensor:
    return torch.zeros((), requires_grad=True)


def test_weights_are_trained_further_from_the_steps_their_card_counts(tmp_path: Path) -> None:
    card = find_model("hippocampus-nnqc")
    first, second = read_card(card.folder)["training"]["steps_made"]
    settings = continue_from(card, tmp_path, NnqcTrainingSettings(diffusion_steps=7))
    assert (settings.autoencoder_steps, settings.diffusion_steps) == (first, second + 7)
    assert settings.continued_from == card.digest
    shipped = read_nnqc(card.folder).network.denoiser
    kept = {name: p.detach().clone() for name, p in shipped.named_parameters()}
    path = tmp_path / f"diffusion-after-{first}.safetensors"
    assert optimise(shipped, _no_error, LoopSettings(steps=second), path=path) == second
    assert all(torch.equal(p, kept[name]) for name, p in shipped.named_parameters())


def test_a_checkpoint_of_another_design_is_refused(tmp_path: Path) -> None:
    regression(5, tmp_path / "one")
    with pytest.raises(InvalidModel):
        optimise(nn.Linear(4, 2), lambda _: torch.zeros(()), LoopSettings(steps=6), path=tmp_path / "one")


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    with pytest.raises(TrainingDiverged):
        optimise(
            network, lambda _: network(torch.full((1, 1), torch.inf)).sum(), LoopSettings(steps=2), path=tmp_path / "x"
        )
    assert torch.isfinite(network.weight).all()


def test_the_same_seed_draws_the_same_examples() -> None:
    cases, plan = known(TINY), small_plan(TINY)
    one, two = (draw_examples(cases, TINY, plan, count=2, seed=4) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.candidates, two.candidates)


def test_a_real_failure_is_bent_exactly_as_its_image() -> None:
    """With the experts' mask as the failure, candidate and truth can differ only where it was blanked or corrupted."""
    case = known(TINY)[0].case
    cases = [Known(case=case, failures=(case.one_hot,))]
    only_real = replace(TINY, candidate_dropout=0.0)
    same = 0
    for seed in range(12):
        examples = draw_examples(cases, only_real, small_plan(TINY), count=1, seed=seed)
        same += torch.equal(examples.truth, examples.candidates)
    assert same >= 4


def test_candidates_are_left_out_as_often_as_the_preset_says() -> None:
    always, plan = replace(TINY, candidate_dropout=1.0), small_plan(TINY)
    examples = draw_examples(known(TINY), always, plan, count=2, seed=0)
    assert float(examples.candidates[:, 1:].max()) == 0.0
    assert float(examples.truth[:, 1:].max()) == 1.0


def test_the_plan_follows_the_fingerprint() -> None:
    plan = tiny_plan(TINY)
    assert all(n % TINY.multiple == 0 for n in plan.size)
    assert plan.slice_axis == 1  # the hippocampus is longest from front to back
    assert tiny_plan(TINY_FAITHFUL).slice_axis == 0
    assert all(most > n for most, n in zip(plan.largest, phantom_case(0).volume.grid.shape, strict=True))


@pytest.mark.parametrize("preset", TINY_PRESETS, ids=lambda p: p.name)
@pytest.mark.parametrize("shape", [(9, 17, 11), (16, 16, 16)])
def test_units_find_their_way_back(preset: Preset, shape: tuple[int, int, int]) -> None:
    units = cut_units(torch.zeros(shape), preset, tiny_plan(preset))
    masks = torch.zeros((3, *shape))
    masks[1, 2:6, 3:9, 4:8] = 1.0
    masks[0] = 1 - masks[1]
    back = units.cut.gather(units.cut.masks(masks))
    assert back.shape == masks.shape
    assert torch.equal(back.argmax(dim=0), masks.argmax(dim=0)) or preset.side is not None
    assert units.images.shape[0] == units.positions.shape[0] == units.cut.masks(masks).shape[0]
