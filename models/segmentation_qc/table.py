"""One line per candidate and structure: evidence beside truth. Calibration and figures come from it."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from dicom_sr.segmentation import Mask
from dicom_sr.verdict import Finding
from models.csv_file import write_csv
from models.errors import InvalidModel, UnusableVolume
from models.metrics import dice, hd95
from models.segmentation.cases import LabelledVolume
from models.segmentation_qc.calibrated import Calibration
from models.segmentation_qc.candidates import Candidate, DeployedSegmenter, candidates_of
from models.segmentation_qc.evidence import (
    DIFFUSION_EVIDENCE_NAMES,
    EVIDENCE_NAMES,
    Evidence,
    evidence_from,
    evidence_names,
)
from models.segmentation_qc.judge import Examination, Examiner
from models.segmentation_qc.pseudo_truth import PseudoTruth
from models.segmentation_qc.structures import StructurePlan
from models.split import person_of, split_of

_log = logging.getLogger(__name__)
_FAR_MM = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One candidate mask of one structure.

    Parameters
    ----------
    split, case, person, source, variant, label : str
        What it is.
    dice, hd95 : float
        Truth: against the experts' mask; HD95 in mm, 40 where one mask is empty.
    pseudo_truth_dice : float
        Dice of the pseudo ground truth with the experts' mask.
    agreement : float or None
        Of the segmenting ensemble.
    missing_mm : float
        See `models.segmentation_qc.missing`.
    rules : str
        What the rules of anatomy say of this structure, ``CODE=value`` joined by blanks, zeros left out.
    evidence : tuple of float
        In the order of `evidence_names`.
    """

    split: str
    case: str
    person: str
    source: str
    variant: str
    label: str
    dice: float
    hd95: float
    pseudo_truth_dice: float
    agreement: float | None
    missing_mm: float
    rules: str
    evidence: tuple[float, ...]

    @property
    def by_machine(self) -> bool:
        """Whether a network made the candidate."""
        return self.source not in ("synthetic", "expert")


def masks_of(labels: npt.NDArray[np.uint8], plan: StructurePlan) -> dict[str, Mask]:
    """Split a label map into one mask per structure."""
    return {s.label: np.isin(labels, s.classes) for s in plan.structures}


def measure_cases(
    cases: Iterable[LabelledVolume],
    *,
    examiner: Examiner,
    plan: StructurePlan,
    deployed: DeployedSegmenter,
    undertrained: Mapping[str, Sequence[nn.Module]],
) -> Iterator[Line]:
    """Make every candidate of every case and set its evidence, and what the rules say, beside its true quality."""
    for number, case in enumerate(cases, start=1):
        painted: tuple[int, PseudoTruth] | None = None
        for candidate in candidates_of(case, deployed=deployed, undertrained=undertrained):
            # Most candidates of a case share its image: paint once for each image, not for each candidate.
            if painted is None or painted[0] != id(candidate.volume):
                painted = (id(candidate.volume), examiner.paint(candidate.volume))
            masks = masks_of(candidate.labels, plan)
            examination = examiner.examine(candidate.volume, masks, truth=painted[1])
            rules = examiner.check(candidate.volume, masks)
            yield from lines_of(case, candidate, examination, plan=plan, rules=rules)
        _log.info("case %d measured", number)


def lines_of(
    case: LabelledVolume,
    candidate: Candidate,
    examination: Examination,
    *,
    plan: StructurePlan,
    rules: Sequence[Finding],
) -> Iterator[Line]:
    """Set the evidence on one candidate beside its true quality, one line per structure."""
    masks = masks_of(candidate.labels, plan)
    expert = masks_of(case.expert.astype(np.uint8), plan)
    truth = examination.truth
    for label, mask in masks.items():
        distance = hd95(mask, expert[label], case.volume.grid.spacing)
        yield Line(
            split=str(split_of(case.name)),
            case=case.name,
            person=person_of(case.name),
            source=candidate.source,
            variant=candidate.variant,
            label=label,
            dice=round(dice(mask, expert[label]), 5),
            hd95=round(_FAR_MM if math.isnan(distance) else min(distance, _FAR_MM), 4),
            pseudo_truth_dice=round(dice(truth.masks[label], expert[label]), 5),
            agreement=round(candidate.agreement[label], 5) if label in candidate.agreement else None,
            missing_mm=round(examination.missing_mm[label], 3),
            rules=" ".join(f"{f.code}={f.value:g}" for f in rules if f.segment == label and f.value),
            evidence=tuple(round(float(v), 5) for v in examination.evidence[label].as_vector()),
        )


def write_table(lines: Iterable[Line], path: Path) -> None:
    """Write as CSV, one column per piece of evidence."""
    coming = iter(lines)
    first = next(coming, None)
    if first is None:
        raise UnusableVolume("there was no image to make candidates of")
    plain = [f.name for f in fields(Line) if f.name != "evidence"]
    rows = ([*(getattr(line, name) for name in plain), *line.evidence] for line in chain([first], coming))
    write_csv(path, [*plain, *evidence_names(len(first.evidence))], rows)


def read_table(path: Path) -> list[Line]:
    """Read what `write_table` wrote; raises `InvalidModel` if it is something else."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [_line(row) for row in csv.DictReader(stream)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InvalidModel("the table of candidates is missing or damaged") from error


def evidence_of(line: Line) -> Evidence:
    """Return a line's evidence."""
    return evidence_from(line.evidence)


def findings_of(lines: Sequence[Line], calibration: Calibration) -> tuple[Finding, ...]:
    """Rebuild what QC says of one candidate from its lines, under any calibration."""
    return tuple(finding for line in lines for finding in _findings(line, calibration))


def _findings(line: Line, calibration: Calibration) -> Iterator[Finding]:
    found = calibration.structure(line.label, by_machine=line.by_machine).predict_dice(evidence_of(line))
    yield Finding(
        stage="", code="PREDICTED_DICE", segment=line.label, value=found.value, low=found.low, high=found.high
    )
    yield Finding(stage="", code="MISSING_END", segment=line.label, value=line.missing_mm)
    yield Finding(stage="", code="OUT_OF_DISTRIBUTION", value=-evidence_of(line).image_match)
    for rule in line.rules.split():
        code, _, value = rule.partition("=")
        yield Finding(stage="", code=code, segment=line.label, value=float(value))


def _names_in(row: Mapping[str, str]) -> tuple[str, ...]:
    return DIFFUSION_EVIDENCE_NAMES if set(DIFFUSION_EVIDENCE_NAMES) <= set(row) else EVIDENCE_NAMES


def _line(row: Mapping[str, str]) -> Line:
    return Line(
        split=row["split"],
        case=row["case"],
        person=row["person"],
        source=row["source"],
        variant=row["variant"],
        label=row["label"],
        dice=float(row["dice"]),
        hd95=float(row["hd95"]),
        pseudo_truth_dice=float(row["pseudo_truth_dice"]),
        agreement=float(row["agreement"]) if row["agreement"] else None,
        missing_mm=float(row["missing_mm"]),
        rules=row["rules"],
        evidence=tuple(float(row[name]) for name in _names_in(row)),
    )
