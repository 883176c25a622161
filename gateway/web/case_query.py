"""The filters of the worklist as they stand in a URL; the API and the page take the same."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from dicom_sr.verdict import Outcome
from gateway.domain.case import CaseState
from gateway.domain.qc_status import QcStatus
from gateway.services.worklist import MAXIMUM_LIMIT, CaseFilter


def _without_empty(value: object) -> object:
    """Drop what a form sends for "any"."""
    return [part for part in value if part != ""] if isinstance(value, list) else value


AnyOf = BeforeValidator(_without_empty)


class CaseQuery(BaseModel):
    """Query parameters of the worklist; an empty value does not filter, an unknown parameter is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Annotated[list[CaseState], AnyOf] = Field(default_factory=list)
    qc_status: Annotated[list[QcStatus], AnyOf] = Field(default_factory=list)
    verdict: Annotated[list[Outcome], AnyOf] = Field(default_factory=list)
    study_uid: str = Field(default="", max_length=64)
    assignee: str = Field(default="", max_length=200)
    pipeline: str = Field(default="", max_length=200)
    site: str = Field(default="", max_length=200)
    text: str = Field(default="", max_length=200)
    limit: int = Field(default=50, ge=1, le=MAXIMUM_LIMIT)
    cursor: str = Field(default="", max_length=200)

    def to_filter(self) -> CaseFilter:
        """Return the filter it stands for."""
        return CaseFilter(
            state=tuple(self.state),
            qc_status=tuple(self.qc_status),
            verdict=tuple(self.verdict),
            study_uid=self.study_uid,
            assignee=self.assignee,
            pipeline=self.pipeline,
            site=self.site,
            text=self.text,
        )

    def url(self, **changes: object) -> str:
        """Return the query string of this filter with some parameters changed; defaults are left out."""
        given = self.model_copy(update=changes).model_dump(exclude_defaults=True)
        return urlencode({k: v for k, v in given.items() if v not in ("", [], None)}, doseq=True)
