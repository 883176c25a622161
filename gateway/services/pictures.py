"""Pictures for the pages: slices of a case's image with its segmentations, and where two of them differ.

Pillow is imported on first use; nothing here is needed to receive, grade or deliver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol

from sqlmodel import col, select

from gateway.domain.errors import NotFound
from gateway.services import ledger, slice_drawing
from gateway.services.picture_cache import DisplayLayers, DisplayVolume, PictureCache
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Artifact, Iteration, StageRun

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from dicom_sr.segmentation import Segmentation
    from dicom_sr.volume import Volume

#: Takes what is shown out of a volume: one slice, or all of it.
_Pick = Callable[["npt.NDArray[Any]"], "npt.NDArray[Any]"]


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
class Comparison:
    """Which two segmentations are compared.

    Parameters
    ----------
    stage : str
        Its output before the edit that opened the iteration and after; empty compares the pseudo ground truth of
        segmentation QC with the result.
    """

    stage: str = ""


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
        Segmented (or, in a comparison, differing) voxels of each slice.
    start : int
        Slice to show first: the one with the highest profile.
    edges : tuple of str, (left, top, right, bottom)
        Patient directions at the edges: L R A P H F.
    legend : tuple of LegendEntry
        Segments in drawing order.
    worst : mapping of str to sequence of int
        By segment label, the acquired slices where segmentation QC doubts it most, worst first.
    has_second : bool
        Whether segmentation QC made a pseudo ground truth.
    """

    plane: Plane
    count: int
    width: int
    height: int
    profile: tuple[int, ...]
    start: int
    edges: tuple[str, str, str, str]
    legend: tuple[LegendEntry, ...]
    worst: Mapping[str, Sequence[int]]
    has_second: bool


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

    def describe(self, moment: CaseMoment, plane: Plane, *, compared: Comparison | None = None) -> PictureSet:
        """Return what a page needs to show `moment` in `plane`, with the profile of a comparison when one is asked for.

        Raises
        ------
        NotFound
            If the case has no image yet, or nothing to compare.
        """
        volume = self._volume(moment)
        stages = self._stages(moment)
        cut = slice_drawing.plan_cut(volume.affine, volume.voxels.shape, int(plane))
        if compared is not None:
            profile = self._differing_profile(moment, compared, plane)
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
            worst=self._worst(moment),
            has_second=bool(self._artifacts(moment, ledger.PSEUDO_GROUND_TRUTH)),
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
        return self._drawn(moment, [layers for _, layers in self._stages(moment, only=stage)], plane, index)

    def second(self, moment: CaseMoment, plane: Plane, index: int) -> bytes:
        """Return the pseudo ground truth of segmentation QC on one slice as a transparent PNG.

        Raises
        ------
        NotFound
            If there is no such slice.
        """
        return self._drawn(moment, self._second(moment), plane, index)

    def difference(self, moment: CaseMoment, compared: Comparison, plane: Plane, index: int) -> bytes:
        """Return where two segmentations differ on one slice, as a transparent PNG.

        Raises
        ------
        NotFound
            If there are no two to compare, or no such slice.
        """
        volume = self._volume(moment)
        before, after = self._compared(moment, compared, lambda values: _slice(values, plane, index))
        return slice_drawing.change_png(before, after, self._cut(volume, plane))

    def _drawn(self, moment: CaseMoment, drawn: Sequence[DisplayLayers], plane: Plane, index: int) -> bytes:
        painted = [
            (_slice(layers.layers[segment.layer], plane, index) == segment.number, segment.color)
            for layers in drawn
            for segment in layers.segments
        ]
        return slice_drawing.overlay_png(painted, self._cut(self._volume(moment), plane))

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

    def _artifacts(self, moment: CaseMoment, role: str) -> tuple[tuple[str, str], ...]:
        """Stage and content of every artifact with a role, in the order of the stages."""
        query = (
            select(StageRun.stage, Artifact.sha256)
            .where(
                Artifact.stage_run_id == StageRun.id,
                Artifact.role == role,
                StageRun.case_id == moment.case_id,
                StageRun.generation == moment.generation,
                StageRun.iteration == moment.iteration,
            )
            .order_by(col(StageRun.id))
        )
        with self._database.read() as session:
            return tuple(session.exec(query).all())

    def _stages(self, moment: CaseMoment, *, only: str = "") -> tuple[tuple[str, DisplayLayers], ...]:
        rows = self._artifacts(moment, ledger.SEGMENTATION)
        return tuple((stage, self._layers(sha256)) for stage, sha256 in rows if only in ("", stage))

    def _second(self, moment: CaseMoment) -> list[DisplayLayers]:
        return [self._layers(sha256) for _, sha256 in self._artifacts(moment, ledger.PSEUDO_GROUND_TRUTH)]

    def _worst(self, moment: CaseMoment) -> dict[str, tuple[int, ...]]:
        worst: dict[str, tuple[int, ...]] = {}
        for _, sha256 in self._artifacts(moment, ledger.WORST_SLICES):
            worst |= ledger.decode_worst_slices(self._blobs.read(sha256))
        return worst

    def _layers(self, sha256: str) -> DisplayLayers:
        def load() -> Segmentation:
            from gateway.store.artifacts import decode_segmentation

            return decode_segmentation(self._blobs.read(sha256))

        return self._cache.layers(f"layers-{sha256}", load)

    def _stage(self, moment: CaseMoment, stage: str) -> DisplayLayers:
        for _, layers in self._stages(moment, only=stage):
            return layers
        raise NotFound("this stage has no segmentation in that iteration")

    def _compared(
        self, moment: CaseMoment, compared: Comparison, pick: _Pick
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Labels of the two segmentations with one number for each name, of what `pick` takes from a volume."""
        if compared.stage:
            before = [self._stage(moment.before(), compared.stage)]
            after = [self._stage(moment, compared.stage)]
            names = _names(after + before)
        else:
            before, after = self._second(moment), [layers for _, layers in self._stages(moment)]
            if not (before and after):
                raise NotFound("segmentation QC made no segmentation of its own in that iteration")
            known = set(_names(before))
            names = [name for name in _names(after + before) if name in known]
        if any(layers.layers.shape[1:] != after[0].layers.shape[1:] for layers in before + after):
            raise NotFound("what is to be compared lies on different grids")
        return _labels(before, names, pick), _labels(after, names, pick)

    def _differing_profile(self, moment: CaseMoment, compared: Comparison, plane: Plane) -> tuple[int, ...]:
        before, after = self._compared(moment, compared, lambda values: values)
        return tuple(int(v) for v in (before != after).sum(axis=_across(plane)))


def _names(drawn: Sequence[DisplayLayers]) -> list[str]:
    """Segment labels in drawing order."""
    return list(dict.fromkeys(segment.label for layers in drawn for segment in layers.segments))


def _labels(drawn: Sequence[DisplayLayers], names: Sequence[str], pick: _Pick) -> npt.NDArray[np.uint16]:
    """Return at each voxel the number of its segment's name, of the last where segments overlap; 0 for none."""
    import numpy as np

    found = {segment.label: (layers, segment) for layers in drawn for segment in layers.segments}
    labels = np.zeros(pick(drawn[0].layers[0]).shape, np.uint16)
    for number, name in enumerate(names, 1):
        if name in found:
            layers, segment = found[name]
            labels[pick(layers.layers[segment.layer]) == segment.number] = number
    return labels


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
