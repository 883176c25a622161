"""The verb evaluate: measure models on patients they never saw, one family of them or all."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands import data_sets
from gateway.commands.output import AsJson, print_json
from gateway.commands.training import WORK, DataFolderArgument


class Evaluable(StrEnum):
    """What can be evaluated, in the order in which ``all`` does."""

    SEGMENTATION = "segmentation"
    SEGMENTATION_QC = "segmentation-qc"
    NNQC = "nnqc"
    IMAGE_QC = "image-qc"
    IMAGE_QC_ADAPTATION = "image-qc-adaptation"
    BRAIN_MASK = "brain-mask"
    LESIONS = "lesions"
    RUN_TIME = "run-time"
    ALL = "all"


def evaluate(
    family: Annotated[Evaluable, typer.Argument(help="Models to measure.")],
    data: DataFolderArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the reports; the weights' own folders when left out.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            help="Markdown file whose table of goals and figures is written anew from the weights' own reports.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models on patients they never saw.

    Writes metrics.json and one row per case, with confidence intervals and a simple baseline beside each figure.
    """
    chosen = [one for one in Evaluable if one is not Evaluable.ALL] if family is Evaluable.ALL else [family]
    for one in chosen:
        _need_data(one, data, out)
    reports = {}
    for one in chosen:
        target = out / one.value if out is not None and family is Evaluable.ALL else out
        reports[one.value] = _measure(one, data, target)
    if table is not None:
        from models.measured import write_into

        write_into(table)
    if as_json or family is not Evaluable.SEGMENTATION:
        print_json(reports if family is Evaluable.ALL else reports[family.value])
        return
    from models.segmentation.evaluate import table as as_lines

    for line in as_lines(reports[family.value]):
        typer.echo(line)


def _need_data(family: Evaluable, data: Path, out: Path | None) -> None:
    """End the verb before a report beside shipped weights is written over with less."""
    match family:
        case Evaluable.BRAIN_MASK | Evaluable.LESIONS:
            from models.brain.heads import DATA_SETS as heads

            data_sets.need(data, heads, why=f"evaluate {family}")
        case Evaluable.IMAGE_QC_ADAPTATION:
            from models.image_qc.real_scans import DATA_SETS as scans

            data_sets.need(data, scans, why=f"evaluate {family}")
        case Evaluable.IMAGE_QC if out is None:
            from models.image_qc.evaluate import DATA_SETS as images

            data_sets.need(data, images, why=f"evaluate {family} without --out")
        case _:
            # Each says itself what it does not find.
            return


def _measure(family: Evaluable, data: Path, out: Path | None) -> Mapping[str, Any]:
    match family:
        case Evaluable.IMAGE_QC:
            return _evaluate_image_qc(data, out)
        case Evaluable.IMAGE_QC_ADAPTATION:
            return _study_adaptation(data, out)
        case Evaluable.BRAIN_MASK:
            from gateway.commands.brain_models import evaluate_brain_mask

            return evaluate_brain_mask(data, out, work=WORK)
        case Evaluable.LESIONS:
            from gateway.commands.brain_models import evaluate_lesions

            return evaluate_lesions(data, out, work=WORK)
        case _:
            from models.evaluate import Family
            from models.evaluate import evaluate as measure

            return measure(Family(family.value), data_sets.hippocampus_folder(data), out)


def _evaluate_image_qc(data: Path, out: Path | None) -> Mapping[str, Any]:
    from gateway.commands.dicom_series import read_every_series
    from models.image_qc.evaluate import evaluate as evaluate_image_qc

    return evaluate_image_qc(data_sets.hippocampus_folder(data), out, series=read_every_series(data))


def _study_adaptation(data: Path, out: Path | None) -> Mapping[str, Any]:
    """Train and test the two-headed network for every seed; its table lies beside those of image QC."""
    import torch

    from gateway.commands.dicom_heads import read_dicom_heads
    from models.image_qc.adapt_evaluate import study_adaptation
    from models.image_qc.adapt_figures import SCANS_FILE, figures_of, read_rows
    from models.image_qc.evaluate import figures_again
    from models.image_qc.likeness import WEIGHTS_NAME
    from models.registry import find_model

    torch.set_num_threads(1)
    folder = out or find_model(WEIGHTS_NAME).folder
    study_adaptation(data, read_dicom_heads(data), folder, work=WORK / "image-qc-adaptation")
    if out is None:
        figures_again(folder)
    return figures_of(read_rows(folder / SCANS_FILE))
