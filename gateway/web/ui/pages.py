"""The pages that show: worklist, case, held objects, node, audit trail, API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse

from dicom_sr.verdict import Outcome
from gateway.domain.case import CaseState
from gateway.domain.errors import NotFound
from gateway.domain.pipeline import OutputKind
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from gateway.services import destinations, registers, worklist
from gateway.services.case_record import CaseRecord, IterationView, case_record
from gateway.services.registers import HoldView, UntakenSeries
from gateway.services.worklist import CaseFilter, CaseRow, Counts
from gateway.services.workload import workload
from gateway.web.access import Permission
from gateway.web.case_query import CaseQuery
from gateway.web.request import Provided, RowNumber, Viewer
from gateway.web.services import Services
from gateway.web.ui.findings import findings_of
from gateway.web.ui.render import Pages, pages_of
from gateway.web.ui.timeline import timeline_of
from gateway.web.ui.view import decision_choice

router = APIRouter(include_in_schema=False)

Rendering = Annotated[Pages, Depends(pages_of)]

#: Saved views of the worklist: label, states.
_VIEWS: Sequence[tuple[str, tuple[CaseState, ...]]] = (
    ("All", ()),
    ("To review", (CaseState.IN_REVIEW,)),
    ("Awaiting edit", (CaseState.AWAITING_EDIT,)),
    ("Running", (CaseState.COLLECTING, CaseState.RUNNING)),
    ("Held", (CaseState.HELD,)),
    ("Quarantined", (CaseState.QUARANTINED,)),
    ("Final", (CaseState.FINAL,)),
)
_AUDIT_PAGE = 100
#: Delivery states of each list on the node page.
_DELIVERIES = {"open": ("PENDING", "SENT", "DEAD"), "dead": ("DEAD",), "all": ()}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """One tab of the worklist."""

    label: str
    query: str
    count: int
    is_current: bool


@router.get("/", response_class=HTMLResponse)
def show_worklist(
    services: Provided, _: Viewer, pages: Rendering, request: Request, query: Annotated[CaseQuery, Query()]
) -> HTMLResponse:
    """Show the worklist."""
    found = worklist.list_cases(services.database, query.to_filter(), limit=query.limit, cursor=query.cursor)
    counts = worklist.counts(services.database)
    node = services.node()
    return pages.page(
        request,
        "worklist.html",
        page="worklist",
        cases=found.cases,
        counts=counts,
        query=query,
        is_filtered=bool(query.url(limit=50, cursor="")),
        next_url=f"?{query.url(cursor=found.next_cursor)}" if found.next_cursor else "",
        first_url=f"?{query.url(cursor='')}" if query.url(cursor="") else "",
        views=_saved_views(query, counts),
        choices=worklist.choices(services.database),
        verdicts=list(Outcome),
        qc_statuses=list(QcStatus),
        ae_titles=node.ae_titles or (services.config.node.ae_title,),
        dicom_address=node.dicom_address,
        untaken_studies=registers.count_untaken_studies(services.database),
    )


def _saved_views(query: CaseQuery, counts: Counts) -> tuple[SavedView, ...]:
    return tuple(
        SavedView(
            label=label,
            query=query.url(state=list(states), cursor=""),
            count=sum(counts.by_state[s] for s in states) if states else counts.total,
            is_current=tuple(query.state) == states,
        )
        for label, states in _VIEWS
    )


@router.get("/cases/{case_id}", response_class=HTMLResponse)
def show_case(
    services: Provided,
    _: Viewer,
    pages: Rendering,
    request: Request,
    case_id: str,
    tab: Literal["review", "outputs", "audit"] = "review",
    generation: int | None = None,
    iteration: int | None = None,
) -> HTMLResponse:
    """Show one case: for review, its outputs, or its audit trail."""
    case = case_record(services.database, case_id)
    shown = case.current
    if iteration is not None:
        shown = case.iteration_at(generation or case.generation, iteration)
        if shown is None:
            raise NotFound("this case has no such iteration")
    return case_page(services, pages, request, case, shown=shown, tab=tab)


def case_page(  # noqa: PLR0913 - what a case page depends on, mostly by name
    services: Services,
    pages: Pages,
    request: Request,
    case: CaseRecord,
    *,
    shown: IterationView | None,
    tab: str = "review",
    comment: str = "",
    reason_wanted: bool = False,
    status: int = 200,
    **more: object,
) -> HTMLResponse:
    """Render the page of a case; `comment` and `reason_wanted` bring back a decision that was refused."""
    viewer = services.config.web.viewer_url
    segmented = dict.fromkeys(o.stage for o in (shown.outputs if shown else ()) if o.kind == OutputKind.SEG)
    return pages.page(
        request,
        "case.html",
        status=status,
        page="case",
        tab=tab,
        case=case,
        shown=shown,
        findings=findings_of(shown),
        timeline=timeline_of(case),
        decisions=[decision_choice(d, case.state, is_segmented=bool(segmented)) for d in case.legal_decisions],
        segmented=list(segmented),
        may_decide=request.state.identity.may(Permission.DECIDE),
        may_retry=request.state.identity.may(Permission.OPERATE) and _has_stuck_stage(case),
        comment=comment,
        reason_wanted=reason_wanted,
        output_count=len(case.current.outputs) if case.current else 0,
        viewer_url=viewer.replace("{study_instance_uid}", case.study_instance_uid),
        audit_rows=registers.list_audit(services.database, case_id=case.id, limit=500) if tab == "audit" else (),
        **more,
    )


def _has_stuck_stage(case: CaseRecord) -> bool:
    """Whether running again can help: a case held before its first stage waits for its study or its rules to change."""
    stuck = (StageRunState.FAILED, StageRunState.HELD)
    return case.current is not None and any(run.state in stuck for run in case.current.stage_runs)


@router.get("/holds", response_class=HTMLResponse)
def show_holds(
    services: Provided,
    _: Viewer,
    pages: Rendering,
    request: Request,
    state: Literal["OPEN", "ACCEPTED", "DISCARDED"] = "OPEN",
    case_id: str = "",
) -> HTMLResponse:
    """Show held objects."""
    return holds_page(services, pages, request, state=state, case_id=case_id)


def holds_page(
    services: Services, pages: Pages, request: Request, *, state: str = "OPEN", case_id: str = "", **more: object
) -> HTMLResponse:
    """Render the page of held objects."""
    holds = registers.list_holds(services.database, state=state, case_id=case_id)
    content: dict[str, object] = {
        "page": "holds",
        "state": state,
        "holds": holds,
        "candidates": _candidates(services, holds),
        "stages": sorted({s for p in services.config.pipelines for s, stage in p.stages.items() if stage.editable}),
        "failed_hold": 0,
    }
    return pages.page(request, "holds.html", **(content | more))  # type: ignore[arg-type]


def _candidates(services: Services, holds: Sequence[HoldView]) -> dict[int, tuple[CaseRow, ...]]:
    """Cases of the same study, by hold."""
    return {
        hold.id: worklist.list_cases(services.database, CaseFilter(study_uid=hold.study_instance_uid)).cases
        for hold in holds
        if hold.study is not None and hold.state == "OPEN"
    }


@router.get("/node", response_class=HTMLResponse)
def show_node(
    services: Provided,
    _: Viewer,
    pages: Rendering,
    request: Request,
    show: Literal["open", "dead", "all"] = "open",
) -> HTMLResponse:
    """Show the node: what it listens to and accepts, whom it saw, where results go and how far they are."""
    return pages.page(
        request,
        "node.html",
        page="node",
        version=services.version,
        node=services.node(),
        not_ready=services.not_ready(),
        held=registers.holdings(services.database),
        known_peers=[peer.ae_title for peer in services.config.node.peers],
        destinations=destinations.list_destinations(services.database, services.config.destinations),
        deliveries=registers.list_deliveries(services.database, states=_DELIVERIES[show], limit=50),
        show=show,
        untaken=_by_series(registers.list_untaken(services.database, limit=100)),
    )


def _by_series(rows: Sequence[UntakenSeries]) -> list[list[UntakenSeries]]:
    """Return together what all pipelines say of one series."""
    series: dict[str, list[UntakenSeries]] = {}
    for row in rows:
        series.setdefault(row.series_instance_uid, []).append(row)
    return list(series.values())


@router.get("/audit", response_class=HTMLResponse)
def show_audit(
    services: Provided,
    _: Viewer,
    pages: Rendering,
    request: Request,
    action: str = "",
    before: RowNumber = 0,
    check: bool = False,
) -> HTMLResponse:
    """Show the audit trail, and whether its chain is whole."""
    events = registers.list_audit(services.database, action=action, before=before, limit=_AUDIT_PAGE)
    return pages.page(
        request,
        "audit.html",
        page="audit",
        events=events,
        actions=registers.audit_actions(services.database),
        action=action,
        before=before,
        next_before=events[-1].id if len(events) == _AUDIT_PAGE else 0,
        check=registers.check_chain(services.database) if check else None,
        people=workload(services.database) if not (action or before) else (),
    )


@router.get("/docs", response_class=HTMLResponse)
def show_docs(_: Viewer, pages: Rendering, request: Request) -> HTMLResponse:
    """Show the API in short, without anything from elsewhere."""
    groups: dict[str, list[dict[str, str]]] = {}
    for path, methods in request.app.openapi()["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(
                {
                    "method": method.upper(),
                    "path": path,
                    "text": operation.get("description", "").split("\n")[0],
                    "operation_id": operation["operationId"],
                }
            )
    return pages.page(request, "docs.html", groups=list(groups.items()))
