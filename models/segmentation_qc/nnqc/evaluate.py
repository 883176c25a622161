"""Calibrate nnQC with the QC model it completes, and measure both on the same candidates of the same test patients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import FINGERPRINT_FILE, METRICS_FILE, WEIGHTS_FILE, read_card, write_card
from models.registry import ModelCard, find_model
from models.segmentation.cases import LabelledVolume, case_names, read_cases
from models.segmentation_qc.calibrate import calibrate
from models.segmentation_qc.calibrated import read_calibration
from models.segmentation_qc.candidates import candidates_of
from models.segmentation_qc.evaluate import (
    ACCIDENTS_FILE,
    CANDIDATES_FILE,
    SNAPSHOTS,
    Judge,
    judged_accidents,
    read_accidents,
    snapshots,
    write_accidents,
)
from models.segmentation_qc.figures import accident_counts
from models.segmentation_qc.nnqc.examiner import DiffusionExaminer, companion_of, diffusion_examiner, load_nnqc
from models.segmentation_qc.nnqc.figures import comparison, error_location, paintings_by_quality
from models.segmentation_qc.nnqc.mean_shape import Share, mean_shape
from models.segmentation_qc.nnqc.measure import (
    Measured,
    PaintedLine,
    Source,
    measure_paintings,
    read_paintings,
    write_paintings,
)
from models.segmentation_qc.nnqc.train import NAME, NnqcTrainingSettings, publish, train_network
from models.segmentation_qc.structures import HIPPOCAMPUS_PLAN
from models.segmentation_qc.table import Line, read_table, write_table
from models.segmentation_qc.train import TABLE_FILE, deployed_segmenter
from models.split import Split, split_patients

PAINTINGS_FILE = "test_paintings.csv"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """What measuring needs besides the images.

    Parameters
    ----------
    examiner : DiffusionExaminer
        nnQC and the QC model it completes.
    candidates : callable
        Makes the candidates of one case.
    shapes : dict of str to numpy.ndarray
        Mean shape of the training patients, by segment label.
    """

    examiner: DiffusionExaminer
    candidates: Source
    shapes: dict[str, Share]

    def measure(self, cases: Sequence[LabelledVolume]) -> Measured:
        """Measure every candidate of every case."""
        lines: list[Line] = []
        paintings: list[PaintedLine] = []
        found = measure_paintings(
            cases,
            examiner=self.examiner,
            plan=HIPPOCAMPUS_PLAN,
            candidates=self.candidates,
            shapes=self.shapes,
        )
        for more, painted in found:
            lines.extend(more)
            paintings.extend(painted)
        return lines, paintings


def open_bench(data: Path, card: ModelCard, *, failures: Path) -> Bench:
    """Load networks, snapshots and the mean shape.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    card : ModelCard
        nnQC, calibrated or not.
    failures : Path
        Folder with the snapshots of undertrained networks; they are trained anew (minutes) if it has none.

    Raises
    ------
    ModelError
        If something is missing or unusable.
    """
    deployed, undertrained = deployed_segmenter(), snapshots(data, failures)
    trained_on = read_cases(data, split_patients(case_names(data))[Split.TRAIN])
    examiner = diffusion_examiner(card, companion_of(card))
    return Bench(
        examiner=examiner,
        candidates=lambda case: candidates_of(case, deployed=deployed, undertrained=undertrained),
        shapes=mean_shape(trained_on, HIPPOCAMPUS_PLAN, size=(48, 64, 48)),
    )


def recalibrate_nnqc(data: Path, folder: Path, *, bench: Bench) -> None:
    """Calibrate against the segmenter that ships now; completes the weights folder and its card.

    Raises
    ------
    ModelError
        If data or models are missing or unusable.
    """
    lines, _ = bench.measure(cases_of(data, Split.QC_TRAIN, Split.CALIBRATION))
    write_table(lines, folder / TABLE_FILE)
    finish_nnqc(folder)


def calibrate_shipped(data: Path, out: Path, *, failures: Path = SNAPSHOTS) -> Path:
    """Copy the shipped nnQC to `out` and calibrate it with the QC model beside that, else the shipped one.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path
        Weights folder to write.
    failures : Path
        Folder with the snapshots of undertrained networks.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ModelError
        If data or models are missing or unusable.
    """
    shipped = find_model(NAME)
    companion = find_model(str(read_card(shipped.folder)["companion"]["name"]), (out.parent,))
    out.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, FINGERPRINT_FILE):
        shutil.copyfile(shipped.folder / name, out / name)
    card = {key: value for key, value in read_card(shipped.folder).items() if key != "sha256"}
    write_card(out, {**card, "companion": {"name": companion.name, "digest": companion.digest}})
    recalibrate_nnqc(data, out, bench=open_bench(data, find_model(str(out)), failures=failures))
    return out


def train_and_calibrate(data: Path, out: Path, *, work: Path, failures: Path, settings: NnqcTrainingSettings) -> Path:
    """Train nnQC and calibrate it with the QC model it completes; returns `out`, a complete weights folder.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path
        Weights folder to write, by convention named ``hippocampus-nnqc``.
    work, failures : Path
        See `train_network`.
    settings : NnqcTrainingSettings
        How to train; with more steps than before, training goes on from the checkpoints in `work`.

    Raises
    ------
    ModelError
        If data or models are missing or unusable.
    """
    publish(train_network(data, work=work, failures=failures, settings=settings), out, settings=settings)
    recalibrate_nnqc(data, out, bench=open_bench(data, find_model(str(out)), failures=failures))
    return out


def finish_nnqc(folder: Path) -> None:
    """Fit scorers and thresholds to the table of candidates; rules of anatomy stay those of the completed model."""
    companion = companion_of(find_model(str(folder)))
    rules = [c for c in read_calibration(companion.folder).criteria if c.code != "PREDICTED_DICE"]
    calibration = calibrate(read_table(folder / TABLE_FILE), rules)
    calibration.write(folder)
    account = {
        "patients": calibration.patients,
        "images": calibration.images,
        "segmenters": read_card(companion.folder)["calibration"]["segmenters"],
    }
    kept = {key: value for key, value in read_card(folder).items() if key != "sha256"}
    write_card(folder, {**kept, "calibration": account})


def evaluate_nnqc(
    data: Path, out: Path | None = None, *, bench: Bench | None = None, failures: Path = SNAPSHOTS
) -> dict[str, Any]:
    """Measure the shipped nnQC on test patients; writes tables and ``metrics.json``.

    Parameters
    ----------
    data : Path
        Folder with ``images/NAME.nii.gz`` and ``labels/NAME.nii.gz``.
    out : Path, optional
        Folder of the report; None: the weights folder.
    bench : Bench, optional
        None: opened here.
    failures : Path
        Folder with the snapshots of undertrained networks.

    Returns
    -------
    dict
        What ``metrics.json`` says.
    """
    card = find_model(NAME)
    folder = out or card.folder
    bench = bench or open_bench(data, card, failures=failures)
    cases = cases_of(data, Split.TEST)
    lines, paintings = bench.measure(cases)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(lines, folder / CANDIDATES_FILE)
    write_paintings(paintings, folder / PAINTINGS_FILE)
    write_accidents(judged_accidents(cases, Judge(load_nnqc(card), card)), folder / ACCIDENTS_FILE)
    return nnqc_figures_again(folder, card)


def nnqc_figures_again(folder: Path, card: ModelCard | None = None) -> dict[str, Any]:
    """Compute ``metrics.json`` anew from the tables in `folder`."""
    weights = (card or find_model(NAME)).folder
    lines, known = read_table(folder / CANDIDATES_FILE), read_table(weights / TABLE_FILE)
    paintings = read_paintings(folder / PAINTINGS_FILE)
    figures: dict[str, Any] = {
        "test_patients": len({line.person for line in lines}),
        "test_images": len({line.case for line in lines}),
        "candidates": len(lines),
        "calibration_patients": len({line.person for line in known}),
        "predicted_dice": comparison(lines, known, paintings),
        "pseudo_ground_truth_dice": paintings_by_quality(paintings),
        "error_location": error_location(paintings),
        "accidents_not_accepted": accident_counts(read_accidents(folder / ACCIDENTS_FILE)),
    }
    (folder / METRICS_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def cases_of(data: Path, *splits: Split) -> list[LabelledVolume]:
    """Read the cases of the splits named."""
    divided = split_patients(case_names(data))
    return list(read_cases(data, [name for split in splits for name in divided[split]]))
