"""What was measured beside what was aimed at, as one table: read from the ``metrics.json`` of the weights that ship.

`overread evaluate all` makes those files; this table only reads them, so no figure in it is typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.card import METRICS_FILE
from models.registry import find_model

COLUMNS = ("what", "goal", "measured", "beside it", "by `overread evaluate`")
Metrics = Mapping[str, Any]
_BLOCK = re.compile(r"(<!-- generated: measured -->\n).*?(\n<!-- end of measured -->)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One row.

    Parameters
    ----------
    what : str
        What is measured, on what.
    goal : str
        What was aimed at; empty where there is none.
    measured, beside : str
        Ours; what is plainer, or was published.
    family : str
        Argument of ``overread evaluate``.
    """

    what: str
    goal: str
    measured: str
    beside: str
    family: str

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the cells in the order of `COLUMNS`."""
        return self.what, self.goal, self.measured, self.beside, f"`{self.family}`"


def measured_table() -> str:
    """Return the table in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(goal.cells())} |" for goal in goals()]
    return "\n".join(lines)


def write_into(path: Path) -> None:
    """Write the table between the marks ``<!-- generated: measured -->`` and ``<!-- end of measured -->`` of a file."""
    before = path.read_text(encoding="utf-8")
    path.write_text(_BLOCK.sub(lambda found: found[1] + measured_table() + found[2], before), encoding="utf-8")


def goals() -> Iterator[Goal]:
    """Yield every row.

    Raises
    ------
    ModelNotFound
        If a model does not ship.
    """
    rows: Sequence[Callable[[], Iterator[Goal]]] = (
        _segmentation,
        _predicted_dice,
        _intervals,
        _image_qc,
        _adaptation,
        _run_time,
        _nnqc,
        _brain,
    )
    for row in rows:
        yield from row()


def _segmentation() -> Iterator[Goal]:
    found = {
        (row["label"], row["method"]): row["dice"]["mean"]
        for name in ("hippocampus", "hippocampus-subfields")
        for row in _metrics(name)["results"]
    }
    parts = ("Hippocampus anterior", "Hippocampus posterior")
    yield Goal(
        what="whole hippocampus, Dice",
        goal=".89",
        measured=_short(found["Hippocampus", "network"]),
        beside=f"mean shape {_short(found['Hippocampus', 'mean shape'])}",
        family="segmentation",
    )
    yield Goal(
        what="its parts, anterior / posterior, Dice",
        goal=".87",
        measured=" / ".join(_short(found[label, "network"]) for label in parts),
        beside="cut at the mean share " + " / ".join(_short(found[label, "middle cut"]) for label in parts),
        family="segmentation",
    )


def _predicted_dice() -> Iterator[Goal]:
    metrics = _metrics("hippocampus-qc")
    ours = metrics["predicted_dice"]["all"]["calibrated scorer"]
    plain = metrics["predicted_dice"]["all"]["baseline: Dice with the second network"]
    kinds: tuple[tuple[str, str, Callable[[Metrics], str]], ...] = (
        (
            "predicted Dice of every candidate, r / Spearman / mean error",
            ".97 / .95 / .045",
            lambda m: " / ".join(_short(m[k][0]) for k in ("pearson_r", "spearman", "mae")),
        ),
        (
            "the same where the true Dice is above .6, r / mean error",
            ".80 / .05",
            lambda m: " / ".join(_short(m["band"][k][0]) for k in ("pearson_r", "mae")),
        ),
        (
            "true Dice below .7: AUC / specificity at sensitivity .95",
            ".985 / .85",
            lambda m: " / ".join(_short(m[k][0]) for k in ("auc_bad", "specificity_at_95_sensitivity")),
        ),
    )
    for what, goal, cell in kinds:
        yield Goal(
            what=what,
            goal=goal,
            measured=cell(ours),
            beside=f"Dice with the second network {cell(plain)}",
            family="segmentation-qc",
        )
    accidents = metrics["accidents_not_accepted"].values()
    tried, accepted = (sum(row[key] for row in accidents) for key in ("candidates", "ACCEPT"))
    yield Goal(
        what="missing slices, blank, swapped, mirrored, shifted, another patient's mask: not accepted",
        goal="all",
        measured=f"{tried - accepted} of {tried}",
        beside="the published nnQC does not see missing ends",
        family="segmentation-qc",
    )


def _intervals() -> Iterator[Goal]:
    metrics = _metrics("hippocampus-qc")
    told, origins = metrics["intervals_as_told"], metrics["intervals"]
    labels = list(origins["any origin"])
    splits = [row["random_splits"]["mean"] for origin in origins.values() for row in origin.values()]
    yield Goal(
        what="90 % intervals: mean coverage over 300 splits of the patients",
        goal=".87 to .93",
        measured=f"{_short(min(splits))} to {_short(max(splits))}",
        beside="",
        family="segmentation-qc",
    )
    yield Goal(
        what="their width, whole / anterior / posterior, told what a network made and nobody touched",
        goal=".15",
        measured=" / ".join(_short(told[label]["mean_width"]) for label in labels),
        beside="never told " + " / ".join(_short(origins["any origin"][label]["mean_width"]) for label in labels),
        family="segmentation-qc",
    )


def _image_qc() -> Iterator[Goal]:
    metrics = _metrics("image-qc")
    series, tier = metrics["dicom_series"], metrics["balanced_accuracy_tier"]
    real, made = series["real rejects"], series["made of good series"].values()
    crops = metrics["reject"].values()
    yield Goal(
        what="images to reject, balanced accuracy: DICOM series / crops and heads",
        goal=".97, no good series rejected",
        measured=f"{_short(series['balanced_accuracy'])} / "
        f"{_short(metrics['balanced_accuracy_not_accepted']['reject'])}, {series['good series rejected']} rejected",
        beside=f"real series {real['not accepted']} of {real['pairs']}, "
        f"made of good ones {_sum(made, 'not accepted')} of {_sum(made, 'pairs')}, crops and heads "
        f"{_sum(crops, 'images') - _sum(crops, 'ACCEPT')} of {_sum(crops, 'images')}; paper .89 on clinical data",
        family="image-qc",
    )
    yield Goal(
        what="simulated severe / mild degradation of unseen crops, balanced accuracy",
        goal=".90 / .82",
        measured=f"{_short(tier['severe (tier 3) against clean and mild'])} / "
        f"{_short(tier['mild (tier 2 or 3) against clean'])}",
        beside="papers .79 to .87 / .74 to .79: same metric, clinical data",
        family="image-qc",
    )
    sites = metrics["real_ratings"]["leave_one_site_out"]["all metrics"]
    yield Goal(
        what="1101 real ratings, each site left out in turn, AUC / balanced accuracy",
        goal="",
        measured=f"{_short(sites['auc'])} / {_short(sites['balanced_accuracy'])}",
        beside="extremely randomised trees .914 / .802",
        family="image-qc",
    )


def _adaptation() -> Iterator[Goal]:
    for name, methods in _metrics("image-qc")["adaptation"].items():
        if not name.endswith("labelled scans"):
            continue
        means = {method: figures["mean of both"]["mean"] for method, figures in methods.items()}
        yield Goal(
            what=f"T1 to FLAIR with {name}, balanced accuracy over 5 seeds",
            goal=".05 over both",
            measured=_short(means["adapted"]),
            beside=", ".join(f"{method} {_short(means[method])}" for method in means if method != "adapted"),
            family="image-qc-adaptation",
        )


def _run_time() -> Iterator[Goal]:
    times = _metrics("hippocampus-qc")["run_time"]
    yield Goal(
        what="one crop on two cores, image QC / segmentation QC, median seconds",
        goal="2 / 3",
        measured=" / ".join(f"{times[what]['median_s']:.2f}" for what in ("image QC", "segmentation QC")),
        beside="processor time "
        + " / ".join(f"{times[what]['median_processor_s']:.2f}" for what in ("image QC", "segmentation QC")),
        family="run-time",
    )


def _nnqc() -> Iterator[Goal]:
    rows = _metrics("hippocampus-nnqc")["predicted_dice"]
    names = (
        "nnQC: Dice with the mask it paints for the candidate",
        "second network: Dice with its mask",
    )
    ours, second = (" / ".join(_short(rows["all"][name][k][0]) for k in ("pearson_r", "mae")) for name in names)
    gain, low, high = rows["gain of the scorer by nnQC"]["mae_reduction"]
    yield Goal(
        what="nnQC alone, r / mean error (opt-in)",
        goal="",
        measured=ours,
        beside=f"second network {second}; nnQC takes {gain:.4f} ({low:.4f} to {high:.4f}) off the scorer's mean error",
        family="nnqc",
    )


def _brain() -> Iterator[Goal]:
    methods = {row["method"]: row for row in _metrics("brain-mask")["results"] if row["reference"] == "expert"}
    shipped = next(row for name, row in methods.items() if "shipped" in name)
    others = {name: row for name, row in methods.items() if row is not shipped}
    yield Goal(
        what="brain in whole heads, Dice with experts' masks",
        goal=".95",
        measured=_short(shipped["dice"]["mean"]),
        beside="; ".join(f"{name} {_short(row['dice']['mean'])}" for name, row in others.items()),
        family="brain-mask",
    )
    whole = [row for row in _metrics("flair-lesions")["examples"] if row["truth"] == "all lesions"]
    ours = next(row for row in whole if "shipped" in row["method"])
    rest = [row for row in whole if row is not ours]
    yield Goal(
        what="lesions of one patient: Dice, found, false",
        goal="",
        measured=_lesions(ours),
        beside="; ".join(f"{row['method']} {_lesions(row)}" for row in rest),
        family="lesions",
    )


def _lesions(row: Metrics) -> str:
    return f"{_short(row['dice'])}, {row['detected']} of {row['lesions']}, {row['false_lesions']:.0f}"


def _metrics(name: str) -> Metrics:
    found: Metrics = json.loads((find_model(name).folder / METRICS_FILE).read_text(encoding="utf-8"))
    return found


def _short(value: float) -> str:
    """Write 0.9123 as .912."""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _sum(rows: Any, key: str) -> int:
    return sum(int(row[key]) for row in rows)
