"""Studies of configured peers: which there are, and having one sent to this gateway."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from gateway.services.fetch import Fetched, FetchOrder, FetchWay, FoundStudy, StudyQuery
from gateway.web.request import Operator, Provided

router = APIRouter(prefix="/api/v1/peers/{ae_title}", tags=["peers"])

AeTitlePath = Annotated[str, Path(min_length=1, max_length=16)]


class StudySearch(BaseModel):
    """Which studies; in the body, since addresses end up in the logs of proxies."""

    model_config = ConfigDict(extra="forbid")

    patient_id: str = Field(default="", max_length=64)
    study_instance_uid: str = Field(default="", max_length=64, pattern=r"^[0-9.]*$")
    study_date: str = Field(default="", pattern=r"^(\d{8}|\d{8}-(\d{8})?|-\d{8})?$")


class StudyOrder(BaseModel):
    """Which study, under which AE title of ours (the node's own when empty), how, and for how long at most."""

    model_config = ConfigDict(extra="forbid")

    study_instance_uid: str = Field(max_length=64)
    called_aet: str = Field(default="", max_length=16)
    way: FetchWay = FetchWay.ANY
    seconds: float = Field(default=600.0, ge=1.0, le=7200.0)


@router.post("/studies", operation_id="find_peer_studies")
def find_peer_studies(
    services: Provided, caller: Operator, ae_title: AeTitlePath, search: StudySearch
) -> tuple[FoundStudy, ...]:
    """Ask a peer by C-FIND which studies match; at most 200 are returned, without what names the patient."""
    query = StudyQuery(
        patient_id=search.patient_id, study_instance_uid=search.study_instance_uid, study_date=search.study_date
    )
    return services.fetcher.find(ae_title, query, actor=caller.name)


@router.post("/fetch", operation_id="fetch_study")
def fetch_study(services: Provided, caller: Operator, ae_title: AeTitlePath, order: StudyOrder) -> Fetched:
    """Have a peer send a study, by C-GET or C-MOVE, and wait until it has; it is then processed like any other."""
    return services.fetcher.fetch(
        ae_title,
        FetchOrder(
            study_instance_uid=order.study_instance_uid,
            called_aet=order.called_aet or services.config.node.ae_title,
            way=order.way,
            seconds=order.seconds,
        ),
        actor=caller.name,
    )
