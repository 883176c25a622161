"""Pictures for the pages: slices of a case's image with its segmentations, and what an edit changed.

numpy and Pillow are imported on first use; nothing here is needed to receive, grade or deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from sqlmodel import col, select

from gateway.domain.errors import NotFound
from gateway.services import slice_drawing
from gateway.services.picture_cache import DisplayLayers, DisplayVolume, PictureCache
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Artifact, Iteration, StageRun

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dicom_sr.segmentation import Segmentation
    from dicom_sr.volume import Volume

#: Role of the artifact that holds a stage's segmentation.
SEGMENTATION_ROLE = "segmentation"


class Plane(IntEnum):
    """Cut through the volume: number of the (z, y, x) axis that is scrolled; Z shows the slices as acquired."""

    Z = 0
    Y = 1
    X = 2


class PictureSource(Protocol):
    """Give the image of one iteration of a case."""

    def __call__(self, *, case_id: str, generation: int, iteration: int) -> Volume:
        """Load the volume.

        Raises
        ------
        NotFound
            If the case has no readable image.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMoment:
    """One iteration of one case: what pictures are asked for."""

    case_id: str
    generation: int
    iteration: int

    def before(self) -> CaseMoment:
        """Return the iteration that this one's edit was made on.

        Raises
        ------
        NotFound
            If this is the automatic iteration.
        """
        if self.iteration == 0:
            raise NotFound("the automatic iteration has none before it")
        return replace(self, iteration=self.iteration - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """A segment as it is drawn: its stage, label, colour ``#rrggbb`` and volume, millilitres."""

    stage: str
    label: str
    color: str
    ml: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSet:
    """What a page must know to show the slices of one plane.

    Parameters
    ----------
    plane : Plane
        Which cut.
    count : int
        Slices.
    width, height : int
        Pixels of a picture.
    profile : tuple of int
        Segmented (or, for an edit, changed) voxels of each slice.
    start : int
        Slice to show first: the one with the highest profile.
    edges : tuple of str, (left, top, right, bottom)
        Patient directions at the edges: L R A P H F.
    legend : tuple of LegendEntry
        Segments in drawing order.
    """

    plane: Plane
    count: int
    width: int
    height: int
    profile: tuple[int, ...]
    start: int
    edges: tuple[str, str, str, str]
    legend: tuple[LegendEntry, ...]


class Pictures:
    """Pictures of cases.

    Parameters
    ----------
    database, blobs
        Stores.
    source : PictureSource
        Loads images; asked once per image content.
    cache : PictureCache
        Display copies.
    """

    def __init__(self, database: Database, blobs: BlobStore, source: PictureSource, cache: PictureCache) -> None:
        self._database = database
        self._blobs = blobs
        self._source = source
        self._cache = cache

    def describe(self, moment: CaseMoment, plane: Plane, *, changed_stage: str = "") -> PictureSet:
        """Return what a page needs to show `moment` in `plane`, with the profile of an edit's change when one is named.

        Raises
        ------
        NotFound
            If the case has no image yet.
        """
        volume = self._volume(moment)
        stages = self._stages(moment)
        cut = slice_drawing.plan_cut(volume.affine, volume.voxels.shape, int(plane))
        if changed_stage:
            profile = self._changed_profile(moment, changed_stage, plane)
        else:
            profile = _profile(volume.voxels.shape[plane], [layers for _, layers in stages], plane)
        return PictureSet(
            plane=plane,
            count=len(profile),
            width=cut.width,
            height=cut.height,
            profile=profile,
            start=max(range(len(profile)), key=profile.__getitem__) if any(profile) else len(profile) // 2,
            edges=cut.edges,
            legend=tuple(entry for stage, layers in stages for entry in _legend(stage, layers)),
        )

    def image(self, moment: CaseMoment, plane: Plane, index: int) -> bytes:
        """Return one slice of the image as a grey PNG.

        Raises
        ------
        NotFound
            If there is no such slice.
        """
        volume = self._volume(moment)
        return slice_drawing.grey_png(_slice(volume.voxels, plane, index), self._cut(volume, plane))

    def overlay(self, moment: CaseMoment, plane: Plane, index: int, *, stage: str = "") -> bytes:
        """Return the segmentations (of one stage, or of all) on one slice as a transparent PNG.

        Raises
        ------
        NotFound
            If there is no such slice.
        """
        volume = self._volume(moment)
        painted = [
            (_slice(layers.mask(segment), plane, index), segment.color)
            for _, layers in self._stages(moment, only=stage)
            for segment in layers.segments
        ]
        return slice_drawing.overlay_png(painted, self._cut(volume, plane))

    def change(self, moment: CaseMoment, stage: str, plane: Plane, index: int) -> bytes:
        """Return what the edit of `stage` that opened `moment` changed on one slice, as a transparent PNG.

        Raises
        ------
        NotFound
            If `stage` has no segmentation in this iteration or the one before.
        """
        volume = self._volume(moment)
        before, after = (self._labels(m, stage) for m in (moment.before(), moment))
        return slice_drawing.change_png(
            _slice(before, plane, index), _slice(after, plane, index), self._cut(volume, plane)
        )

    def _cut(self, volume: DisplayVolume, plane: Plane) -> slice_drawing.Cut:
        return slice_drawing.plan_cut(volume.affine, volume.voxels.shape, int(plane))

    def _volume(self, moment: CaseMoment) -> DisplayVolume:
        with self._database.read() as session:
            digest = session.exec(
                select(Iteration.image_digest).where(
                    Iteration.case_id == moment.case_id,
                    Iteration.generation == moment.generation,
                    Iteration.number == moment.iteration,
                )
            ).first()
        if not digest:
            raise NotFound("this iteration has no image")
        return self._cache.volume(
            f"image-{digest}",
            lambda: self._source(case_id=moment.case_id, generation=moment.generation, iteration=moment.iteration),
        )

    def _stages(self, moment: CaseMoment, *, only: str = "") -> tuple[tuple[str, DisplayLayers], ...]:
        query = (
            select(StageRun.stage, Artifact.sha256)
            .where(
                Artifact.stage_run_id == StageRun.id,
                Artifact.role == SEGMENTATION_ROLE,
                StageRun.case_id == moment.case_id,
                StageRun.generation == moment.generation,
                StageRun.iteration == moment.iteration,
            )
            .order_by(col(StageRun.id))
        )
        with self._database.read() as session:
            rows = session.exec(query).all()
        return tuple((stage, self._layers(sha256)) for stage, sha256 in rows if only in ("", stage))

    def _layers(self, sha256: str) -> DisplayLayers:
        def load() -> Segmentation:
            from gateway.store.artifacts import decode_segmentation

            return decode_segmentation(self._blobs.read(sha256))

        return self._cache.layers(f"layers-{sha256}", load)

    def _stage(self, moment: CaseMoment, stage: str) -> DisplayLayers:
        for _, layers in self._stages(moment, only=stage):
            return layers
        raise NotFound("this stage has no segmentation in that iteration")

    def _labels(self, moment: CaseMoment, stage: str) -> npt.NDArray[np.uint16]:
        """Ordinal of the segment at each voxel, so that a relabelled voxel counts as changed; (z, y, x), uint16."""
        import numpy as np

        layers = self._stage(moment, stage)
        labels = np.zeros(layers.layers.shape[1:], np.uint16)
        ordinal = {label: n for n, label in enumerate(sorted(s.label for s in layers.segments), 1)}
        for segment in layers.segments:
            labels[layers.mask(segment)] = ordinal[segment.label]
        return labels

    def _changed_profile(self, moment: CaseMoment, stage: str, plane: Plane) -> tuple[int, ...]:
        before, after = (self._labels(m, stage) for m in (moment.before(), moment))
        if before.shape != after.shape:
            raise NotFound("the edit and its prior lie on different grids")
        counted = (before != after).sum(axis=_across(plane))
        return tuple(int(v) for v in counted)


def _across(plane: Plane) -> tuple[int, ...]:
    return tuple(axis for axis in range(3) if axis != plane)


def _slice(volume: npt.NDArray[Any], plane: Plane, index: int) -> npt.NDArray[Any]:
    if not 0 <= index < volume.shape[plane]:
        raise NotFound("there is no such slice")
    cut: npt.NDArray[Any] = volume.take(index, axis=int(plane))
    return cut


def _profile(count: int, stages: Sequence[DisplayLayers], plane: Plane) -> tuple[int, ...]:
    total = [0] * count
    for layers in stages:
        counted = (layers.layers > 0).any(axis=0).sum(axis=_across(plane))
        total = [a + int(b) for a, b in zip(total, counted, strict=True)]
    return tuple(total)


def _legend(stage: str, layers: DisplayLayers) -> Sequence[LegendEntry]:
    return [
        LegendEntry(
            stage=stage,
            label=segment.label,
            color="#{:02x}{:02x}{:02x}".format(*segment.color),
            ml=float(layers.mask(segment).sum()) * layers.voxel_ml,
        )
        for segment in layers.segments
    ]
