"""Re-issue the report of an iteration once a person has decided: signed, final, and naming the one it follows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from dicom_sr.codes import ROLE_RESULTS_QC
from dicom_sr.qc_report import Signature
from dicom_sr.source import SourceSeries
from gateway.domain.pipeline import OutputKind
from gateway.services import ledger
from gateway.services.draft import Draft, record_outputs
from gateway.services.environment import Environment
from gateway.services.report import headline_of
from gateway.services.report_context import current_outputs, gather
from gateway.services.report_documents import Decision, signed_report
from gateway.store import audit
from gateway.store.tables import Case, Iteration, Output, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """A signed report, durable but not yet on record."""

    env: Environment
    draft: Draft
    replaced: tuple[Output, ...]

    def record(self, session: Session, case: Case, run: StageRun) -> None:
        """Record the signed report and its deliveries in the caller's transaction."""
        replaced = [session.merge(output) for output in self.replaced]
        for output in replaced:
            ledger.forget_output(session, run, output.sop_instance_uid)
        record_outputs(
            session, self.env, case, iteration=run.iteration, drafts=[self.draft], carried=(), replaced=replaced
        )
        audit.append(
            session,
            at=self.env.clock(),
            actor="overread",
            action="REPORT_SIGNED",
            case_id=case.id,
            subject=self.draft.sop_instance_uid,
        )


def make_sign_off(env: Environment, case: Case, iteration: Iteration, series: SourceSeries) -> SignedReport:
    """Make the signed report of an iteration that a person has decided on."""
    with env.database.read() as session:
        current = current_outputs(session, iteration)
        context = gather(session, env, case, iteration, prior_outputs=current)
    assert iteration.qc_at is not None
    decision = Decision(
        qc_status=iteration.qc_status,
        comment=iteration.qc_comment,
        at=iteration.qc_at,
        signature=Signature(
            name=iteration.qc_by,
            role=ROLE_RESULTS_QC,
            at=iteration.qc_at,
            organization=case.site or env.config.node.ae_title,
        ),
    )
    headline = f"{iteration.qc_status.replace('_', ' ')} | {headline_of(context.verdict(), iteration)}"
    segs = tuple(output for output in current if output.kind == OutputKind.SEG)
    draft = signed_report(env, context, series, segs, headline, decision)
    return SignedReport(env=env, draft=draft, replaced=tuple(output for output in current if output.kind == draft.kind))
