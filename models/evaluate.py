"""Regenerate the figures of any model family that needs no DICOM by one call; each knows how to measure itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any


class Family(StrEnum):
    """What can be evaluated without reading DICOM."""

    SEGMENTATION = "segmentation"
    SEGMENTATION_QC = "segmentation-qc"
    NNQC = "nnqc"
    RUN_TIME = "run-time"


def evaluate(family: Family, data: Path, out: Path | None = None) -> Mapping[str, Any]:
    """Evaluate one family of models on patients that none of its parts was trained on.

    Parameters
    ----------
    family : Family
        Which models.
    data : Path
        Folder of the data set, as the family's own ``evaluate`` describes.
    out : Path, optional
        Folder for the report; None: the weights folders themselves.

    Returns
    -------
    mapping
        What the report says.

    Raises
    ------
    ModelError
        If models or data are missing or unusable.
    """
    measured: Mapping[str, Any] = _evaluator(family)(data, out)
    return measured


def _evaluator(family: Family) -> Callable[[Path, Path | None], Mapping[str, Any]]:
    match family:
        case Family.SEGMENTATION:
            from models.segmentation.evaluate import evaluate as evaluate_segmentation

            return evaluate_segmentation
        case Family.SEGMENTATION_QC:
            from models.segmentation_qc.evaluate import evaluate as evaluate_segmentation_qc

            return evaluate_segmentation_qc
        case Family.NNQC:
            from models.segmentation_qc.nnqc.evaluate import evaluate_nnqc

            return evaluate_nnqc
        case Family.RUN_TIME:
            from models.run_time import measure_run_time

            return measure_run_time
