"""Verbs about models: models, train, evaluate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.commands.output import AsJson, ExitCode, end, print_json, print_table

DataArgument = Annotated[Path, typer.Argument(help="Folder with the data.", exists=True, file_okay=False)]


class Trainable(StrEnum):
    """What can be trained."""

    SEGMENTATION = "segmentation"
    SEGMENTATION_QC = "segmentation-qc"


class Evaluable(StrEnum):
    """What can be evaluated."""

    SEGMENTATION = "segmentation"
    SEGMENTATION_QC = "segmentation-qc"
    IMAGE_QC = "image-qc"
    ALL = "all"


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
