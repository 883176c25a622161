"""Pictures of a case: the viewer as a fragment, and its slices as PNG."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import HTMLResponse

from dicom_sr.errors import DicomObjectError
from gateway.domain.errors import GatewayError
from gateway.services.case_record import case_record
from gateway.services.pictures import CaseMoment, PictureSet, Plane
from gateway.web.request import Provided, Viewer
from gateway.web.ui.render import Pages, pages_of

router = APIRouter(include_in_schema=False)

#: Thumbnails in the montage.
_THUMBNAILS = 14


class PlaneName(StrEnum):
    """A plane as it stands in a URL."""

    Z = "z"
    Y = "y"
    X = "x"

    @property
    def plane(self) -> Plane:
        """The plane."""
        return Plane[self.name]


def _moment(case_id: str, generation: int, iteration: int) -> CaseMoment:
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
) -> HTMLResponse:
    """Return the viewer of one iteration in one plane, with an edit's change when a stage is named."""
    case = case_record(services.database, moment.case_id)
    iteration = case.iteration_at(moment.generation, moment.iteration)
    edited = list(dict.fromkeys(edit.stage for edit in iteration.edits)) if iteration else []
    try:
        described = services.pictures.describe(moment, plane.plane, changed_stage=stage)
    except (GatewayError, DicomObjectError) as error:
        return pages.fragment("no_pictures.html", reason=error.detail)
    return pages.fragment(
        "pictures.html",
        case_id=moment.case_id,
        generation=moment.generation,
        iteration=moment.iteration,
        set=described,
        stage=stage,
        edited=edited,
        montage=_montage(described),
    )


def _montage(described: PictureSet) -> list[int]:
    """Slices spread evenly over those that show something, so that the picture is of the organ, not of air."""
    filled = [index for index, value in enumerate(described.profile) if value] or list(range(described.count))
    first, last = max(0, filled[0] - 1), min(described.count - 1, filled[-1] + 1)
    count = min(_THUMBNAILS, last - first + 1)
    return sorted({round(first + k * (last - first) / max(1, count - 1)) for k in range(count)})


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
    return _png(services.pictures.change(moment, stage, plane.plane, index))


def _png(content: bytes) -> Response:
    # An iteration's pictures never change, but they show a patient: only this browser may keep them, not for long.
    return Response(content, media_type="image/png", headers={"Cache-Control": "private, max-age=600"})
