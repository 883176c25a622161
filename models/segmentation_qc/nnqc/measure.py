"""Measure nnQC beside the second network: how well each paints, and how well each says where a candidate is wrong."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from dicom_sr.segmentation import Mask
from models.csv_file import write_csv
from models.errors import InvalidModel
from models.metrics import dice
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.candidates import Candidate
from models.segmentation_qc.judge import worst_slices
from models.segmentation_qc.nnqc.examiner import DiffusionExamination, DiffusionExaminer, SightedTruth
from models.segmentation_qc.nnqc.mean_shape import Share, laid_on
from models.segmentation_qc.structures import StructurePlan
from models.segmentation_qc.table import Line, lines_of, masks_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintedLine:
    """One candidate mask of one structure and what was painted for it, by each source of pseudo ground truth.

    Parameters
    ----------
    case, source, variant, label : str
        What it is, as in `Line`.
    dice : float
        True Dice of the candidate.
    painted_dice, blank_dice, second_dice, mean_dice : float
        Dice with the experts' mask of what nnQC painted for the candidate, of what it painted from the image alone,
        of the second network's answer, of the mean shape.
    mean_overlap : float
        Dice of the candidate with the mean shape.
    painted_error, blank_error, second_error : float
        Dice of the voxels where candidate and pseudo ground truth differ with those where candidate and experts differ;
        NaN where the candidate has no error.
    painted_worst, blank_worst, second_worst : float
        1 where the slice said to be worst is among the three that are, else 0; NaN where the candidate has no error.
    """

    case: str
    source: str
    variant: str
    label: str
    dice: float
    painted_dice: float
    blank_dice: float
    second_dice: float
    mean_dice: float
    mean_overlap: float
    painted_error: float
    blank_error: float
    second_error: float
    painted_worst: float
    blank_worst: float
    second_worst: float


Measured = tuple[list[Line], list[PaintedLine]]
Source = Callable[[LabelledVolume], Iterable[Candidate]]


def measure_paintings(
    cases: Iterable[LabelledVolume],
    *,
    examiner: DiffusionExaminer,
    plan: StructurePlan,
    candidates: Source,
    shapes: dict[str, Share],
) -> Iterator[Measured]:
    """Make every candidate of every case and measure it; yields the lines of one case at a time.

    Parameters
    ----------
    cases : iterable of LabelledVolume
        Images with experts' labels.
    examiner : DiffusionExaminer
        nnQC and the QC model it completes.
    plan : StructurePlan
        Structures.
    candidates : callable
        Makes the candidates of one case.
    shapes : dict of str to numpy.ndarray
        See `mean_shape`.
    """
    for number, case in enumerate(cases, start=1):
        seen: tuple[int, SightedTruth] | None = None
        lines: list[Line] = []
        painted: list[PaintedLine] = []
        mean = laid_on(shapes, case)
        for candidate in candidates(case):
            if seen is None or seen[0] != id(candidate.volume):
                seen = (id(candidate.volume), examiner.paint(candidate.volume))
            masks = masks_of(candidate.labels, plan)
            examination = examiner.examine(candidate.volume, masks, truth=seen[1])
            rules = examiner.check(candidate.volume, masks)
            lines.extend(lines_of(case, candidate, examination, plan=plan, rules=rules))
            painted.extend(painted_lines(case, candidate, examination, plan=plan, mean=mean))
        _log.info("case %d measured", number)
        yield lines, painted


def painted_lines(
    case: LabelledVolume,
    candidate: Candidate,
    examination: DiffusionExamination,
    *,
    plan: StructurePlan,
    mean: Mapping[str, Mask],
) -> Iterator[PaintedLine]:
    """Hold what was painted against the experts' mask, one line per structure."""
    expert = masks_of(case.expert.astype(np.uint8), plan)
    sources = (examination.painted, examination.blank, examination.truth)
    for label, mask in masks_of(candidate.labels, plan).items():
        truth = expert[label]
        found = [source.masks[label] for source in sources]
        errors = [_error(mask, claimed, truth) for claimed in found]
        worst = [_worst(mask, claimed, truth) for claimed in found]
        yield PaintedLine(
            case=case.name,
            source=candidate.source,
            variant=candidate.variant,
            label=label,
            dice=round(dice(mask, truth), 5),
            painted_dice=round(dice(found[0], truth), 4),
            blank_dice=round(dice(found[1], truth), 4),
            second_dice=round(dice(found[2], truth), 4),
            mean_dice=round(dice(mean[label], truth), 4),
            mean_overlap=round(dice(mask, mean[label]), 4),
            painted_error=errors[0],
            blank_error=errors[1],
            second_error=errors[2],
            painted_worst=worst[0],
            blank_worst=worst[1],
            second_worst=worst[2],
        )


def write_paintings(lines: Iterable[PaintedLine], path: Path) -> None:
    """Write as CSV."""
    write_csv(path, [field.name for field in fields(PaintedLine)], (astuple(line) for line in lines))


def read_paintings(path: Path) -> list[PaintedLine]:
    """Read what `write_paintings` wrote; raises `InvalidModel` if it is something else."""
    text = ("case", "source", "variant", "label")
    numbers = [f.name for f in fields(PaintedLine) if f.name not in text]
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [
                PaintedLine(**{n: row[n] for n in text}, **{n: float(row[n]) for n in numbers})  # type: ignore[arg-type]
                for row in csv.DictReader(stream)
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InvalidModel("the table of paintings is missing or damaged") from error


def _error(mask: Mask, claimed: Mask, truth: Mask) -> float:
    wrong = mask ^ truth
    return round(dice(mask ^ claimed, wrong), 4) if wrong.any() else math.nan


def _worst(mask: Mask, claimed: Mask, truth: Mask) -> float:
    really = worst_slices(mask, truth)
    said = worst_slices(mask, claimed)
    return float(bool(said) and said[0] in really) if really else math.nan
