"""The shipped networks find what they were trained for, answer alike however an image comes, and refuse nonsense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from dicom_sr.series import read_series
from dicom_sr.series_pixels import load_volume
from dicom_sr.volume import Grid, Volume
from models.errors import InvalidModel, UnsuitableAnswer, UnusableVolume
from models.metrics import dice
from models.nifti import read_nifti, read_nifti_labels
from models.phantom import hippocampus_phantom
from models.registry import find_model
from models.segmentation.inference import Window
from models.segmentation.segmenter import SegmentationResult, load_segmenter
from models.segmentation.unet_segmenter import UNetSegmenter
from tests.support.shared import shared_data

VOLUME, LABELS = hippocampus_phantom(0)


@pytest.fixture(scope="module")
def whole() -> UNetSegmenter:
    torch.set_num_threads(1)
    return UNetSegmenter(find_model("hippocampus"), device="cpu")


@pytest.fixture(scope="module")
def parts() -> UNetSegmenter:
    torch.set_num_threads(1)
    return UNetSegmenter(find_model("hippocampus-subfields"), device="cpu")


@pytest.fixture(scope="module")
def answer(whole: UNetSegmenter) -> SegmentationResult:
    return whole.segment(VOLUME)


def test_the_structure_of_a_drawn_crop_is_found(answer: SegmentationResult) -> None:
    assert dice(answer.labels == 1, LABELS > 0) > 0.8
    assert 0.7 < answer.agreement[1] < 1
    assert answer.labels.dtype == np.uint16


def test_the_label_is_given_where_its_probability_is_greatest(answer: SegmentationResult) -> None:
    assert answer.probabilities is not None
    (whole,) = answer.probabilities.values()
    np.testing.assert_array_equal(whole > 0.5, answer.labels == 1)
    assert whole.min() >= 0
    assert whole.max() <= 1 + 1e-6


def test_a_freshly_loaded_model_gives_the_same_bytes(answer: SegmentationResult) -> None:
    fresh = load_segmenter(find_model("hippocampus"), device="cpu")
    again = fresh.segment(VOLUME)
    np.testing.assert_array_equal(again.labels, answer.labels)
    assert again.agreement == answer.agreement
    assert fresh.digest == find_model("hippocampus").digest


def test_the_order_in_which_voxels_are_stored_does_not_matter(whole: UNetSegmenter, answer: SegmentationResult) -> None:
    affine = VOLUME.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:, 3] += affine[:, 1] * (VOLUME.grid.shape[0] - 1)
    affine[:, 1] *= -1
    voxels = np.ascontiguousarray(np.flip(VOLUME.voxels.transpose(2, 0, 1), 1))
    depth, height, width = voxels.shape
    stored = Volume(grid=Grid(shape=(depth, height, width), affine=affine), voxels=voxels, modality="MR")
    turned_back = np.flip(whole.segment(stored).labels, 1).transpose(1, 2, 0)
    np.testing.assert_array_equal(turned_back, answer.labels)


@pytest.mark.slow
def test_intensity_scale_hardly_matters(whole: UNetSegmenter, answer: SegmentationResult) -> None:
    scaled = Volume(grid=VOLUME.grid, voxels=VOLUME.voxels * 3.7 + 250, modality="MR")
    assert dice(whole.segment(scaled).labels == 1, answer.labels == 1) > 0.999


def test_other_spacing_comes_back_on_its_own_grid(whole: UNetSegmenter) -> None:
    factors = np.array([1.25, 0.8, 0.9])
    shape = tuple(int(n) for n in np.round(np.array(VOLUME.grid.shape) / factors))
    affine = VOLUME.grid.affine @ np.diag([*factors, 1.0])
    voxels = ndimage.affine_transform(VOLUME.voxels, factors, output_shape=shape, order=1, mode="nearest")
    truth = ndimage.affine_transform((LABELS > 0).astype(np.float32), factors, output_shape=shape, order=1) > 0.5
    result = whole.segment(Volume(grid=Grid(shape=shape, affine=affine), voxels=voxels, modality="MR"))
    assert result.labels.shape == shape
    assert dice(result.labels == 1, truth) > 0.75


@pytest.mark.slow
def test_small_windows_give_nearly_what_the_whole_image_gives(answer: SegmentationResult) -> None:
    windowed = UNetSegmenter(find_model("hippocampus"), device="cpu", window=Window(largest=40, smallest=40))
    assert dice(windowed.segment(VOLUME).labels == 1, answer.labels == 1) > 0.9


def test_every_voxel_of_the_region_gets_a_part_and_none_outside(parts: UNetSegmenter) -> None:
    region = LABELS > 0
    region[2:4, 2:4, 2:4] = True
    result = parts.segment(VOLUME, region=region)
    labels = result.labels
    np.testing.assert_array_equal(labels > 0, region)
    assert result.probabilities is not None
    np.testing.assert_allclose(sum(result.probabilities.values()), region.astype(np.float32), atol=1e-5)
    assert min(dice(labels == value, value == LABELS) for value in (1, 2)) > 0.8


def test_an_edited_region_changes_the_parts(parts: UNetSegmenter) -> None:
    smaller = ndimage.binary_erosion(LABELS > 0)
    np.testing.assert_array_equal(parts.segment(VOLUME, region=smaller).labels > 0, smaller)


def test_an_empty_region_has_no_parts(parts: UNetSegmenter) -> None:
    assert not parts.segment(VOLUME, region=np.zeros(VOLUME.grid.shape, bool)).labels.any()


def test_a_region_that_is_missing_or_of_another_shape_is_refused(parts: UNetSegmenter) -> None:
    with pytest.raises(UnsuitableAnswer, match="not given"):
        parts.segment(VOLUME)
    with pytest.raises(UnsuitableAnswer, match="shape"):
        parts.segment(VOLUME, region=np.ones((2, 2, 2), bool))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_an_unusable_image_is_refused(whole: UNetSegmenter, value: float) -> None:
    voxels = np.full(VOLUME.grid.shape, value, np.float32)
    with pytest.raises(UnusableVolume):
        whole.segment(Volume(grid=VOLUME.grid, voxels=voxels, modality="MR"))


def test_noise_alone_gives_an_answer_and_not_a_fault(whole: UNetSegmenter) -> None:
    noise = np.random.default_rng(0).normal(size=(9, 30, 17)).astype(np.float32)
    grid = Grid(shape=(9, 30, 17), affine=VOLUME.grid.affine)
    labels = whole.segment(Volume(grid=grid, voxels=noise, modality="MR")).labels
    assert set(np.unique(labels)) <= {0, 1}


def test_a_model_of_another_kind_cannot_segment(tmp_path: Path) -> None:
    from models.card import write_card

    (tmp_path / "x").write_text("")
    write_card(tmp_path, {"name": "q", "version": "1", "kind": "image_qc", "labels": [], "needs_region": False})
    with pytest.raises(InvalidModel, match="cannot segment"):
        load_segmenter(find_model(str(tmp_path)))


def test_the_dicom_path_gives_what_the_nifti_path_gives(whole: UNetSegmenter) -> None:
    files = sorted((shared_data("converted_dicom") / "hippocampus_001").glob("*.dcm"))
    dicom = load_volume(read_series(files), files)
    folder = shared_data("hippocampus_msd")
    image = read_nifti(folder / "images" / "hippocampus_001.nii.gz")
    grid, expert = read_nifti_labels(folder / "labels" / "hippocampus_001.nii.gz")
    assert dicom.grid.is_same_as(Grid(shape=grid.shape, affine=image.grid.affine))
    labels = whole.segment(dicom).labels
    np.testing.assert_array_equal(labels, whole.segment(image).labels)
    assert dice(labels == 1, expert > 0) > 0.8
