"""Measure image QC on test patients: good crops, graded degradations of them, and images no pipeline should take."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_sr.acquisition import Acquisition
from dicom_sr.verdict import Outcome, decide
from dicom_sr.volume import Grid, Volume
from models.card import METRICS_FILE
from models.csv_file import write_csv
from models.errors import UnusableVolume
from models.image_qc.adapt_figures import SCANS_FILE, figures_of, read_rows
from models.image_qc.artefacts import Artefact, degrade
from models.image_qc.assess import assess_image, criteria_for
from models.image_qc.likeness import WEIGHTS_NAME
from models.image_qc.ratings_evaluate import RATINGS_FILE, SCORES_FILE, rating_figures, score_ratings
from models.image_qc.series_evaluate import (
    SERIES_FILE,
    SERIES_FOLDERS,
    SeriesImage,
    judge_series,
    read_series,
    series_figures,
    write_series,
)
from models.nifti import read_nifti
from models.registry import find_model
from models.split import Split, split_patients

IMAGES_FILE = "test_images.csv"
_CROP, _FLAIR = "t1-hippocampus-crop", "flair-brain"
_GRADES = {"mild": 0.35, "severe": 0.85}
_HEADS, _OTHER_PARTS, _RATINGS = "ms_lesion_nifti", "spinal_cord", "qc_ratings"
#: Folders of everything that is measured, below the folder that holds all data sets.
DATA_SETS = ("hippocampus_msd", _HEADS, _OTHER_PARTS, _RATINGS, *SERIES_FOLDERS)
_NO_HEADER = Acquisition(modality="", sop_class_uid="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One image and what became of it.

    Parameters
    ----------
    image : str
        Case name.
    kind : str
        ``good``, ``mild``, ``severe`` or ``reject``.
    variant : str
        Which artefact or which reject.
    target : str
        Image target.
    outcome, reasons : str
        Verdict, and the codes behind it.
    tier : str
        1 clean, 2 mildly, 3 severely degraded; empty where not graded.
    """

    image: str
    kind: str
    variant: str
    target: str
    outcome: str
    tier: str
    reasons: str


def evaluate(data: Path, out: Path | None = None, *, series: Iterable[SeriesImage] = ()) -> Mapping[str, Any]:
    """Judge every image and write ``test_images.csv``, ``dicom_series.csv`` and ``metrics.json``.

    Parameters
    ----------
    data : Path
        Folder ``hippocampus_msd`` with ``images/NAME.nii.gz``; whole heads and other body parts are looked for in the
        folders ``ms_lesion_nifti`` and ``spinal_cord`` beside it, real ratings in ``qc_ratings``; all are left out
        where absent.
    out : Path, optional
        Folder for the report; None: the weights folder.
    series : iterable of SeriesImage
        Real DICOM series; models read no DICOM themselves.
    """
    folder = out or find_model(WEIGHTS_NAME).folder
    write_images(_judge_all(data), folder / IMAGES_FILE)
    if judged := list(judge_series(series)):
        write_series(judged, folder / SERIES_FILE)
    ratings = data.parent / _RATINGS / RATINGS_FILE
    if ratings.is_file():
        score_ratings(ratings, folder)
    return figures_again(folder)


def figures_again(folder: Path) -> dict[str, Any]:
    """Compute ``metrics.json`` anew from the tables in `folder`."""
    rows = read_images(folder / IMAGES_FILE)
    figures: dict[str, Any] = {
        "images": len(rows),
        "good": _share(rows, "good", ""),
        "good_heads": _share([r for r in rows if r.target == _FLAIR], "good", ""),
        "reject": {v: _share(rows, "reject", v) for v in _variants(rows, "reject")},
        "mild": {v: _share(rows, "mild", v) for v in _variants(rows, "mild")},
        "severe": {v: _share(rows, "severe", v) for v in _variants(rows, "severe")},
        "balanced_accuracy_not_accepted": {
            kind: round(_balanced(rows, kind), 4) for kind in ("reject", "severe", "mild")
        },
        "balanced_accuracy_tier": {
            "severe (tier 3) against clean": round(_tier_accuracy(rows, "severe", least=3), 4),
            "severe (tier 3) against clean and mild": round(
                _tier_accuracy(rows, "severe", least=3, rest=("good", "mild")), 4
            ),
            "mild (tier 2 or 3) against clean": round(_tier_accuracy(rows, "mild", least=2), 4),
        },
        "note": "degradations are simulated; clinical data will differ",
    }
    if (folder / SERIES_FILE).is_file():
        figures["dicom_series"] = series_figures(read_series(folder / SERIES_FILE))
    if (folder / SCORES_FILE).is_file():
        figures["real_ratings"] = rating_figures(folder)
    if (folder / SCANS_FILE).is_file():
        figures["adaptation"] = figures_of(read_rows(folder / SCANS_FILE))
    (folder / METRICS_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def write_images(rows: Iterable[Judged], path: Path) -> None:
    """Write as CSV."""
    write_csv(path, [field.name for field in fields(Judged)], (astuple(row) for row in rows))


def read_images(path: Path) -> list[Judged]:
    """Read what `write_images` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [Judged(**row) for row in csv.DictReader(stream)]


def _judge_all(data: Path) -> Iterator[Judged]:
    names = split_patients(p.name.removesuffix(".nii.gz") for p in (data / "images").glob("*.nii.gz"))[Split.TEST]
    if not names:
        raise UnusableVolume("the folder holds no images/NAME.nii.gz of patients to test on")
    for number, name in enumerate(names):
        volume = read_nifti(data / "images" / f"{name}.nii.gz")
        yield from _judge_one(name, volume, _CROP, seed=number)
        for variant, wrong in _crop_rejects(volume, seed=number):
            yield _judged(name, "reject", variant, wrong, _CROP)
    folder = data.parent / _HEADS
    for path in sorted((folder / "longitudinal" / "raw").rglob("*FLAIR.nii.gz")):
        volume = read_nifti(path)
        name = f"{path.parent.name} {path.name.removesuffix('.nii.gz')}"
        yield _judged(name, "good", "", volume, _FLAIR)
        for variant, wrong in _head_rejects(volume):
            yield _judged(name, "reject", variant, wrong, _FLAIR)
    for path in sorted((folder / "cross_sectional_MNI").glob("*/*_N4_regtoMNI.nii.gz")):
        sequence = path.name.partition("_")[0]
        for corner, patch in enumerate(_patches(read_nifti(path), seed=len(sequence))):
            name = f"{path.parent.name} {sequence} {corner}"
            yield _judged(name, "reject", f"1 mm {sequence} crop of another place", patch, _CROP)
    for path in sorted((data.parent / _OTHER_PARTS / "t2").glob("t2.nii.gz")):
        yield _judged("spinal cord", "reject", "another body part", read_nifti(path), _CROP)


def _judge_one(name: str, volume: Volume, target: str, *, seed: int) -> Iterator[Judged]:
    yield _judged(name, "good", "", volume, target)
    for artefact in Artefact:
        for grade, severity in _GRADES.items():
            random = np.random.default_rng([seed, list(Artefact).index(artefact), len(grade)])
            yield _judged(name, grade, str(artefact), degrade(volume, artefact, severity, random), target)


def _crop_rejects(volume: Volume, *, seed: int) -> Iterator[tuple[str, Volume]]:
    voxels, (depth, _, _) = volume.voxels, volume.grid.shape
    noise = np.random.default_rng(seed).normal(voxels.mean(), voxels.std(), voxels.shape).astype(np.float32)
    yield "inverted contrast", replace(volume, voxels=voxels.max() - voxels)
    yield "noise only", replace(volume, voxels=noise)
    yield "label map", replace(volume, voxels=np.digitize(voxels, np.quantile(voxels, [0.5, 0.9])).astype(np.float32))
    yield "constant", replace(volume, voxels=np.full_like(voxels, 3.0))
    yield "truncated", _cut(volume, slice(0, depth // 3))
    yield "every fourth slice", _thick(volume, 4)
    yield "head and foot turned", replace(volume, voxels=np.ascontiguousarray(voxels[::-1]))


def _head_rejects(volume: Volume) -> Iterator[tuple[str, Volume]]:
    voxels, (depth, _, _) = volume.voxels, volume.grid.shape
    ball = (_from_middle_mm(volume) < 85.0).astype(np.float32)
    noise = np.random.default_rng(0).normal(0.0, 0.04, voxels.shape)
    yield "half the head", _cut(volume, slice(0, depth // 2))
    yield "noise only", replace(volume, voxels=np.abs(noise).astype(np.float32))
    yield "even ball", replace(volume, voxels=np.hypot(ball + noise, noise).astype(np.float32))
    yield "constant", replace(volume, voxels=np.full_like(voxels, 3.0))
    yield "mask", replace(volume, voxels=ball)


def _from_middle_mm(volume: Volume) -> npt.NDArray[np.float64]:
    lengths = zip(volume.grid.shape, volume.grid.spacing, strict=True)
    z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in lengths], indexing="ij", sparse=True)
    return np.asarray(np.sqrt(z * z + y * y + x * x))


def _cut(volume: Volume, kept: slice) -> Volume:
    voxels = np.ascontiguousarray(volume.voxels[kept])
    depth, height, width = voxels.shape
    return replace(volume, voxels=voxels, grid=Grid(shape=(depth, height, width), affine=volume.grid.affine))


def _thick(volume: Volume, every: int) -> Volume:
    voxels = np.ascontiguousarray(volume.voxels[::every])
    depth, height, width = voxels.shape
    affine = volume.grid.affine @ np.diag([every, 1.0, 1.0, 1.0])
    return replace(volume, voxels=voxels, grid=Grid(shape=(depth, height, width), affine=affine))


def _patches(volume: Volume, *, seed: int, count: int = 10) -> Iterator[Volume]:
    """Cut crops of the wanted size, 1 mm in plane as near as it goes, from inside the head."""
    random = np.random.default_rng(seed)
    size = [max(8, round(mm / s)) for mm, s in zip((36, 50, 36), volume.grid.spacing, strict=True)]
    bright = float(np.quantile(volume.voxels, 0.8))
    made = 0
    while made < count:
        corner = [int(random.integers(0, n - s + 1)) for n, s in zip(volume.grid.shape, size, strict=True)]
        z, y, x = (slice(c, c + s) for c, s in zip(corner, size, strict=True))
        voxels = np.ascontiguousarray(volume.voxels[z, y, x])
        if float((voxels > bright).mean()) < 0.3:
            continue
        made += 1
        depth, height, width = voxels.shape
        yield replace(volume, voxels=voxels, grid=Grid(shape=(depth, height, width), affine=volume.grid.affine))


def _judged(name: str, kind: str, variant: str, volume: Volume, target: str) -> Judged:
    found = assess_image(volume, _NO_HEADER, target=target, stage="image_qc")
    verdict = decide(found, criteria_for(target))
    return Judged(
        image=name,
        kind=kind,
        variant=variant,
        target=target,
        outcome=str(verdict.outcome),
        tier=next((f"{f.value:.0f}" for f in found if f.code == "QUALITY_TIER"), ""),
        reasons=" ".join(dict.fromkeys(reason.code for reason in verdict.reasons)),
    )


def _variants(rows: Sequence[Judged], kind: str) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows if row.kind == kind))


def _share(rows: Sequence[Judged], kind: str, variant: str) -> dict[str, Any]:
    outcomes = [row.outcome for row in rows if row.kind == kind and row.variant == variant]
    counted = {str(outcome): outcomes.count(str(outcome)) for outcome in Outcome}
    return {"images": len(outcomes), **counted}


def _balanced(rows: Sequence[Judged], kind: str) -> float:
    """Mean of the share of good images accepted and the share of `kind` not accepted."""
    good = [row.outcome == Outcome.ACCEPT for row in rows if row.kind == "good"]
    other = [row.outcome != Outcome.ACCEPT for row in rows if row.kind == kind]
    return (float(np.mean(good)) + float(np.mean(other))) / 2 if good and other else math.nan


def _tier_accuracy(rows: Sequence[Judged], kind: str, *, least: int, rest: Sequence[str] = ("good",)) -> float:
    """Balanced accuracy of telling `kind` from the `rest` by a tier of at least `least`."""
    graded = [row for row in rows if row.tier]
    good = [int(row.tier) < least for row in graded if row.kind in rest]
    other = [int(row.tier) >= least for row in graded if row.kind == kind]
    return (float(np.mean(good)) + float(np.mean(other))) / 2 if good and other else math.nan
