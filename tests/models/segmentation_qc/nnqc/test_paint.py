"""What nnQC paints lies on the image's grid, is the same every time, and bad input gives a named error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from dicom_sr.errors import GeometryMismatch
from dicom_sr.volume import Grid, Volume
from models.errors import UnusableVolume
from models.segmentation_qc.nnqc.paint import DiffusionPainter
from models.segmentation_qc.nnqc.preset import Prediction, Preset
from models.segmentation_qc.nnqc.sampler import Sampling, times_of
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of
from tests.support.nnqc_example import (
    TINY,
    TINY_NEIGHBOURS,
    TINY_PRESETS,
    phantom_case,
    small_volume,
    tiny_network,
    tiny_plan,
)

WHOLE, FRONT, BACK = HIPPOCAMPUS_PLAN.labels
CASE = phantom_case(0)
MASKS = masks_of(CASE.expert.astype(np.uint8), HIPPOCAMPUS_PLAN)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def painter_of(preset: Preset = TINY, *, batch: int = 8, sampling: Sampling | None = None) -> DiffusionPainter:
    return DiffusionPainter(
        tiny_network(preset), tiny_plan(preset), HIPPOCAMPUS_PLAN, batch=batch, sampling=sampling, device="cpu"
    )


@pytest.mark.parametrize("preset", TINY_PRESETS, ids=lambda p: p.name)
def test_the_painting_covers_the_whole_image_on_its_own_grid(preset: Preset) -> None:
    volume = small_volume()
    painter = painter_of(preset)
    look = painter.look(volume)
    painted = painter.paint(look, {WHOLE: np.ones(volume.grid.shape, bool)})
    for truth in (look.blank, painted):
        assert {m.shape for m in truth.masks.values()} == {volume.grid.shape}
        assert np.array_equal(truth.masks[FRONT] | truth.masks[BACK], truth.masks[WHOLE])
    assert look.classes.sum(axis=0) == pytest.approx(np.ones(volume.grid.shape), abs=1e-4)


def test_the_batch_changes_nothing() -> None:
    volume = small_volume()
    mask = {WHOLE: np.ones(volume.grid.shape, bool)}
    looks = [(painter, painter.look(volume)) for painter in (painter_of(TINY_NEIGHBOURS, batch=b) for b in (3, 64))]
    painted = [painter.paint(look, mask) for painter, look in looks]
    for other in painted[1:]:
        assert np.abs(painted[0].probabilities[WHOLE] - other.probabilities[WHOLE]).max() < 1e-4
        assert np.mean(painted[0].masks[WHOLE] ^ other.masks[WHOLE]) < 1e-3


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_painting() -> None:
    volume, mask = small_volume(), {WHOLE: np.ones((13, 18, 15), bool)}
    one, two, other = (
        painter.paint(painter.look(volume), mask).probabilities[WHOLE]
        for painter in (painter_of(), painter_of(), painter_of(sampling=Sampling(steps=3, seed=1)))
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_the_disagreement_map_is_a_share_and_none_for_a_single_draw() -> None:
    volume, mask = small_volume(), {WHOLE: np.ones((13, 18, 15), bool)}
    painter = painter_of()
    look = painter.look(volume)
    scatter = painter.disagreement(look, mask, draws=3)
    assert scatter.shape == volume.grid.shape
    assert 0 < scatter.max() <= 1
    assert painter.disagreement(look, mask, draws=1).max() == 0


def test_guidance_of_none_ignores_the_candidate() -> None:
    volume = small_volume()
    full = {WHOLE: np.ones(volume.grid.shape, bool)}
    ignoring, heeding = (painter_of(sampling=Sampling(steps=2, guidance=g)) for g in (0.0, 1.0))
    look = ignoring.look(volume)
    without = ignoring.paint(look, {WHOLE: ~full[WHOLE]}).probabilities[WHOLE]
    assert ignoring.paint(look, full).probabilities[WHOLE] == pytest.approx(without, abs=1e-5)
    assert np.abs(heeding.paint(look, full).probabilities[WHOLE] - without).max() > 1e-4


def test_a_stored_axis_order_changes_nothing() -> None:
    painter = painter_of()
    z, y, _ = CASE.volume.grid.shape
    turn = np.array([[-1, 0, 0, z - 1], [0, -1, 0, y - 1], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    grid = Grid(shape=CASE.volume.grid.shape, affine=CASE.volume.grid.affine @ turn)
    turned = Volume(grid=grid, voxels=CASE.volume.voxels[::-1, ::-1].copy(), modality="MR")
    straight = painter.paint(painter.look(CASE.volume), MASKS).masks
    other = painter.paint(painter.look(turned), {k: m[::-1, ::-1].copy() for k, m in MASKS.items()}).masks
    assert all(np.array_equal(straight[label], other[label][::-1, ::-1]) for label in HIPPOCAMPUS_PLAN.labels)


def test_what_only_the_whole_holds_is_divided_as_the_image_alone_would() -> None:
    painter = painter_of()
    look = painter.look(CASE.volume)
    labels = painter._labels(look, {WHOLE: MASKS[WHOLE]})
    assert np.array_equal(labels > 0, MASKS[WHOLE])
    likelier = np.where(look.classes[1] >= look.classes[2], 1, 2)
    assert np.array_equal(labels[MASKS[WHOLE]], likelier[MASKS[WHOLE]])
    parts = painter._labels(look, MASKS)
    assert np.array_equal(parts, CASE.expert)


def unusable() -> dict[str, Volume]:
    plain = CASE.volume
    sheared = plain.grid.affine.copy()
    sheared[0, 0] = 0.8
    holes = plain.voxels.copy()
    holes[3, 3, 3] = np.nan
    large = tuple(n + 1 for n in tiny_plan(TINY).largest)
    grid = Grid(shape=large, affine=plain.grid.affine)
    voxels = np.random.default_rng(0).normal(size=large).astype(np.float32)
    return {
        "not finite": dataclasses.replace(plain, voxels=holes),
        "constant": dataclasses.replace(plain, voxels=np.ones_like(plain.voxels)),
        "single slice": dataclasses.replace(
            plain, grid=Grid(shape=(1, *plain.grid.shape[1:]), affine=plain.grid.affine), voxels=plain.voxels[:1]
        ),
        "sheared": dataclasses.replace(plain, grid=Grid(shape=plain.grid.shape, affine=sheared)),
        "far too large": dataclasses.replace(plain, grid=grid, voxels=voxels),
    }


@pytest.mark.parametrize("kind", list(unusable()))
def test_an_image_it_cannot_work_on_is_named(kind: str) -> None:
    with pytest.raises(UnusableVolume):
        painter_of().look(unusable()[kind])


def test_an_answer_that_is_not_finite_is_named() -> None:
    network = tiny_network()
    with torch.no_grad():
        network.autoencoder.scale.fill_(float("nan"))
    painter = DiffusionPainter(network, tiny_plan(TINY), HIPPOCAMPUS_PLAN, device="cpu")
    with pytest.raises(UnusableVolume):
        painter.look(small_volume())


def test_a_mask_of_another_shape_is_refused() -> None:
    painter = painter_of()
    with pytest.raises(GeometryMismatch):
        painter.paint(painter.look(small_volume()), {WHOLE: np.ones((3, 3, 3), bool)})


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_sampling_starts_where_the_prediction_allows(steps: int) -> None:
    assert times_of(Prediction.SAMPLE, steps)[0] == 999
    assert times_of(Prediction.EPSILON, steps)[-1] == 0
    for prediction in Prediction:
        times = times_of(prediction, steps)
        assert len(times) == steps
        assert times == sorted(times, reverse=True)
        assert min(times) >= 0
