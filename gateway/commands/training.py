"""Verbs about models: models, train."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands import data_sets
from gateway.commands.output import AsJson, ExitCode, end, print_json, print_table

DataFolderArgument = Annotated[
    Path,
    typer.Argument(help="Folder with the data, or the folder that holds all data sets.", exists=True, file_okay=False),
]
#: What training leaves for evaluation and does not ship: snapshots, tables of candidates.
WORK = Path(".work")


class Trainable(StrEnum):
    """What can be trained.

    ``nnqc-further`` goes on from the shipped nnQC in place of starting anew; ``nnqc-calibration`` leaves its networks
    as they are and fits scorer and thresholds to the QC model that ships now.
    """

    SEGMENTATION = "segmentation"
    SEGMENTATION_QC = "segmentation-qc"
    NNQC = "nnqc"
    NNQC_FURTHER = "nnqc-further"
    NNQC_CALIBRATION = "nnqc-calibration"
    IMAGE_QC = "image-qc"
    BRAIN_MASK = "brain-mask"
    LESIONS = "lesions"


def models(
    verify: Annotated[bool, typer.Option("--verify", help="Check every file against the SHA-256 in its card.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the shipped models with their digests."""
    from models.errors import ModelError
    from models.registry import shipped_models
    from models.registry import verify as verify_card

    rows: list[dict[str, Any]] = []
    for card in shipped_models():
        row: dict[str, Any] = {"name": card.name, "version": card.version, "kind": card.kind, "digest": card.digest}
        row["labels"] = list(card.labels)
        if verify:
            try:
                verify_card(card)
                row["verified"] = "ok"
            except ModelError as error:
                row["verified"] = error.detail
        rows.append(row)
    if as_json:
        print_json(rows)
    else:
        columns = ("name", "version", "kind", "digest", *(("verified",) if verify else ()))
        print_table(columns, [[str(row[name])[:60] for name in columns] for row in rows], empty="no models are shipped")
    if any(row.get("verified", "ok") != "ok" for row in rows):
        end(ExitCode.FAILED, "a model is not the one its card describes")


def train(
    family: Annotated[Trainable, typer.Argument(help="Models to train.")],
    data: DataFolderArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets a weights folder for each model.")],
    task: Annotated[str, typer.Option(help="Only this segmentation model, by the name of its weights.")] = "",
    minutes: Annotated[float | None, typer.Option(min=0, help="Longest training of each model, minutes.")] = None,
    seed: Annotated[int, typer.Option(help="Where random numbers start.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Train the networks of a model family.

    Patients are split by the code; those of calibration and test are never trained on.
    """
    from gateway import logs

    logs.configure()
    folder = data_sets.hippocampus_folder(data)
    budget = _Budget(minutes=minutes, seed=seed, threads=threads)
    match family:
        case Trainable.SEGMENTATION:
            written = _train_segmentation(folder, out, task, budget)
        case Trainable.SEGMENTATION_QC:
            written = [_train_segmentation_qc(folder, out, budget)]
        case Trainable.NNQC | Trainable.NNQC_FURTHER:
            written = [_train_nnqc(folder, out, budget, further=family is Trainable.NNQC_FURTHER)]
        case Trainable.NNQC_CALIBRATION:
            written = [_calibrate_nnqc(folder, out, budget)]
        case Trainable.IMAGE_QC:
            written = [_train_image_qc(folder, out)]
        case Trainable.BRAIN_MASK | Trainable.LESIONS:
            written = _train_brain(family, data, out, budget)
    if as_json:
        print_json({"weights": [str(path) for path in written]})
    else:
        for path in written:
            typer.echo(f"wrote {path}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Budget:
    """What a training may cost, and where its random numbers start."""

    minutes: float | None
    seed: int
    threads: int


def _train_segmentation(data: Path, out: Path, task: str, budget: _Budget) -> list[Path]:
    from models.segmentation.task import TASKS, task_named
    from models.segmentation.train import TrainingSettings, train

    settings = TrainingSettings(minutes=budget.minutes, seed=budget.seed, threads=budget.threads)
    names = [task_named(task).name] if task else [one.name for one in TASKS]
    return [train(data, out / name, task=name, settings=settings) for name in names]


def _train_segmentation_qc(data: Path, out: Path, budget: _Budget) -> Path:
    from models.segmentation_qc.train import NAME, QcTrainingSettings, train

    settings = QcTrainingSettings(minutes=budget.minutes, seed=budget.seed, threads=budget.threads)
    return train(data, out / NAME, work=WORK / NAME, settings=settings)


def _train_nnqc(data: Path, out: Path, budget: _Budget, *, further: bool) -> Path:
    from models.registry import find_model
    from models.segmentation_qc.nnqc.evaluate import train_and_calibrate
    from models.segmentation_qc.nnqc.train import NAME, NnqcTrainingSettings, continue_from
    from models.segmentation_qc.train import NAME as COMPANION

    settings = NnqcTrainingSettings(minutes=budget.minutes, seed=budget.seed, threads=budget.threads)
    if further:
        settings = continue_from(find_model(NAME), WORK / NAME, settings)
    return train_and_calibrate(data, out / NAME, work=WORK / NAME, failures=WORK / COMPANION, settings=settings)


def _calibrate_nnqc(data: Path, out: Path, budget: _Budget) -> Path:
    import torch

    from models.segmentation_qc.nnqc.evaluate import calibrate_shipped
    from models.segmentation_qc.nnqc.train import NAME

    torch.set_num_threads(budget.threads)
    return calibrate_shipped(data, out / NAME)


def _train_brain(family: Trainable, data: Path, out: Path, budget: _Budget) -> list[Path]:
    from gateway.commands.brain_models import train_brain_mask, train_lesions
    from models.brain.heads import DATA_SETS
    from models.brain.train import BrainTrainingSettings

    data_sets.need(data, DATA_SETS, why=f"train {family}")
    settings = BrainTrainingSettings(minutes=budget.minutes, seed=budget.seed, threads=budget.threads)
    train_them = train_brain_mask if family is Trainable.BRAIN_MASK else train_lesions
    return train_them(data, out, work=WORK, settings=settings)


def _train_image_qc(data: Path, out: Path) -> Path:
    from models.image_qc.likeness import WEIGHTS_NAME
    from models.image_qc.train import train

    return train(data, out / WEIGHTS_NAME)
