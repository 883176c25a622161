"""How long quality control of one hippocampus crop takes, models loaded: wall clock and processor time per image."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dicom_sr.acquisition import Acquisition
from models.csv_file import write_csv
from models.image_qc.assess import assess_image
from models.registry import find_model
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation_qc.judge import NetworkSegmentationQc
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of
from models.split import Split, split_patients

TIMES_FILE = "run_time.csv"
IMAGE_QC, SEGMENTATION_QC = "image QC", "segmentation QC"
_TARGET = "t1-hippocampus-crop"
_MODEL = "hippocampus-qc"
_IMAGES = 12
_THREADS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One image judged once.

    Parameters
    ----------
    case, what : str
        Image, and `IMAGE_QC` or `SEGMENTATION_QC`.
    seconds, processor_seconds : float
        By the wall clock; of all threads together, which another load on the machine does not change.
    """

    case: str
    what: str
    seconds: float
    processor_seconds: float


def measure_run_time(data: Path, out: Path | None = None) -> dict[str, Any]:
    """Time both judges on test images with two threads; writes ``run_time.csv`` and returns what `time_figures` says.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path, optional
        Folder for the table; None: the folder of the segmentation QC that ships.
    """
    card = find_model(_MODEL)
    folder = out or card.folder
    folder.mkdir(parents=True, exist_ok=True)
    before = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        names = split_patients(case_names(data))[Split.TEST][:_IMAGES]
        judge = NetworkSegmentationQc(card, device="cpu")
        write_times(_timed(read_cases(data, names), judge), folder / TIMES_FILE)
    finally:
        torch.set_num_threads(before)
    return time_figures(read_times(folder / TIMES_FILE))


def time_figures(rows: Sequence[Timed]) -> dict[str, Any]:
    """Return median and largest times by what was timed, seconds."""
    figures: dict[str, Any] = {"threads": _THREADS}
    for what in (IMAGE_QC, SEGMENTATION_QC):
        own = [row for row in rows if row.what == what]
        figures[what] = {
            "images": len(own),
            "median_s": round(float(np.median([row.seconds for row in own])), 3),
            "largest_s": round(max(row.seconds for row in own), 3),
            "median_processor_s": round(float(np.median([row.processor_seconds for row in own])), 3),
        }
    return figures


def write_times(rows: Iterable[Timed], path: Path) -> None:
    """Write as CSV."""
    write_csv(path, [field.name for field in fields(Timed)], (astuple(row) for row in rows))


def read_times(path: Path) -> list[Timed]:
    """Read what `write_times` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            Timed(
                case=row["case"],
                what=row["what"],
                seconds=float(row["seconds"]),
                processor_seconds=float(row["processor_seconds"]),
            )
            for row in csv.DictReader(stream)
        ]


def _timed(cases: Iterable[LabelledVolume], judge: NetworkSegmentationQc) -> Iterator[Timed]:
    """Time every case but the first, which warms up what is loaded on first use."""
    nothing_known = Acquisition(modality="", sop_class_uid="")
    for number, case in enumerate(cases):
        masks = masks_of(case.expert.astype(np.uint8), HIPPOCAMPUS_PLAN)
        rows = (
            _once(case, IMAGE_QC, lambda c=case: assess_image(c.volume, nothing_known, target=_TARGET, stage="qc")),  # type: ignore[misc]
            _once(case, SEGMENTATION_QC, lambda c=case, m=masks: judge.assess(c.volume, m, agreement={}, stage="qc")),  # type: ignore[misc]
        )
        if number:
            yield from rows


def _once(case: LabelledVolume, what: str, do: Callable[[], object]) -> Timed:
    wall, processor = time.perf_counter(), time.process_time()
    do()
    return Timed(
        case=case.name,
        what=what,
        seconds=round(time.perf_counter() - wall, 4),
        processor_seconds=round(time.process_time() - processor, 4),
    )
