from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_sr.volume import Grid, Volume
from gateway.domain.errors import NotFound
from gateway.domain.stage_run import StageRunState
from gateway.services.picture_cache import PictureCache
from gateway.services.pictures import CaseMoment, Comparison, Pictures, Plane
from gateway.services.slice_drawing import ADDED, REMOVED, Cut, change_png, overlay_png, plan_cut
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from tests.support.seed import SHAPE, Seed, body, make_segmentations, make_volume

LPS_AXIAL = np.diag([0.0, 0.0, 0.0, 1.0]) + np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0.0]])

_EDIT = Comparison(stage="hippocampus")
_SECOND = Comparison()


class _Source:
    """Counts how often an image is loaded."""

    def __init__(self) -> None:
        self.loads = 0

    def __call__(self, *, case_id: str, generation: int, iteration: int) -> Volume:
        self.loads += 1
        return make_volume()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pictures, _Source, CaseMoment]:
    folder = tmp_path_factory.mktemp("pictures")
    seed = Seed.on(Database.in_folder(folder), BlobStore(folder / "blobs"))
    case = seed.case(seed.study(1))
    seed.iteration(case, segmentations=make_segmentations())
    replaced = {"hippocampus": StageRunState.REPLACED}
    seed.iteration(case, number=1, states=replaced, segmentations=make_segmentations(shift=1.0, grow=0.5))
    source = _Source()
    made = Pictures(seed.database, seed.blobs, source, PictureCache(folder / "cache"))
    return made, source, CaseMoment(case_id=case.id, generation=1, iteration=1)


def _read(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_a_set_tells_slices_legend_and_where_to_start(pictures: tuple[Pictures, _Source, CaseMoment]) -> None:
    made, _, moment = pictures
    described = made.describe(moment, Plane.Z)
    whole = body(shift=1.0, grow=0.5)
    assert described.count == SHAPE[0]
    assert described.profile == tuple(int(v) for v in 2 * whole.sum(axis=(1, 2)))
    assert described.start == int(whole.sum(axis=(1, 2)).argmax())
    assert [(e.stage, e.label, e.color) for e in described.legend] == [
        ("hippocampus", "Hippocampus", "#e69f00"),
        ("subfields", "Hippocampus anterior", "#56b4e9"),
        ("subfields", "Hippocampus posterior", "#cc79a7"),
    ]
    assert described.legend[0].ml == pytest.approx(whole.sum() / 1000)


def test_an_image_is_loaded_once_for_all_pictures_of_equal_content(
    pictures: tuple[Pictures, _Source, CaseMoment],
) -> None:
    made, source, moment = pictures
    for index in range(3):
        made.image(moment, Plane.Z, index)
        made.image(moment.before(), Plane.Y, index)
        made.overlay(moment, Plane.X, index)
    assert source.loads == 1


@pytest.mark.parametrize("plane", list(Plane))
def test_image_overlay_and_change_fit_on_each_other(
    pictures: tuple[Pictures, _Source, CaseMoment], plane: Plane
) -> None:
    made, _, moment = pictures
    described = made.describe(moment, plane)
    size = (described.height, described.width)
    index = described.start
    assert _read(made.image(moment, plane, index)).shape == size
    assert _read(made.overlay(moment, plane, index)).shape == (*size, 4)
    assert _read(made.difference(moment, _EDIT, plane, index)).shape == (*size, 4)


def test_the_change_shows_added_and_removed_voxels_where_they_are(
    pictures: tuple[Pictures, _Source, CaseMoment],
) -> None:
    made, _, moment = pictures
    described = made.describe(moment, Plane.Z, compared=_EDIT)
    before, after = body(shift=0.0), body(shift=1.0, grow=0.5)
    assert described.profile == tuple(int(v) for v in (before != after).sum(axis=(1, 2)))
    picture = _read(made.difference(moment, _EDIT, Plane.Z, described.start))
    index = described.start
    scale_y, scale_x = picture.shape[0] / SHAPE[1], picture.shape[1] / SHAPE[2]
    colours = {}
    for name, where in (("added", after & ~before), ("removed", before & ~after)):
        points = np.argwhere(where[index])
        rows, columns = ((points + 0.5) * [scale_y, scale_x]).astype(int).T
        colours[name] = {tuple(int(v) for v in c) for c in picture[rows, columns, :3]}
    assert ADDED in colours["added"]
    assert REMOVED not in colours["added"]
    assert REMOVED in colours["removed"] or not (before & ~after)[index].any()
    assert ADDED not in colours["removed"]


def test_the_second_opinion_is_compared_with_the_result_in_the_segments_it_knows(
    pictures: tuple[Pictures, _Source, CaseMoment],
) -> None:
    made, _, moment = pictures
    described = made.describe(moment.before(), Plane.Z, compared=_SECOND)
    result, second = body(shift=0.0), body(shift=-1.0)
    assert described.has_second
    assert described.profile == tuple(int(v) for v in (result != second).sum(axis=(1, 2)))
    index = described.start
    picture = _read(made.difference(moment.before(), _SECOND, Plane.Z, index))
    rows, columns = ((np.argwhere((result & ~second)[index]) + 0.5) * picture.shape[0] / SHAPE[1]).astype(int).T
    assert ADDED in {tuple(int(v) for v in c) for c in picture[rows, columns, :3]}
    drawn = _read(made.second(moment.before(), Plane.Z, index))
    assert drawn[..., 3].any()
    assert not (drawn == _read(made.overlay(moment.before(), Plane.Z, index, stage="hippocampus"))).all()


def test_the_most_doubtful_slices_are_told_by_segment(pictures: tuple[Pictures, _Source, CaseMoment]) -> None:
    made, _, moment = pictures
    assert made.describe(moment, Plane.Z).worst == {"Hippocampus": (20, 11)}


def test_without_a_second_opinion_there_is_nothing_to_compare(tmp_path: Path) -> None:
    seed = Seed.on(Database.in_folder(tmp_path), BlobStore(tmp_path / "blobs"))
    case = seed.case(seed.study(1))
    only = {"hippocampus": make_segmentations()["hippocampus"]}
    seed.iteration(case, segmentations=only, states={"segmentation_qc": StageRunState.SKIPPED})
    made = Pictures(seed.database, seed.blobs, _Source(), PictureCache(tmp_path / "cache"))
    moment = CaseMoment(case_id=case.id, generation=1, iteration=0)
    assert not made.describe(moment, Plane.Z).has_second
    with pytest.raises(NotFound):
        made.difference(moment, _SECOND, Plane.Z, 0)


def test_slices_stages_and_iterations_that_do_not_exist_are_not_found(
    pictures: tuple[Pictures, _Source, CaseMoment],
) -> None:
    made, _, moment = pictures
    for index in (-1, SHAPE[0]):
        with pytest.raises(NotFound):
            made.image(moment, Plane.Z, index)
    with pytest.raises(NotFound):
        made.difference(moment, Comparison(stage="measure"), Plane.Z, 0)
    with pytest.raises(NotFound):
        made.difference(moment.before(), _EDIT, Plane.Z, 0)
    with pytest.raises(NotFound):
        made.describe(CaseMoment(case_id="c0", generation=1, iteration=0), Plane.Z)


def test_acquired_slices_are_shown_as_they_are() -> None:
    cut = plan_cut(LPS_AXIAL, (4, 6, 8), 0)
    assert (cut.flip_rows, cut.flip_columns) == (False, False)
    assert cut.edges == ("R", "A", "L", "P")


def test_reformatted_planes_have_the_head_up_and_the_right_on_the_left() -> None:
    coronal = plan_cut(LPS_AXIAL, (4, 6, 8), 1)
    assert coronal.edges == ("R", "H", "L", "F")
    mirrored = LPS_AXIAL * np.array([-1.0, 1.0, -1.0, 1.0])
    assert plan_cut(mirrored, (4, 6, 8), 1).edges == ("R", "H", "L", "F")
    assert plan_cut(LPS_AXIAL, (4, 6, 8), 2).edges == ("A", "H", "P", "F")


def test_pixels_are_square_whatever_the_spacing() -> None:
    affine = LPS_AXIAL @ np.diag([3.0, 1.0, 1.0, 1.0])
    cut = plan_cut(affine, (10, 30, 30), 1)
    assert cut.height == pytest.approx(cut.width, abs=1)


def test_a_flipped_mask_is_drawn_flipped() -> None:
    mask = np.zeros((4, 4), bool)
    mask[0, 0] = True
    cut = Cut(width=40, height=40, flip_rows=True, flip_columns=False, edges=("R", "H", "L", "F"))
    alpha = _read(overlay_png([(mask, (9, 9, 9))], cut))[..., 3]
    assert alpha[35, 5] > 0
    assert alpha[5, 5] == alpha[35, 35] == 0


def test_a_voxel_given_to_another_segment_is_neither_added_nor_removed() -> None:
    before, after = np.full((6, 6), 1, np.uint16), np.full((6, 6), 1, np.uint16)
    after[2:4, 2:4] = 2
    cut = Cut(width=60, height=60, flip_rows=False, flip_columns=False, edges=("R", "A", "L", "P"))
    centre = tuple(int(v) for v in _read(change_png(before, after, cut))[30, 30, :3])
    assert centre not in (ADDED, REMOVED)
    assert sum(centre) > 0


def test_the_cache_drops_the_oldest_and_rebuilds_what_it_dropped(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, limit_bytes=20_000)
    grid = Grid(shape=(10, 32, 32), affine=LPS_AXIAL)
    loads = []

    def load(name: str) -> Volume:
        loads.append(name)
        return Volume(grid=grid, voxels=np.random.default_rng(1).random(grid.shape, np.float32), modality="MR")

    first = cache.volume("a", lambda: load("a")).voxels[:].copy()
    cache.volume("b", lambda: load("b"))
    cache.volume("c", lambda: load("c"))
    assert (cache.volume("a", lambda: load("a")).voxels == first).all()
    assert loads == ["a", "b", "c", "a"]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.npy")) <= 20_000


def test_ct_is_shown_in_a_soft_tissue_window_and_constants_do_not_divide_by_zero(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path)
    grid = Grid(shape=(1, 1, 4), affine=LPS_AXIAL)
    values = np.array([[[-1000.0, -160.0, 40.0, 900.0]]], np.float32)
    shown = cache.volume("ct", lambda: Volume(grid=grid, voxels=values, modality="CT")).voxels
    assert shown[0, 0].tolist() == [0, 0, 127, 255]
    flat = cache.volume("flat", lambda: Volume(grid=grid, voxels=values * 0, modality="MR")).voxels
    assert flat.max() == 0
