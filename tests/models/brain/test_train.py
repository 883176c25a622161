"""The trainer learns from whatever is drawn, leaves out what nobody knows, and does not train twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.brain.folded import FoldedUNet, new_folded
from models.brain.synthesis import Drawn
from models.brain.train import BrainTrainingSettings, partial_loss, train_network

torch.set_num_threads(1)
SETTINGS = BrainTrainingSettings(steps=120, learning_rate=1e-2)


def build() -> FoldedUNet:
    return new_folded((1, 1, 1), image_channels=1, channels=(4, 8))


def bright_box(generator: torch.Generator) -> Drawn:
    truth = torch.zeros((1, 16, 16, 16), dtype=torch.int64)
    low = torch.randint(2, 8, (3,), generator=generator).tolist()
    truth[0, low[0] : low[0] + 6, low[1] : low[1] + 6, low[2] : low[2] + 6] = 1
    noise = torch.randn((1, 1, 16, 16, 16), generator=generator)
    return Drawn(images=truth[:, None].float() * 3 + noise, truth=truth)


def test_a_short_training_learns_and_is_kept_for_the_next_call(tmp_path: Path) -> None:
    kept = tmp_path / "work" / "member0.safetensors"
    trained = train_network(build, bright_box, SETTINGS, seed=1, kept=kept)
    drawn = bright_box(torch.Generator().manual_seed(99))
    with torch.inference_mode():
        found = trained.network(drawn.images).argmax(dim=1)
    overlap = 2 * int((found & drawn.truth).sum()) / int(found.sum() + drawn.truth.sum())
    assert trained.steps == 120
    assert overlap > 0.8

    def never(_generator: torch.Generator) -> Drawn:
        raise AssertionError("a finished network is not trained again")

    again = train_network(build, never, SETTINGS, seed=2, kept=kept)
    assert again.steps == 120
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), trained.network.parameters(), strict=True))


def test_a_budget_of_time_ends_the_training(tmp_path: Path) -> None:
    settings = BrainTrainingSettings(minutes=0.02)
    assert train_network(build, bright_box, settings, seed=1, kept=tmp_path / "m.safetensors").steps > 0


def test_voxels_that_nobody_knows_do_not_count() -> None:
    logits = torch.randn((1, 2, 4, 4, 4), generator=torch.Generator().manual_seed(0))
    truth = (logits[:, 1] > 0).long()
    open_ = truth.clone()
    open_[0, 0] = -1
    changed = logits.clone()
    changed[:, :, 0] += torch.tensor([5.0, -5.0])[:, None, None][None]
    assert float(partial_loss(changed, open_)) == pytest.approx(float(partial_loss(logits, open_)))
    assert float(partial_loss(changed, truth)) != pytest.approx(float(partial_loss(logits, truth)))
