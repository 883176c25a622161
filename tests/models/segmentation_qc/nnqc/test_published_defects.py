"""The nine defects of the published code of nnQC, each held off by a test (qc_models.md, 1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.segmentation_qc.nnqc import train as training
from models.segmentation_qc.nnqc.checkpoint import LoopSettings
from models.segmentation_qc.nnqc.diffusion import Nnqc
from models.segmentation_qc.nnqc.examples import draw_examples, known_cases
from models.segmentation_qc.nnqc.paint import DiffusionPainter
from models.segmentation_qc.nnqc.preset import FAITHFUL, IMPROVED, Preset
from models.segmentation_qc.nnqc.sampler import scheduler_of
from models.segmentation_qc.nnqc.train_autoencoder import AutoencoderSettings, train_autoencoder
from models.segmentation_qc.nnqc.train_diffusion import DiffusionSettings, diffusion_loss
from models.segmentation_qc.nnqc.units import cut_units
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.train import TASK
from tests.support.nnqc_example import (
    TINY,
    TINY_FAITHFUL,
    TINY_PRESETS,
    phantom_case,
    small_plan,
    small_volume,
    tiny_network,
    tiny_plan,
)

WHOLE = HIPPOCAMPUS_PLAN.whole
EACH = pytest.mark.parametrize("preset", TINY_PRESETS, ids=lambda p: p.name)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(preset: Preset) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two units' images, positions and candidate codes, and a noisy latent."""
    random = torch.Generator().manual_seed(5)
    shape = (16,) * preset.dimensions
    images = torch.randn((2, preset.image_channels, *shape), generator=random)
    positions = torch.rand((2, 4 if preset.dimensions == 3 else 1), generator=random)
    code = torch.rand((2, 3, *(4,) * preset.dimensions), generator=random).softmax(dim=1)
    noisy = torch.randn((2, preset.autoencoder.latent_channels, *(4,) * preset.dimensions), generator=random)
    return images, positions, code, noisy


def answer(network: Nnqc, images: torch.Tensor, positions: torch.Tensor, code: torch.Tensor, noisy: torch.Tensor):
    return network.denoiser(noisy, torch.tensor([700, 700]), network.view(images, positions), code)


@EACH
def test_1_position_image_and_candidate_each_change_the_answer_alone(preset: Preset) -> None:
    """In v0.1.0 the position met the image in a softmax over one entry: no effect, no gradient."""
    network = tiny_network(preset)
    images, positions, code, noisy = inputs(preset)
    with torch.inference_mode():
        base = answer(network, images, positions, code, noisy)
        for changed in (
            answer(network, images.flip(0), positions, code, noisy),
            answer(network, images, 1 - positions, code, noisy),
            answer(network, images, positions, code.flip(0), noisy),
        ):
            assert (changed - base).abs().max() > 1e-4


@EACH
def test_1_every_expert_is_reached_by_the_gradient(preset: Preset) -> None:
    network = tiny_network(preset)
    images, positions, code, noisy = inputs(preset)
    answer(network, images, positions, code, noisy).square().mean().backward()
    conditional = network.denoiser.conditional
    for part in (conditional.positional, conditional.project, conditional.visual.body, conditional.visual.tokens):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    if preset.gated:
        assert conditional.gate.weight.grad is not None
        assert conditional.gate.weight.grad.abs().sum() > 0


def test_2_the_loss_on_the_decoded_mask_has_a_gradient() -> None:
    """A perceptual loss on a thresholded mask had none; ours is on probabilities and needs no downloaded weights."""
    settings = DiffusionSettings(loop=LoopSettings(steps=1), mask_weight=1.0, occupancy_weight=0.0)
    plan, network = small_plan(TINY), tiny_network()
    known = known_cases([phantom_case(0)], TASK, plan, undertrained={}, failures=0, seed=0)
    examples = draw_examples(known, TINY, plan, count=1, seed=3)
    alphas = scheduler_of(TINY.prediction).alphas_cumprod
    grads = []
    for weight in (0.0, 1.0):
        network.zero_grad()
        diffusion_loss(network, examples, alphas, replace(settings, mask_weight=weight), seed=1).backward()
        grads.append(torch.cat([p.grad.flatten() for p in network.denoiser.network.parameters() if p.grad is not None]))
    assert (grads[1] - grads[0]).abs().max() > 1e-6


@EACH
def test_3_slices_come_from_the_image_whatever_the_candidate_covers(preset: Preset) -> None:
    """Cropped to the candidate's own extent, missing end slices were never shown and every position shifted."""
    volume, plan = small_volume(), tiny_plan(preset)
    painter = DiffusionPainter(tiny_network(preset), plan, HIPPOCAMPUS_PLAN, device="cpu")
    look = painter.look(volume)
    masks = {label: np.ones(volume.grid.shape, bool) for label in HIPPOCAMPUS_PLAN.labels}
    short = {label: mask.copy() for label, mask in masks.items()}
    for mask in short.values():
        mask[: mask.shape[0] // 2] = False
    units = cut_units(look.prepared.voxels.copy(), preset, plan)
    assert float(units.positions.min()) < 0.2
    assert float(units.positions.max()) > 0.9
    for candidate in (masks, short):
        painted = painter.paint(look, candidate).probabilities[WHOLE]
        assert painted.shape == volume.grid.shape
        # An untrained network paints something everywhere: nothing was cut away.
        assert all(painted[z].max() > 0 for z in range(painted.shape[0]))


def test_4_the_scale_of_the_latent_belongs_to_the_weights() -> None:
    """Measured anew on each candidate, it moved with the candidate."""
    plan = small_plan(TINY)
    network = tiny_network()
    known = known_cases([phantom_case(0)], TASK, plan, undertrained={}, failures=0, seed=0)
    settings = AutoencoderSettings(loop=LoopSettings(steps=0), batch=1)
    train_autoencoder(network.autoencoder, known, TINY, plan, settings=settings, path=plan_path())
    scale = float(network.autoencoder.scale)
    assert scale != 1.0
    assert "autoencoder.scale" in network.state_dict()
    painter = DiffusionPainter(network, plan, HIPPOCAMPUS_PLAN, device="cpu")
    look = painter.look(small_volume())
    painter.paint(look, {WHOLE: np.zeros(small_volume().grid.shape, bool)})
    assert float(network.autoencoder.scale) == scale


def plan_path():
    from pathlib import Path

    return Path("no such checkpoint")


@pytest.mark.parametrize("preset", [TINY, TINY_FAITHFUL], ids=lambda p: p.name)
def test_5_classes_are_channels_and_never_an_order(preset: Preset) -> None:
    """Coded as label / classes and resized, the border of 0 and 2 became a 1."""
    network = tiny_network(preset)
    one_hot = torch.zeros((1, 3, *(8,) * preset.dimensions))
    one_hot[:, 2] = 1.0
    one_hot[:, 2, :4] = 0.0
    one_hot[:, 0, :4] = 1.0
    code = network.code(one_hot)
    assert code.shape[1] == 3
    assert float(code[:, 1].max()) == 0.0
    assert float(code[:, 2].max()) == 1.0


def test_6_the_image_reaches_the_denoiser_place_by_place() -> None:
    """As one pooled vector, an image turned upside down could not be told from itself."""
    images, positions, *_ = inputs(TINY)
    spatial = tiny_network().view(images, positions).spatial
    turned = tiny_network().view(images.flip(2), positions).spatial
    assert spatial is not None
    assert turned is not None
    assert (spatial - turned).abs().max() > 1e-3
    assert IMPROVED.spatial_channels > 0
    assert tiny_network(TINY_FAITHFUL).view(*inputs(TINY_FAITHFUL)[:2]).spatial is None


def test_7_the_expert_sees_intensities_in_units_of_the_training_images() -> None:
    """The published expert got 0..255 without the mean and spread it was trained with."""
    volume, plan = small_volume(), tiny_plan(TINY)
    painter = DiffusionPainter(tiny_network(), plan, HIPPOCAMPUS_PLAN, device="cpu")
    plain = painter.look(volume)
    scaled = painter.look(replace(volume, voxels=(volume.voxels * 37 + 500).astype(np.float32)))
    assert abs(float(plain.prepared.voxels.mean())) < 0.01
    assert abs(float(plain.prepared.voxels.std()) - 1) < 0.01
    assert np.array_equal(plain.blank.masks[WHOLE], scaled.blank.masks[WHOLE])


def test_8_the_autoencoder_stays_in_single_precision_under_autocast() -> None:
    """An epsilon of 1e-6 is subnormal in half precision: constant regions of a mask gave NaN."""
    network = tiny_network()
    masks = torch.zeros((1, 3, 16, 16, 16))
    masks[:, 0] = 1.0
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        latent = network.autoencoder.encode(masks)
        logits = network.autoencoder.decode(latent.bfloat16())
    assert latent.dtype == logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_9_the_checkpoint_kept_is_the_one_that_paints_best(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by the error of the noise, it painted .369 instead of .598."""
    network, plan = tiny_network(), tiny_plan(TINY)
    bad = torch.nn.Conv3d(1, 3, 3, padding=1)
    keeper = training._Keeper(network, plan, [phantom_case(0)], known_bad=bad, path=tmp_path / "best.safetensors")
    scores = iter([0.4, 0.7, 0.5])
    monkeypatch.setattr(training._Keeper, "_measure", lambda *_: (next(scores),) * 3)
    for step in (1, 2, 3):
        keeper(step, network.denoiser)
    assert (keeper.kept_step, keeper.best) == (2, pytest.approx(0.7))
    again = training._Keeper(network, plan, [], known_bad=bad, path=tmp_path / "best.safetensors")
    assert (again.kept_step, again.best) == (2, pytest.approx(0.7))


def test_9_a_loaded_network_serves_many_calls() -> None:
    painter = DiffusionPainter(tiny_network(), tiny_plan(TINY), HIPPOCAMPUS_PLAN, device="cpu")
    first, second = (painter.look(small_volume()).classes for _ in range(2))
    assert np.array_equal(first, second)


def test_the_faithful_preset_has_the_published_sizes() -> None:
    """Counted in MONAI 1.6.1 for one binary structure: 12.3 M and 26.4 M parameters."""
    with torch.device("meta"):
        network = Nnqc(FAITHFUL, classes=2, slice_axis=0)
    count = {
        "autoencoder": sum(p.numel() for p in network.autoencoder.network.parameters()) / 1e6,
        "denoiser": sum(p.numel() for p in network.denoiser.network.parameters()) / 1e6,
    }
    assert count == {"autoencoder": pytest.approx(12.3, abs=0.05), "denoiser": pytest.approx(26.4, abs=0.05)}
    assert (FAITHFUL.side, FAITHFUL.steps, FAITHFUL.token_width, FAITHFUL.spatial_channels) == (256, 5, 512, 0)
