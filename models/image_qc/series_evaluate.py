"""Judge real DICOM series as images of every target: what is one is to be accepted, and nothing else.

Each series is judged for each target. A pair that `GOOD` names is a good image; every other pair is a real reject:
another sequence, another body part, a phantom, a localiser, an object that is no image, a series with a hole. Of the
good pairs rejects are made as well, so that they come with real headers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dicom_sr.acquisition import Acquisition
from dicom_sr.verdict import Outcome, decide
from dicom_sr.volume import Grid, Volume
from models.csv_file import write_csv
from models.image_qc.assess import assess_image, criteria_for
from models.image_qc.balance import balanced
from models.image_qc.simulation import Reject, rejected

SERIES_FILE = "dicom_series.csv"
SERIES_FOLDERS = (
    "brain_t1_siemens_dicom",
    "brain_tumor_mr_dicom",
    "converted_dicom",
    "ct_multiorgan_totalseg",
    "head_ct_ge_tilted_dicom",
    "mislabelled_phantom_ge_dicom",
    "odd_dicom",
    "prostate_mr_prostatex_dicom",
    "seg_sr",
)
"""Folders with DICOM series, below the folder of all data sets."""
_TARGETS = ("t1-hippocampus-crop", "t1-brain", "flair-brain", "mr-head")
_TUMOUR = "brain_tumor_mr_dicom/Study3"
GOOD: Mapping[str, tuple[str, ...]] = {
    "brain_t1_siemens_dicom": ("t1-brain", "mr-head"),
    f"{_TUMOUR}/11-T1post-18670": ("mr-head",),
    f"{_TUMOUR}/11_HCropVolume": ("t1-hippocampus-crop",),
    f"{_TUMOUR}/26401-T1prereg-52906": ("mr-head",),
    f"{_TUMOUR}/36468-FLAIRreg-58706": ("flair-brain", "mr-head"),
    f"{_TUMOUR}/37830-T2reg-78532": ("mr-head",),
    "converted_dicom/flair_ms_patient01_tp1": ("flair-brain", "mr-head"),
    "converted_dicom/hippocampus_001": ("t1-hippocampus-crop",),
    "odd_dicom/siemens_xa30_enhanced/In/5_anat-T1w_acq-tfl": ("t1-brain", "mr-head"),
}
"""Targets by series; thick-sliced T1 are no image for ``t1-brain``, which is for volumetry."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeriesImage:
    """One series.

    Parameters
    ----------
    name : str
        Folder below the folder of all data sets, with a number where it holds several series.
    volume : Volume or None
        None when the instances make no regular volume.
    acquisition : Acquisition
        Technical description.
    """

    name: str
    volume: Volume | None
    acquisition: Acquisition


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """What became of one series, or of a reject made of it, for one target.

    Parameters
    ----------
    series, target : str
        Which.
    made : str
        Kind of reject that was made of it; empty for the series as it is.
    good : int
        1 for an image the target is meant for.
    outcome, reasons : str
        Verdict, and the codes behind it.
    """

    series: str
    target: str
    made: str
    good: int
    outcome: str
    reasons: str


def judge_series(images: Iterable[SeriesImage]) -> Iterator[SeriesRow]:
    """Judge every series for every target, and rejects made of the good ones."""
    for image in images:
        for target in _TARGETS:
            is_good = target in GOOD.get(image.name, ())
            yield _row(image, target, "", good=is_good)
            if is_good and image.volume is not None:
                for made, wrong in _made_rejects(image.volume):
                    yield _row(replace(image, volume=wrong), target, made, good=False)


def write_series(rows: Iterable[SeriesRow], path: Path) -> None:
    """Write as CSV."""
    write_csv(path, [field.name for field in fields(SeriesRow)], (astuple(row) for row in rows))


def read_series(path: Path) -> list[SeriesRow]:
    """Read what `write_series` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [
            SeriesRow(
                series=row["series"],
                target=row["target"],
                made=row["made"],
                good=int(row["good"]),
                outcome=row["outcome"],
                reasons=row["reasons"],
            )
            for row in csv.DictReader(stream)
        ]


def series_figures(rows: Sequence[SeriesRow]) -> dict[str, Any]:
    """Count what was accepted of good series, and what was not of real rejects and of those made of good ones."""
    good = [row for row in rows if row.good]
    real = [row for row in rows if not row.good and not row.made]
    made = [row for row in rows if row.made]
    not_accepted = [row.outcome != Outcome.ACCEPT for row in rows]
    return {
        "series": len({row.series for row in rows}),
        "good series": {"pairs": len(good), "accepted": sum(r.outcome == Outcome.ACCEPT for r in good)},
        "good series rejected": sum(row.outcome == Outcome.REJECT for row in good),
        "real rejects": {"pairs": len(real), "not accepted": sum(r.outcome != Outcome.ACCEPT for r in real)},
        "made of good series": {
            kind: {
                "pairs": sum(row.made == kind for row in made),
                "not accepted": sum(row.made == kind and row.outcome != Outcome.ACCEPT for row in made),
            }
            for kind in dict.fromkeys(row.made for row in made)
        },
        "balanced_accuracy": round(balanced(not_accepted, [not row.good for row in rows]), 4),
    }


def _row(image: SeriesImage, target: str, made: str, *, good: bool) -> SeriesRow:
    found = assess_image(image.volume, image.acquisition, target=target, stage="image_qc")
    verdict = decide(found, criteria_for(target))
    return SeriesRow(
        series=image.name,
        target=target,
        made=made,
        good=int(good),
        outcome=str(verdict.outcome),
        reasons=" ".join(dict.fromkeys(reason.code for reason in verdict.reasons)),
    )


def _made_rejects(volume: Volume) -> Iterator[tuple[str, Volume]]:
    random = np.random.default_rng(0)
    for kind in Reject:
        yield kind.replace("_", " ").lower(), rejected(volume, kind, random)
    yield "constant", replace(volume, voxels=np.full_like(volume.voxels, 3.0))
    yield "a third of the slices", _cut(volume, slice(0, max(1, volume.grid.shape[0] // 3)))


def _cut(volume: Volume, kept: slice) -> Volume:
    voxels = np.ascontiguousarray(volume.voxels[kept])
    depth, height, width = voxels.shape
    return replace(volume, voxels=voxels, grid=Grid(shape=(depth, height, width), affine=volume.grid.affine))
