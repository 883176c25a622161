"""The models a pipeline names: their cards, their digests for the keys, the criteria that come with them."""

from __future__ import annotations

from dataclasses import asdict

from dicom_sr.verdict import Criterion
from gateway.domain.errors import ConfigurationError
from gateway.domain.keys import Json, StageIdentity, digest_of
from gateway.domain.pipeline import Stage, StageKind
from models.errors import ModelError
from models.image_qc.assess import criteria_for as image_criteria
from models.registry import ModelCard, find_model
from models.segmentation_qc.assess import criteria_for as segmentation_criteria

#: Raised whenever the outputs of that kind of work may change for equal inputs.
CODE_VERSION = {
    StageKind.IMAGE_QC: "1",
    StageKind.SEGMENTATION: "1",
    StageKind.MEASURE: "1",
    StageKind.SEGMENTATION_QC: "1",
    StageKind.REPORT: "1",
    StageKind.SIGN_OFF: "1",
}


class Catalogue:
    """Model cards by the name or folder that stages give; each is looked up and hashed once."""

    def __init__(self) -> None:
        self._cards: dict[str, ModelCard] = {}

    def card(self, stage: Stage) -> ModelCard | None:
        """Return the card of a stage's model, None where the stage names none.

        Raises
        ------
        ConfigurationError
            If the model cannot be found or its files were changed.
        """
        if not stage.model:
            return None
        if stage.model not in self._cards:
            try:
                self._cards[stage.model] = find_model(stage.model)
            except ModelError as error:
                raise ConfigurationError(f"stage '{stage.name}': {error.detail}", code=error.code) from None
        return self._cards[stage.model]

    def identity(self, stage: Stage) -> StageIdentity:
        """Return what a stage is, for its key."""
        card = self.card(stage)
        return StageIdentity(
            stage=stage.name,
            kind=stage.kind,
            code_version=CODE_VERSION[stage.kind],
            model_digest=card.digest if card else "",
            parameters=_parameters(stage),
        )

    def criteria(self, stage: Stage) -> tuple[Criterion, ...]:
        """Return the thresholds of a stage: those of the configuration, then its model's for codes not named there."""
        own = stage.criteria
        named = {(criterion.code, criterion.segment) for criterion in own}
        return own + tuple(c for c in self._model_criteria(stage) if (c.code, c.segment) not in named)

    def _model_criteria(self, stage: Stage) -> tuple[Criterion, ...]:
        if stage.kind is StageKind.IMAGE_QC:
            return image_criteria(str(stage.parameters.get("target", "any")))
        card = self.card(stage)
        if stage.kind is StageKind.SEGMENTATION_QC and card is not None:
            return segmentation_criteria(card)
        return ()


def criteria_version(criteria: tuple[Criterion, ...]) -> str:
    """Return a short digest that names this very set of thresholds."""
    return digest_of([asdict(criterion) for criterion in criteria])[:12]


def _parameters(stage: Stage) -> dict[str, Json]:
    return {
        "segments": digest_of([asdict(segment) for segment in stage.segments]),
        "command": list(stage.command),
        **stage.parameters,
    }
