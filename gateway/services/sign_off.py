"""Issue what follows from a person's decision: the signed report that names the one it follows, and a key selection."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Session

from dicom_sr.codes import ROLE_RESULTS_QC
from dicom_sr.qc_report import Signature
from dicom_sr.source import SourceSeries
from gateway.domain.pipeline import OutputKind
from gateway.domain.qc_status import SIGNED
from gateway.services import ledger
from gateway.services.draft import Draft, record_outputs
from gateway.services.environment import Environment
from gateway.services.report import headline_of
from gateway.services.report_context import current_outputs, gather
from gateway.services.report_documents import Decision, signed_report
from gateway.services.report_selection import DECISION_STAGE, decision_selection
from gateway.store import audit
from gateway.store.tables import Case, Iteration, Output, StageRun


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReport:
    """What a decision makes, durable but not yet on record; nothing when the decision was taken back meanwhile."""

    env: Environment
    drafts: tuple[Draft, ...]
    replaced: tuple[Output, ...]

    def record(self, session: Session, case: Case, run: StageRun) -> None:
        """Record the signed report, the key object selection and their deliveries in the caller's transaction."""
        replaced = [session.merge(output) for output in self.replaced]
        for output in replaced:
            ledger.forget_output(session, run, output.sop_instance_uid)
        record_outputs(
            session, self.env, case, iteration=run.iteration, drafts=self.drafts, carried=(), replaced=replaced
        )
        for draft in self.drafts:
            audit.append(
                session,
                at=self.env.clock(),
                actor="overread",
                action="KEY_OBJECTS_SELECTED" if draft.kind is OutputKind.KOS else "REPORT_SIGNED",
                case_id=case.id,
                subject=draft.sop_instance_uid,
            )


def make_sign_off(env: Environment, case: Case, iteration: Iteration, series: SourceSeries) -> SignedReport:
    """Make what follows from a person's decision: a signed report where it ends the iteration, a selection where asked.

    Earlier selections of a decision are not current any more, whatever is decided now.
    """
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
    drafts: list[Draft] = []
    if iteration.qc_status in SIGNED:
        segs = tuple(output for output in current if output.kind == OutputKind.SEG)
        drafts.append(signed_report(env, context, series, segs, headline, decision))
    drafts += decision_selection(env, context, series, current, headline, decision)
    followed = {draft.kind for draft in drafts} - {OutputKind.KOS}
    replaced = tuple(output for output in current if output.kind in followed or output.stage == DECISION_STAGE)
    return SignedReport(env=env, drafts=tuple(drafts), replaced=replaced)
