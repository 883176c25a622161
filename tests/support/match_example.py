"""One delivered segmentation of two parts as a candidate, and the masks of a small edit of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from dicom_sr.candidate import Candidate, ChangeBounds, OutputSource, OutputState
from dicom_sr.segmentation import Mask, Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from tests.support.make_segmentation import make_segments
from tests.support.make_series import make_mr_series

#: Large enough for the five resolutions of a JPEG 2000 codestream.
SHAPE = (8, 32, 36)
LABELS = ("Left part", "Right part")


@cache
def source_series(seed: str = "series", patient_id: str = "P0001", study: str = "study") -> SourceSeries:
    with TemporaryDirectory() as folder:
        return read_series(make_mr_series(Path(folder), shape=SHAPE, seed=seed, patient_id=patient_id, study=study))


def delivered_masks() -> dict[int, Mask]:
    """Two shapes that no flip maps onto themselves."""
    left, right = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    left[1:5, 2:8, 2:6] = True
    left[1:3, 8:13, 2:4] = True
    right[2:6, 3:9, 10:16] = True
    right[5, 9:14, 13:16] = True
    return {1: left, 2: right}


def painted() -> dict[int, Mask]:
    """The delivered masks after a stroke on slice 4."""
    masks = delivered_masks()
    masks[1][4, 8:11, 2:6] = True
    return masks


def candidate(
    *,
    masks: Mapping[int, Mask] | None = None,
    labels: Sequence[str] = LABELS,
    source: SourceSeries | None = None,
    name: str = "one",
    stage: str = "parts",
    iteration: int = 0,
    state: OutputState = OutputState.OPEN,
    bounds: ChangeBounds | None = None,
    **changes: object,
) -> Candidate:
    """One delivered output; its UIDs and tracking follow from `name`, stage and iteration."""
    series = source or source_series()
    assert series.grid is not None
    segments = make_segments(*labels)
    segmentation = Segmentation.from_masks(series.grid, delivered_masks() if masks is None else masks, segments)
    made = Candidate(
        case_id=name,
        stage=stage,
        iteration=iteration,
        state=state,
        study_instance_uid=series.study_instance_uid,
        patient_id=series.patient_id,
        source=OutputSource.of(series),
        sop_instance_uid=derive_uid("out", name, stage, iteration),
        series_instance_uid=derive_uid("out series", name, stage, iteration),
        segments=segments,
        tracking={label: (f"{name}/{label}", derive_uid("tracking", name, label)) for label in labels},
        load=lambda: segmentation,
        bounds=bounds or ChangeBounds(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]
