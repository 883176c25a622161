"""Measure segmentation QC on test patients, and write what was found beside the weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dicom_sr.segmentation import Mask
from dicom_sr.verdict import decide
from dicom_sr.volume import Volume
from models.card import METRICS_FILE
from models.csv_file import write_csv
from models.preprocess import PreprocessPlan
from models.registry import ModelCard, find_model
from models.run_time import TIMES_FILE, read_times, time_figures
from models.segmentation.cases import LabelledVolume, case_names, read_cases, training_case
from models.segmentation_qc.accidents import accidents_of
from models.segmentation_qc.calibrated import read_calibration
from models.segmentation_qc.failures import read_failures, train_failures, write_failures
from models.segmentation_qc.figures import Figures, all_figures
from models.segmentation_qc.judge import Examination, NetworkSegmentationQc
from models.segmentation_qc.plots import PLOT_FILE, draw
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import masks_of, measure_cases, read_table, write_table
from models.segmentation_qc.train import FAILURES_FILE, NAME, TABLE_FILE, TASK, deployed_segmenter
from models.split import Split, person_of, split_patients

CANDIDATES_FILE = "test_candidates.csv"
ACCIDENTS_FILE = "test_accidents.csv"
SNAPSHOTS = Path(".work") / NAME  # working folder of the undertrained networks; not shipped


def evaluate(data: Path, out: Path | None = None, *, work: Path = SNAPSHOTS) -> Mapping[str, Any]:
    """Make candidates and accidents of every test patient, judge them, and write tables and figures.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path, optional
        Folder for ``metrics.json`` and the tables; None: the weights folder.
    work : Path
        Folder with the snapshots of undertrained networks; they are trained anew (minutes) if it has none.

    Returns
    -------
    mapping
        What ``metrics.json`` says.
    """
    card = find_model(NAME)
    folder = out or card.folder
    divided = split_patients(case_names(data))
    labelled = list(read_cases(data, divided[Split.TEST]))
    judge = Judge(NetworkSegmentationQc(card), card)
    write_accidents(judged_accidents(labelled, judge), folder / ACCIDENTS_FILE)
    lines = measure_cases(
        labelled,
        examiner=judge.qc.examiner,
        plan=HIPPOCAMPUS_PLAN,
        deployed=deployed_segmenter(),
        undertrained=snapshots(data, work),
    )
    write_table(lines, folder / CANDIDATES_FILE)
    return figures_again(folder, card)


def snapshots(data: Path, work: Path) -> Mapping[str, Sequence[nn.Module]]:
    """Read the snapshots of undertrained networks in `work`; they are trained anew (minutes) if it has none."""
    if not (work / FAILURES_FILE).is_file():
        training = read_cases(data, split_patients(case_names(data))[Split.TRAIN])
        cases = [training_case(case, TASK, PreprocessPlan()) for case in training]
        write_failures(train_failures(cases), work / FAILURES_FILE)
    return read_failures(work / FAILURES_FILE)


def figures_again(folder: Path, card: ModelCard | None = None) -> Figures:
    """Compute ``metrics.json`` and the plots anew from the tables in `folder`."""
    weights = (card or find_model(NAME)).folder
    lines, calibration = read_table(folder / CANDIDATES_FILE), read_calibration(weights)
    known = read_table(weights / TABLE_FILE)
    figures = all_figures(lines, known, read_accidents(folder / ACCIDENTS_FILE), calibration)
    if (folder / TIMES_FILE).is_file():
        figures["run_time"] = time_figures(read_times(folder / TIMES_FILE))
    (folder / METRICS_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    draw(lines, calibration, folder / PLOT_FILE)
    return figures


def write_accidents(rows: Iterable[Mapping[str, str]], path: Path) -> None:
    """Write the verdicts on accidents as CSV."""
    names = ("case", "accident", "outcome")
    write_csv(path, names, ([row[name] for name in names] for row in rows))


def read_accidents(path: Path) -> list[Mapping[str, str]]:
    """Read what `write_accidents` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class Judge:
    """A QC model and its criteria, asked for an outcome only.

    Parameters
    ----------
    qc : NetworkSegmentationQc
        Loaded model.
    card : ModelCard
        Its card, for the criteria.
    """

    def __init__(self, qc: NetworkSegmentationQc, card: ModelCard) -> None:
        self.qc = qc
        self._criteria = read_calibration(card.folder).criteria

    def __call__(self, examination: Examination, volume: Volume, masks: Mapping[str, Mask]) -> str:
        """Return the mildest outcome over both origins the masks might have."""
        outcomes = [
            decide(self.qc.findings(examination, volume, masks, by_machine=origin, stage="qc"), self._criteria).outcome
            for origin in (set(masks), set[str]())
        ]
        return str(min(outcomes, key=lambda outcome: outcome.severity))


def judged_accidents(cases: Sequence[LabelledVolume], judge: Judge) -> Iterator[Mapping[str, str]]:
    """Judge every accident of every case; yields the rows that `write_accidents` takes."""
    for case in cases:
        truth = judge.qc.examiner.paint(case.volume)
        strangers = [other for other in cases if person_of(other.name) != person_of(case.name)]
        position = sum(ord(c) for c in case.name) % len(strangers)
        for name, labels in accidents_of(case, strangers[position:]):
            masks = masks_of(labels, HIPPOCAMPUS_PLAN)
            examination = judge.qc.examiner.examine(case.volume, masks, truth=truth)
            yield {"case": case.name, "accident": name, "outcome": judge(examination, case.volume, masks)}
