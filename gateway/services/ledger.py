"""Stage runs of a case in the database: their rows, inputs, artifacts and findings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from sqlmodel import Session, col, select

from dicom_sr.segmentation import Segmentation
from dicom_sr.verdict import Criterion, Finding, decide
from gateway.domain.keys import digest_of
from gateway.domain.pipeline import Pipeline, Stage, StageKind
from gateway.domain.stage_run import SATISFIED
from gateway.store.artifacts import Maps, decode_findings, decode_probabilities, decode_segmentation
from gateway.store.blobs import BlobStore
from gateway.store.tables import Artifact, Case, FindingRow, Iteration, IterationOutput, StageRun

SEGMENTATION = "segmentation"
FINDINGS = "findings"
PSEUDO_GROUND_TRUTH = "pseudo_ground_truth"
WORST_SLICES = "worst_slices"
PROBABILITIES = "probabilities"
#: What no other stage works on, so that it cannot make one run again.
_SHOWN_ONLY = frozenset({PROBABILITIES})


def current_iteration(session: Session, case: Case) -> Iteration:
    """Return the iteration a case is in."""
    return iteration_of(session, case.id, case.generation, case.iteration)


def iteration_of(session: Session, case_id: str, generation: int, number: int) -> Iteration:
    """Return one iteration."""
    return session.exec(
        select(Iteration).where(
            Iteration.case_id == case_id, Iteration.generation == generation, Iteration.number == number
        )
    ).one()


def runs_of(session: Session, case_id: str, generation: int, iteration: int) -> dict[str, StageRun]:
    """Return the stage runs of one iteration by stage name, in the order they were planned."""
    rows = session.exec(
        select(StageRun)
        .where(StageRun.case_id == case_id, StageRun.generation == generation, StageRun.iteration == iteration)
        .order_by(col(StageRun.id))
    )
    return {row.stage: row for row in rows}


def artifacts_of(session: Session, run: StageRun) -> dict[str, Artifact]:
    """Return the artifacts of a stage run by role."""
    rows = session.exec(select(Artifact).where(Artifact.stage_run_id == run.id))
    return {row.role: row for row in rows}


def output_digest(artifacts: Mapping[str, Artifact]) -> str:
    """Return the canonical digest of everything a stage run put out for other stages."""
    return digest_of({role: artifact.digest for role, artifact in artifacts.items() if role not in _SHOWN_ONLY})


def inputs_of(session: Session, stage: Stage, pipeline: Pipeline, iteration: Iteration) -> dict[str, str]:
    """Return the digests that enter a stage's key; an image QC stage gates others and is no input of theirs."""
    runs = runs_of(session, iteration.case_id, iteration.generation, iteration.number)
    inputs = {"image": iteration.image_digest}
    for need in stage.needs:
        if stage.kind is not StageKind.REPORT and pipeline.stage(need).kind is StageKind.IMAGE_QC:
            continue
        run = runs[need]
        inputs[need] = output_digest(artifacts_of(session, run)) if run.state in SATISFIED else run.state
    return inputs


def load_segmentation(
    session: Session, blobs: BlobStore, run: StageRun, *, role: str = SEGMENTATION
) -> Segmentation | None:
    """Return the segmentation a stage run put out under `role`, None when it has none."""
    artifact = artifacts_of(session, run).get(role)
    return decode_segmentation(blobs.read(artifact.sha256)) if artifact else None


def load_worst_slices(session: Session, blobs: BlobStore, run: StageRun) -> dict[str, tuple[int, ...]]:
    """Return slice indices, worst first, by segment label; empty when the stage names none."""
    artifact = artifacts_of(session, run).get(WORST_SLICES)
    return decode_worst_slices(blobs.read(artifact.sha256)) if artifact else {}


def decode_worst_slices(content: bytes) -> dict[str, tuple[int, ...]]:
    """Return slice indices, worst first, by segment label, from the bytes of their artifact."""
    return {label: tuple(slices) for label, slices in json.loads(content).items()}


def load_probabilities(session: Session, blobs: BlobStore, run: StageRun) -> Maps:
    """Return probability maps by segment label; empty where the stage kept none."""
    artifact = artifacts_of(session, run).get(PROBABILITIES)
    return decode_probabilities(blobs.read(artifact.sha256)) if artifact else {}


def load_findings(session: Session, blobs: BlobStore, run: StageRun) -> tuple[Finding, ...]:
    """Return the findings a stage run put out."""
    artifact = artifacts_of(session, run).get(FINDINGS)
    return decode_findings(blobs.read(artifact.sha256)) if artifact else ()


def add_artifacts(session: Session, run: StageRun, artifacts: Iterable[Artifact]) -> None:
    """Give a stage run copies of `artifacts`."""
    assert run.id is not None
    for artifact in artifacts:
        session.add(Artifact(stage_run_id=run.id, role=artifact.role, sha256=artifact.sha256, digest=artifact.digest))
    session.flush()


def add_findings(session: Session, run: StageRun, findings: Iterable[Finding], criteria: tuple[Criterion, ...]) -> None:
    """Record findings with what their criteria say."""
    for assessed in decide(findings, criteria).assessed:
        finding, criterion = assessed.finding, assessed.criterion
        bounds = {} if criterion is None else {k: v for k, v in asdict(criterion).items() if v not in (None, "", False)}
        session.add(
            FindingRow(
                case_id=run.case_id,
                generation=run.generation,
                iteration=run.iteration,
                stage=finding.stage,
                code=finding.code,
                segment=finding.segment,
                value=finding.value,
                unit=finding.unit,
                low=finding.low,
                high=finding.high,
                outcome=assessed.outcome or "",
                detail=finding.detail,
                criterion=bounds,
            )
        )
    session.flush()


def current_output_uids(session: Session, case: Case) -> frozenset[str]:
    """Return the SOP Instance UIDs of the outputs current in a case's iteration."""
    rows = session.exec(
        select(IterationOutput.sop_instance_uid).where(
            IterationOutput.case_id == case.id,
            IterationOutput.generation == case.generation,
            IterationOutput.iteration == case.iteration,
        )
    )
    return frozenset(rows.all())


def forget_output(session: Session, run: StageRun, sop_instance_uid: str) -> None:
    """Take an output off the current ones of a run's iteration; the output itself stays on record."""
    row = session.get(IterationOutput, (run.case_id, run.generation, run.iteration, sop_instance_uid))
    if row is not None:
        session.delete(row)


def sign_off_stage(number: int) -> Stage:
    """Return the stage that re-issues the report with a person's decision, the `number`-th in its iteration."""
    return Stage(name="sign_off" if number == 1 else f"sign_off_{number}", kind=StageKind.SIGN_OFF)


def stage_of(pipeline: Pipeline, run: StageRun) -> Stage:
    """Return the declared stage of a stage run; sign-off stages are not declared, every pipeline has them."""
    if run.stage.startswith("sign_off"):
        return Stage(name=run.stage, kind=StageKind.SIGN_OFF)
    return pipeline.stage(run.stage)
