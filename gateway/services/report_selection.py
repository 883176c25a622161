"""Key object selections: images that image QC objects to, results a person decided against, results overtaken by newer.

A "rejected" selection makes archives that follow IHE IOCM hide what it names, and no standard document takes that back.
So only what is final is rejected; what may change is a quality issue, which hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from dicom_sr.codes import QUALITY_REASONS, Code, QualityReason
from dicom_sr.kos import KeyObject, KeyObjectSelection, KeyObjectTitle, key_object_selection, rejection_reason
from dicom_sr.kos import whole_series as every_instance
from dicom_sr.qc_report import Signature
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from dicom_sr.verdict import Outcome, Verdict
from gateway.config import Destination
from gateway.domain.delivery import DeliveryState
from gateway.domain.keys import digest_of
from gateway.domain.pipeline import SEGMENTATION_KINDS, OutputKind, StageKind
from gateway.domain.qc_status import QcStatus
from gateway.services.draft import Draft, destinations_of, keep_draft
from gateway.services.environment import Environment
from gateway.services.report_context import ReportContext
from gateway.services.report_documents import Decision, add_audit_tags, reporting_stage
from gateway.services.report_seg import FIRST_SERIES_NUMBER, equipment_for
from gateway.store.tables import Delivery, Output

#: Stage that outputs of a person's decision name; a later decision takes them off the current outputs.
DECISION_STAGE = "sign_off"
_PLACE = 5
_IMAGE_TITLES = {
    Outcome.REJECT: (KeyObjectTitle.REJECTED_FOR_QUALITY, "images rejected for quality"),
    Outcome.REVIEW: (KeyObjectTitle.QUALITY_ISSUE, "images with a quality issue"),
}
_DECISION_TITLES = {
    QcStatus.FAIL: (KeyObjectTitle.REJECTED_FOR_QUALITY, "rejected"),
    # Quarantine can be lifted, a rejection cannot be taken back.
    QcStatus.QUARANTINED: (KeyObjectTitle.QUALITY_ISSUE, "quarantined"),
}
#: Results that show the masks a person decided against; the reports that say why stay.
_DISCARDED_KINDS = SEGMENTATION_KINDS | {OutputKind.SUMMARY_SC, OutputKind.SUMMARY_PDF}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Occasion:
    """Why a selection is made; `purpose` tells it from the other selections of its iteration."""

    purpose: tuple[str, ...]
    title: KeyObjectTitle
    reason: Code
    selected: tuple[KeyObject, ...]
    series_description: str
    description: str
    created_at: datetime
    content_digest: str = ""
    stage: str = ""
    destination: str = ""
    signature: Signature | None = None


def image_selection(
    env: Environment, context: ReportContext, series: SourceSeries, headline: str
) -> Iterator[Draft | Output]:
    """Yield the selection of the images that image QC rejects (113001) or doubts (113010); carried while it says that.

    An abstention selects nothing: it is no statement about the images.
    """
    if OutputKind.KOS not in context.pipeline.outputs or not context.of_kind(StageKind.IMAGE_QC):
        return
    verdict = context.image_verdict()
    if verdict.outcome not in _IMAGE_TITLES:
        return
    title, words = _IMAGE_TITLES[verdict.outcome]
    reason = rejection_reason(verdict)
    digest = digest_of({"title": title, "reason": reason.value, "images": sorted(series.sop_instance_uids)})
    carried = next((o for o in context.prior(OutputKind.KOS) if o.content_digest == digest), None)
    yield carried or _draft(
        env,
        context,
        series,
        _Occasion(
            purpose=("images", digest),
            title=title,
            reason=reason,
            selected=every_instance(series),
            series_description=f"{headline} | {words}",
            description="; ".join(r.text for r in verdict.reasons),
            created_at=context.iteration.opened_at,
            content_digest=digest,
        ),
    )


def decision_selection(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    current: Sequence[Output],
    headline: str,
    decision: Decision,
) -> Iterator[Draft]:
    """Yield the selection of what a person failed (113001) or put in quarantine (113010): results, else the images."""
    if OutputKind.KOS not in context.pipeline.outputs or decision.qc_status not in _DECISION_TITLES:
        return
    title, words = _DECISION_TITLES[QcStatus(decision.qc_status)]
    about_results = any(output.kind in SEGMENTATION_KINDS for output in current)
    verdict = context.segmentation_verdict() if about_results else context.image_verdict()
    discarded = _key_objects(output for output in current if output.kind in _DISCARDED_KINDS)
    yield _draft(
        env,
        context,
        series,
        _Occasion(
            purpose=("decision", decision.qc_status, decision.at.isoformat()),
            title=title,
            reason=_decision_reason(verdict, about_results=about_results),
            selected=discarded if about_results else every_instance(series),
            series_description=f"{headline} | {'results' if about_results else 'images'} {words}",
            description=f"{decision.qc_status}: {decision.comment}" if decision.comment else decision.qc_status,
            created_at=decision.at,
            stage=DECISION_STAGE,
            signature=decision.signature,
        ),
    )


def withdrawals(
    session: Session,
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    overtaken: Sequence[Output],
    headline: str,
) -> tuple[Draft, ...]:
    """Return the rejections (113001) of overtaken results: one for each destination that asks for it and was sent any.

    Parameters
    ----------
    session : Session
        To see what each destination was sent.
    env, context, series, headline
        As for the other documents.
    overtaken : sequence of Output
        Results that are not current any more.
    """
    results = [output for output in overtaken if output.kind != OutputKind.KOS]
    found = []
    for destination in destinations_of(env, context.pipeline):
        held = _sent_to(session, destination, results) if destination.withdraw else []
        if held:
            found.append(_withdrawal(env, context, series, destination, held, headline))
    return tuple(found)


def _withdrawal(
    env: Environment,
    context: ReportContext,
    series: SourceSeries,
    destination: Destination,
    held: Sequence[Output],
    headline: str,
) -> Draft:
    iteration = context.iteration
    edited = context.newest_edit is not None
    reason = QualityReason.PROCESSING if edited else QualityReason.OTHER
    why = "a person edited a segmentation" if edited else "images arrived late"
    return _draft(
        env,
        context,
        series,
        _Occasion(
            purpose=("withdrawal", destination.name, digest_of(sorted(output.sop_instance_uid for output in held))),
            title=KeyObjectTitle.REJECTED_FOR_QUALITY,
            reason=QUALITY_REASONS[reason],
            selected=_key_objects(held),
            series_description=f"{headline} | earlier results withdrawn",
            description=f"Overtaken by generation {iteration.generation}, iteration {iteration.number}: {why}",
            created_at=iteration.opened_at,
            destination=destination.name,
        ),
    )


def _draft(env: Environment, context: ReportContext, series: SourceSeries, occasion: _Occasion) -> Draft:
    case, iteration = context.case, context.iteration
    identity: tuple[str | int, ...] = (
        OutputKind.KOS,
        case.id,
        iteration.generation,
        iteration.number,
        *occasion.purpose,
    )
    selection = KeyObjectSelection(
        sop_instance_uid=derive_uid(*identity),
        series_instance_uid=derive_uid("series", *identity),
        series_number=FIRST_SERIES_NUMBER + iteration.generation * 100 + iteration.number * 10 + _PLACE,
        instance_number=1,
        series_description=occasion.series_description,
        created_at=occasion.created_at,
        title=occasion.title,
        reason=occasion.reason,
        description=occasion.description,
        selected=occasion.selected,
        signature=occasion.signature,
    )
    dataset = key_object_selection(selection, series, equipment_for(env, context))
    add_audit_tags(env, context, series, dataset, occasion.created_at)
    return keep_draft(
        env,
        dataset,
        kind=OutputKind.KOS,
        stage=occasion.stage or reporting_stage(context),
        content_digest=occasion.content_digest,
        destination=occasion.destination,
    )


def _decision_reason(verdict: Verdict, *, about_results: bool) -> Code:
    """Return the machine's own worst reason where it had one, else what a discarded result or image stands for."""
    if verdict.outcome in (Outcome.REVIEW, Outcome.REJECT):
        return rejection_reason(verdict)
    return QUALITY_REASONS[QualityReason.PROCESSING if about_results else QualityReason.OTHER]


def _key_objects(outputs: Iterable[Output]) -> tuple[KeyObject, ...]:
    return tuple(
        KeyObject(
            series_instance_uid=output.series_instance_uid,
            sop_class_uid=output.sop_class_uid,
            sop_instance_uid=output.sop_instance_uid,
        )
        for output in sorted(outputs, key=lambda output: (output.series_instance_uid, output.sop_instance_uid))
    )


def _sent_to(session: Session, destination: Destination, outputs: Sequence[Output]) -> list[Output]:
    uids = [output.sop_instance_uid for output in outputs]
    sent = session.exec(
        select(Delivery.sop_instance_uid).where(
            col(Delivery.sop_instance_uid).in_(uids),
            Delivery.destination == destination.name,
            Delivery.state != DeliveryState.DEAD,
        )
    )
    known = frozenset(sent.all())
    return [output for output in outputs if output.sop_instance_uid in known]
