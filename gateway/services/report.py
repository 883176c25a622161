"""Report one iteration: its verdict, its SEGs and documents, and in one transaction with all of them the outbox."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlmodel import Session

from dicom_sr.source import SourceSeries
from dicom_sr.verdict import Outcome, Verdict
from dicom_sr.volume import Volume
from gateway.domain.case import CaseEvent, CaseState, next_state
from gateway.services import ledger
from gateway.services.draft import Draft, record_outputs
from gateway.services.environment import Environment
from gateway.services.report_context import gather, verdict_json
from gateway.services.report_documents import document_outputs
from gateway.services.report_evidence import evidence_outputs
from gateway.services.report_seg import seg_outputs
from gateway.services.report_selection import image_selection, withdrawals
from gateway.store import audit
from gateway.store.tables import Case, Iteration, Output, StageRun

#: Verdicts as series descriptions have them.
_WORD = {
    Outcome.ACCEPT: "ACCEPT",
    Outcome.REVIEW: "REVIEW",
    Outcome.NOT_ASSESSABLE: "NOT ASSESSABLE",
    Outcome.REJECT: "REJECT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outputs of one iteration, durable but not yet on record."""

    env: Environment
    verdict: Verdict
    drafts: tuple[Draft, ...]
    carried: tuple[Output, ...]
    prior: tuple[Output, ...]

    def record(self, session: Session, case: Case, run: StageRun) -> None:
        """Record outputs, deliveries and verdict, and put the case in review; in the caller's transaction."""
        carried = {output.sop_instance_uid for output in self.carried}
        record_outputs(
            session,
            self.env,
            case,
            iteration=run.iteration,
            drafts=self.drafts,
            carried=self.carried,
            replaced=[session.merge(o) for o in self.prior if o.sop_instance_uid not in carried],
        )
        now = self.env.clock()
        iteration = ledger.iteration_of(session, run.case_id, run.generation, run.iteration)
        iteration.verdict = verdict_json(self.verdict)
        iteration.finished_at = now
        case.verdict = self.verdict.outcome
        if case.state is CaseState.RUNNING:
            case.state = next_state(case.state, CaseEvent.STAGES_FINISHED)
        case.changed_at = now
        session.add(case)
        session.add(iteration)
        audit.append(
            session,
            at=now,
            actor="overread",
            action="CASE_REPORTED",
            case_id=case.id,
            detail={
                "outcome": self.verdict.outcome,
                "iteration": run.iteration,
                "generation": run.generation,
                "outputs": [draft.sop_instance_uid for draft in self.drafts],
                "reasons": [{k: str(v) for k, v in asdict(r).items() if k != "text"} for r in self.verdict.reasons],
            },
        )


def make_report(
    env: Environment, case: Case, iteration: Iteration, series: SourceSeries, volume: Volume | None
) -> Report:
    """Make every object an iteration sends out.

    Raises
    ------
    InvalidObject
        If one of them breaks a post-condition.
    """
    with env.database.read() as session:
        context = gather(session, env, case, iteration)
    verdict = context.verdict()
    headline = headline_of(verdict, iteration)
    segs = tuple(seg_outputs(env, context, series, headline))
    documents = tuple(document_outputs(env, context, series, volume, segs, headline))
    evidence = evidence_outputs(env, context, series, headline)
    made = (*segs, *documents, *evidence, *image_selection(env, context, series, headline))
    carried = tuple(item for item in made if isinstance(item, Output))
    kept = {output.sop_instance_uid for output in carried}
    overtaken = [output for output in context.prior_outputs if output.sop_instance_uid not in kept]
    with env.database.read() as session:
        withdrawn = withdrawals(session, env, context, series, overtaken, headline)
    return Report(
        env=env,
        verdict=verdict,
        drafts=(*(item for item in made if isinstance(item, Draft)), *withdrawn),
        carried=carried,
        prior=context.prior_outputs,
    )


def headline_of(verdict: Verdict, iteration: Iteration) -> str:
    """Return the words every series description of an iteration starts with: verdict and iteration."""
    return f"QC {_WORD[verdict.outcome]} it{iteration.number}"
