"""A pipeline: which series it takes, its stages as a graph, who gets the outputs, and its door policy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_sr.acquisition import Acquisition
from dicom_sr.segmentation import Segment
from dicom_sr.verdict import Criterion
from gateway.domain.keys import Json


class StageKind(StrEnum):
    """Kinds of work a stage can do."""

    IMAGE_QC = "image_qc"
    SEGMENTATION = "segmentation"
    MEASURE = "measure"
    SEGMENTATION_QC = "segmentation_qc"
    REPORT = "report"
    SIGN_OFF = "sign_off"


class OutputKind(StrEnum):
    """Kinds of objects a pipeline sends out."""

    SEG = "SEG"
    IMAGE_QC_SR = "IMAGE_QC_SR"
    SEG_QC_SR = "SEG_QC_SR"
    SUMMARY_SC = "SUMMARY_SC"
    SUMMARY_PDF = "SUMMARY_PDF"
    KOS = "KOS"
    PROBABILITY_SEG = "PROBABILITY_SEG"
    PSEUDO_TRUTH_SEG = "PSEUDO_TRUTH_SEG"


#: Kinds that go to a destination only where it names them: a rejection makes an archive hide images, and maps and a QC
#: network's own masks must not turn up among results where nobody asked for them.
ASKED_FOR_KINDS = frozenset({OutputKind.KOS, OutputKind.PROBABILITY_SEG, OutputKind.PSEUDO_TRUTH_SEG})
#: Parameter of a segmentation stage: keep its probability maps, for PROBABILITY_SEG.
PROBABILITIES = "probabilities"
#: Kinds that hold masks or maps.
SEGMENTATION_KINDS = frozenset({OutputKind.SEG, OutputKind.PROBABILITY_SEG, OutputKind.PSEUDO_TRUTH_SEG})


class EditDoor(StrEnum):
    """Whether an edited SEG is itself the request to reprocess, or must be asked for first."""

    OPEN = "open"
    ON_REQUEST = "on_request"


class RerunPolicy(StrEnum):
    """Whether an accepted edit restarts the pipeline at once, or a person confirms."""

    AUTO = "auto"
    ASK = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """Which series a pipeline takes; every given condition must hold, text patterns ignore case.

    Parameters
    ----------
    called_aet : tuple of str
        Called AE titles; empty for any.
    modality : tuple of str
        Modality values; empty for any.
    body_part : tuple of str
        Body Part Examined values; a series without that attribute is not refused.
    description : str
        Regular expression searched in Series Description, Protocol Name and Sequence Name; empty for any.
    exclude_description : str
        Regular expression that must not be found there.
    extent_mm : tuple of float, (smallest, largest) or None
        Bounds of the largest extent of the field of view.
    minimum_slices : int
        Fewest frames.
    """

    called_aet: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: str = ""
    exclude_description: str = ""
    extent_mm: tuple[float, float] | None = None
    minimum_slices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeScope:
    """How far an edit of a stage may go before a person must confirm it.

    Parameters
    ----------
    minimum_dice : float
        Least Dice of a segment with its prior.
    maximum_volume_ratio : float
        Greatest ratio of a segment's volumes.
    overlap : bool
        Whether segments may overlap.
    """

    minimum_dice: float = 0.3
    maximum_volume_ratio: float = 3.0
    overlap: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of a pipeline.

    Parameters
    ----------
    name : str
        Unique in the pipeline.
    kind : StageKind
        The work it does.
    needs : tuple of str
        Stages whose outputs it takes.
    model : str
        Name of shipped weights, or a folder with weights or a MONAI bundle; empty where the kind needs none.
    command : tuple of str
        An external program in place of a model, with ``{image}``, ``{region}``, ``{output}`` placeholders.
    editable : bool
        Whether its SEG goes out and may come back edited.
    segments : tuple of Segment
        What it segments.
    criteria : tuple of Criterion
        Thresholds, beside those that come with its model.
    parameters : mapping
        Further parameters of the kind.
    scope : ChangeScope
        Bounds of an edit.
    """

    name: str
    kind: StageKind
    needs: tuple[str, ...] = ()
    model: str = ""
    command: tuple[str, ...] = ()
    editable: bool = False
    segments: tuple[Segment, ...] = ()
    criteria: tuple[Criterion, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    scope: ChangeScope = ChangeScope()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline as declared; `domain.plan.check` says whether its graph is sound."""

    name: str
    version: str
    title: str = ""
    match: MatchRule = MatchRule()
    stages: tuple[Stage, ...] = ()
    outputs: tuple[OutputKind, ...] = (
        OutputKind.SEG,
        OutputKind.IMAGE_QC_SR,
        OutputKind.SEG_QC_SR,
        OutputKind.SUMMARY_SC,
    )
    destinations: tuple[str, ...] = ()
    edits: EditDoor = EditDoor.OPEN
    rerun: RerunPolicy = RerunPolicy.AUTO
    iteration_cap: int = 50

    def stage(self, name: str) -> Stage:
        """Return the stage of this name.

        Raises
        ------
        KeyError
            If there is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    @property
    def editable_stages(self) -> tuple[Stage, ...]:
        """Stages whose SEG goes out and may come back edited."""
        return tuple(stage for stage in self.stages if stage.editable)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMatch:
    """Why a series is not taken by a pipeline: an explained outcome, not an error."""

    pipeline: str
    reason: str


def match(pipeline: Pipeline, acquisition: Acquisition, *, called_aet: str) -> NoMatch | None:
    """Return None when `pipeline` takes the series, else the first condition that does not hold."""
    for holds, reason in _conditions(pipeline.match, acquisition, called_aet):
        if not holds:
            return NoMatch(pipeline=pipeline.name, reason=reason)
    return None


def _conditions(rule: MatchRule, acquisition: Acquisition, called_aet: str) -> Sequence[tuple[bool, str]]:
    text = "\n".join((acquisition.series_description, acquisition.protocol_name, acquisition.sequence_name))
    body_part = acquisition.body_part_examined.upper()
    extent = _largest_extent(acquisition)
    return (
        (
            not rule.called_aet or called_aet in rule.called_aet,
            f"called AE title is not one of {_list(rule.called_aet)}",
        ),
        (not rule.modality or acquisition.modality in rule.modality, f"modality is not {_list(rule.modality)}"),
        (
            not rule.body_part or not body_part or body_part in (b.upper() for b in rule.body_part),
            f"body part examined is not {_list(rule.body_part)}",
        ),
        (
            not rule.description or re.search(rule.description, text, re.IGNORECASE) is not None,
            f"no description matches /{rule.description}/",
        ),
        (
            not rule.exclude_description or re.search(rule.exclude_description, text, re.IGNORECASE) is None,
            f"a description matches /{rule.exclude_description}/, which is excluded",
        ),
        (
            acquisition.frame_count >= rule.minimum_slices,
            f"{acquisition.frame_count} slices, fewer than {rule.minimum_slices}",
        ),
        (
            rule.extent_mm is None or extent is None or rule.extent_mm[0] <= extent <= rule.extent_mm[1],
            f"largest extent of {extent or 0:.0f} mm is outside {rule.extent_mm}",
        ),
    )


def _list(values: tuple[str, ...]) -> str:
    return " or ".join(values)


def _largest_extent(acquisition: Acquisition) -> float | None:
    if acquisition.spacing is None:
        return None
    z, y, x = acquisition.spacing
    return max(acquisition.frame_count * z, acquisition.rows * y, acquisition.columns * x)
