"""Pictures of the figures: predicted against true, reliability, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.segmentation_qc.calibrate import BAD_DICE
from models.segmentation_qc.calibrated import Calibration
from models.segmentation_qc.table import Line, evidence_of

PLOT_FILE = "figures.png"

Vector = npt.NDArray[np.float64]


def draw(lines: Sequence[Line], calibration: Calibration, path: Path) -> None:
    """Draw the candidates of test patients.

    Parameters
    ----------
    lines : sequence of Line
        Candidates of test patients.
    calibration : Calibration
        What ships.
    path : Path
        PNG to write.
    """
    chosen = [calibration.structure(line.label, by_machine=line.by_machine) for line in lines]
    found = [s.predict_dice(evidence_of(line)) for s, line in zip(chosen, lines, strict=True)]
    predicted, low = np.array([i.value for i in found]), np.array([i.low for i in found])
    truth = np.array([line.dice for line in lines])
    machine = np.array([line.by_machine for line in lines])
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    first, second, third = figure.subplots(1, 3)
    _scatter(first, predicted, truth, machine)
    _reliability(second, predicted, truth, machine)
    _risk(third, low, truth, np.array([line.evidence[0] for line in lines]))
    figure.savefig(path, dpi=80)


def _scatter(axes: Axes, predicted: Vector, truth: Vector, machine: npt.NDArray[np.bool_]) -> None:
    for name, group, colour in (("real failures", machine, "#0072b2"), ("synthetic", ~machine, "#e69f00")):
        axes.scatter(predicted[group], truth[group], s=3, alpha=0.4, color=colour, label=name)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.set(title="Predicted against true Dice", xlabel="predicted Dice", ylabel="Dice with the experts")
    axes.legend(markerscale=4)


def _reliability(axes: Axes, predicted: Vector, truth: Vector, machine: npt.NDArray[np.bool_]) -> None:
    for name, group, colour in (("real failures", machine, "#0072b2"), ("synthetic", ~machine, "#e69f00")):
        parts = np.array_split(np.argsort(predicted[group], kind="stable"), 10)
        at = [float(predicted[group][p].mean()) for p in parts]
        is_at = [float(truth[group][p].mean()) for p in parts]
        axes.plot(at, is_at, marker="o", color=colour, label=name)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.set(title="Reliability (tenths by prediction)", xlabel="mean predicted Dice", ylabel="mean true Dice")
    axes.legend()


def _risk(axes: Axes, low: Vector, truth: Vector, baseline: Vector) -> None:
    kept = np.arange(1, len(truth) + 1)
    for name, order, colour in (
        ("lower bound of the calibrated score", np.argsort(-low, kind="stable"), "#0072b2"),
        ("Dice with the second network", np.argsort(-baseline, kind="stable"), "#999999"),
        ("perfect order", np.argsort(-truth, kind="stable"), "black"),
    ):
        axes.plot(kept / len(truth), np.cumsum(truth[order] < BAD_DICE) / kept, color=colour, label=name)
    title = f"Risk (Dice below {BAD_DICE}) against coverage"
    axes.set(title=title, xlabel="share of candidates accepted", ylabel="share of them that is bad")
    axes.legend()
