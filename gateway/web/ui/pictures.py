"""Pictures of a case: the viewer as a fragment, and its slices as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse

from dicom_sr.errors import DicomObjectError
from gateway.domain.errors import GatewayError
from gateway.services.case_record import case_record
from gateway.services.pictures import CaseMoment, Comparison, PictureSet, Plane
from gateway.web.request import Provided, RowNumber, Viewer
from gateway.web.ui.render import Pages, pages_of

router = APIRouter(include_in_schema=False)

#: Thumbnails in the montage.
_THUMBNAILS = 12


class PlaneName(StrEnum):
    """A plane as it stands in a URL."""

    Z = "z"
    Y = "y"
    X = "x"

    @property
    def plane(self) -> Plane:
        """The plane."""
        return Plane[self.name]


def _moment(case_id: str, generation: RowNumber, iteration: RowNumber) -> CaseMoment:
    return CaseMoment(case_id=case_id, generation=generation, iteration=iteration)


Moment = Annotated[CaseMoment, Depends(_moment)]
_SLICE = "/cases/{case_id}/pictures/{generation}/{iteration}/{plane}/{index}"


@router.get("/cases/{case_id}/pictures", response_class=HTMLResponse)
def show_pictures(
    services: Provided,
    _: Viewer,
    pages: Annotated[Pages, Depends(pages_of)],
    moment: Moment,
    *,
    plane: PlaneName = PlaneName.Z,
    stage: str = "",
    second: bool = False,
) -> HTMLResponse:
    """Return the viewer of one iteration in one plane.

    It compares before and after an edit when a stage is named, the second opinion with the result when that is wanted.
    """
    case = case_record(services.database, moment.case_id)
    iteration = case.iteration_at(moment.generation, moment.iteration)
    edited = list(dict.fromkeys(edit.stage for edit in iteration.edits)) if iteration else []
    compared = Comparison(stage=stage) if stage or second else None
    try:
        described = services.pictures.describe(moment, plane.plane, compared=compared)
    except (GatewayError, DicomObjectError) as error:
        return pages.fragment("no_pictures.html", reason=error.detail)
    # Worst slices are numbered as acquired: in another plane they name nothing.
    worst = described.worst if plane is PlaneName.Z else {}
    return pages.fragment(
        "pictures.html",
        here=f"/cases/{moment.case_id}/pictures?generation={moment.generation}&iteration={moment.iteration}",
        slices=f"/cases/{moment.case_id}/pictures/{moment.generation}/{moment.iteration}/{plane}",
        set=described,
        stage=stage,
        second=second and not stage,
        edited=edited,
        modes=_modes(stage, second=second),
        worst=worst,
        montage=_montage(described, worst),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way to draw on the slices: its word on a button and the end of the picture's URL."""

    label: str
    picture: str


def _modes(stage: str, *, second: bool) -> tuple[Mode, ...]:
    """Ways to draw, the first one to begin with; more than one are offered as buttons."""
    if stage:
        query = f"?stage={quote(stage)}"
        return (
            Mode(label="Change", picture=f"change.png{query}"),
            Mode(label="Before", picture=f"before.png{query}"),
            Mode(label="After", picture=f"overlay.png{query}"),
        )
    if second:
        return (
            Mode(label="Difference", picture="difference.png"),
            Mode(label="Second opinion", picture="second.png"),
            Mode(label="Result", picture="overlay.png"),
        )
    return (Mode(label="Segments", picture="overlay.png"),)


def _montage(described: PictureSet, worst: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the worst slices and others, spread evenly over those that show the organ and not only air."""
    filled = [index for index, value in enumerate(described.profile) if value] or list(range(described.count))
    first, last = max(0, filled[0] - 1), min(described.count - 1, filled[-1] + 1)
    doubted = {index for slices in worst.values() for index in slices if index < described.count}
    count = min(max(0, _THUMBNAILS - len(doubted)), last - first + 1)
    return sorted(doubted | {round(first + k * (last - first) / max(1, count - 1)) for k in range(count)})


@router.get(_SLICE + "/image.png", response_class=Response)
def show_image(services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int) -> Response:
    """Return one slice of the image."""
    return _png(services.pictures.image(moment, plane.plane, index))


@router.get(_SLICE + "/overlay.png", response_class=Response)
def show_overlay(
    services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int, stage: str = ""
) -> Response:
    """Return the segmentations on one slice, of one stage when it is named."""
    return _png(services.pictures.overlay(moment, plane.plane, index, stage=stage))


@router.get(_SLICE + "/before.png", response_class=Response)
def show_before(services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int, stage: str) -> Response:
    """Return one stage's segmentation before the edit on one slice."""
    return _png(services.pictures.overlay(moment.before(), plane.plane, index, stage=stage))


@router.get(_SLICE + "/change.png", response_class=Response)
def show_change(services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int, stage: str) -> Response:
    """Return what the edit of a stage changed on one slice."""
    return _png(services.pictures.difference(moment, Comparison(stage=stage), plane.plane, index))


@router.get(_SLICE + "/second.png", response_class=Response)
def show_second(services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int) -> Response:
    """Return the pseudo ground truth of segmentation QC on one slice."""
    return _png(services.pictures.second(moment, plane.plane, index))


@router.get(_SLICE + "/difference.png", response_class=Response)
def show_difference(services: Provided, _: Viewer, moment: Moment, plane: PlaneName, index: int) -> Response:
    """Return where the result and the pseudo ground truth of segmentation QC differ on one slice."""
    return _png(services.pictures.difference(moment, Comparison(), plane.plane, index))


def _png(content: bytes) -> Response:
    # An iteration's pictures never change, but they show a patient: only this browser may keep them, not for long.
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})
