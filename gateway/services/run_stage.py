"""Run one stage run: claim, load inputs, work, publish artifacts, complete. Only a stage host calls this."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping

import structlog

from dicom_sr.errors import DicomObjectError
from dicom_sr.segmentation import Segmentation
from dicom_sr.source import SourceSeries
from dicom_sr.verdict import Finding
from dicom_sr.volume import Volume
from gateway.domain.errors import GatewayError, StaleAttempt
from gateway.domain.keys import canonical_json, digest_of
from gateway.domain.pipeline import Stage, StageKind
from gateway.services import ledger
from gateway.services.claim import Claim, Completion, claim, complete, refuse
from gateway.services.environment import Environment
from gateway.services.load_series import load_series
from gateway.services.report import make_report
from gateway.services.sign_off import make_sign_off
from gateway.services.stage_work import WORK, StageInputs, StageOutputs, WarmModels, Work
from gateway.store.artifacts import encode_findings, encode_probabilities, encode_segmentation, probabilities_digest
from gateway.store.tables import Case, Iteration, StageRun
from models.errors import ModelError

log = structlog.get_logger(__name__)

_KEPT_SERIES = 2


class StageRunner:
    """Runs stage runs one after another and keeps models and the latest images warm.

    Parameters
    ----------
    env : Environment
        The gateway.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    work : mapping of StageKind to Work
        What does the work of each kind.
    """

    def __init__(self, env: Environment, *, device: str = "auto", work: Mapping[StageKind, Work] = WORK) -> None:
        self._env = env
        self._work_of = work
        self._models = WarmModels(device)
        self._series: OrderedDict[str, tuple[SourceSeries, Volume | None]] = OrderedDict()

    def run(self, run_id: int) -> str:
        """Run stage run `run_id` to a settled state.

        Returns
        -------
        str
            ``DONE``, ``FAILED``, ``STALE`` or ``TAKEN`` (nothing to claim).
        """
        started = time.perf_counter()
        claimed = claim(self._env, run_id)
        if claimed is None:
            return "TAKEN"
        try:
            self._work(claimed, started)
        except StaleAttempt:
            return "STALE"
        except (GatewayError, DicomObjectError, ModelError) as error:
            refuse(self._env, claimed, code=error.code, detail=error.detail)
            log.warning("stage failed", run=run_id, code=error.code)
            return "FAILED"
        except Exception as error:  # noqa: BLE001 - the host must outlive any stage; the message may quote values
            refuse(self._env, claimed, code="INTERNAL", detail=f"unexpected {type(error).__name__}, see the log")
            log.error("stage failed unexpectedly", run=run_id, kind=type(error).__name__, where=_where(error))
            return "FAILED"
        return "DONE"

    def recompute(self, run: StageRun) -> dict[str, str]:
        """Do the work of a finished stage run again and return the canonical digest of each artifact; keeps nothing."""
        with self._env.database.read() as session:
            case = session.get(Case, run.case_id)
            assert case is not None
            iteration = ledger.iteration_of(session, run.case_id, run.generation, run.iteration)
        stage = ledger.stage_of(self._env.pipeline(case.pipeline), run)
        outputs = self._work_of[stage.kind](
            self._inputs(stage, run, iteration), self._env.catalogue.card(stage), self._models
        )
        return {role: digest for role, _content, digest in _encoded(outputs)}

    def _work(self, claimed: Claim, started: float) -> None:
        with self._env.database.read() as session:
            run = session.get(StageRun, claimed.run_id)
            assert run is not None
            case = session.get(Case, run.case_id)
            assert case is not None
            iteration = ledger.iteration_of(session, run.case_id, run.generation, run.iteration)
        stage = ledger.stage_of(self._env.pipeline(case.pipeline), run)
        if stage.kind is StageKind.REPORT:
            series, volume = self._load(iteration)
            report = make_report(self._env, case, iteration, series, volume)
            seconds = time.perf_counter() - started
            complete(self._env, claimed, Completion(seconds=seconds), also=report.record)
        elif stage.kind is StageKind.SIGN_OFF:
            series, _volume = self._load(iteration)
            signed = make_sign_off(self._env, case, iteration, series)
            seconds = time.perf_counter() - started
            complete(self._env, claimed, Completion(seconds=seconds), also=signed.record)
        else:
            self._compute(claimed, stage, run, iteration, started)

    def _compute(self, claimed: Claim, stage: Stage, run: StageRun, iteration: Iteration, started: float) -> None:
        card = self._env.catalogue.card(stage)
        outputs = self._work_of[stage.kind](self._inputs(stage, run, iteration), card, self._models)
        artifacts = self._publish(outputs)
        model = {"name": card.name, "version": card.version, "digest": card.digest} if card else {}
        completion = Completion(
            artifacts=artifacts,
            findings=outputs.findings,
            model=model,
            seconds=time.perf_counter() - started,
            model_seconds=outputs.model_seconds,
        )
        complete(self._env, claimed, completion)

    def _inputs(self, stage: Stage, run: StageRun, iteration: Iteration) -> StageInputs:
        series, volume = self._load(iteration)
        segmentations: dict[str, Segmentation] = {}
        findings: list[Finding] = []
        with self._env.database.read() as session:
            runs = ledger.runs_of(session, run.case_id, run.generation, run.iteration)
            for need in stage.needs:
                segmentation = ledger.load_segmentation(session, self._env.blobs, runs[need])
                if segmentation is not None:
                    segmentations[need] = segmentation
                findings += ledger.load_findings(session, self._env.blobs, runs[need])
        return StageInputs(
            stage=stage,
            acquisition=series.acquisition,
            volume=volume,
            segmentations=segmentations,
            findings=tuple(findings),
        )

    def _load(self, iteration: Iteration) -> tuple[SourceSeries, Volume | None]:
        key = digest_of({item["sha256"]: True for item in iteration.inputs})
        if key in self._series:
            self._series.move_to_end(key)
        else:
            self._series[key] = load_series([self._env.blobs.path(item["sha256"]) for item in iteration.inputs])
            while len(self._series) > _KEPT_SERIES:
                self._series.popitem(last=False)
        return self._series[key]

    def _publish(self, outputs: StageOutputs) -> Mapping[str, tuple[str, str]]:
        return {role: (self._env.blobs.put(content), digest) for role, content, digest in _encoded(outputs)}


def _encoded(outputs: StageOutputs) -> Iterator[tuple[str, bytes, str]]:
    """Yield role, bytes and canonical digest of everything a stage put out."""
    for role, segmentation in (
        (ledger.SEGMENTATION, outputs.segmentation),
        (ledger.PSEUDO_GROUND_TRUTH, outputs.pseudo_ground_truth),
    ):
        if segmentation is not None:
            yield role, encode_segmentation(segmentation), segmentation.digest()
    if outputs.probabilities:
        maps = outputs.probabilities
        yield ledger.PROBABILITIES, encode_probabilities(maps), probabilities_digest(maps)
    if outputs.findings:
        content = encode_findings(outputs.findings)
        yield ledger.FINDINGS, content, digest_of(json.loads(content))
    if outputs.worst_slices:
        content = canonical_json({label: list(slices) for label, slices in outputs.worst_slices.items()})
        yield ledger.WORST_SLICES, content, digest_of(json.loads(content))


def _where(error: BaseException) -> str:
    """Return module and line where an exception arose: enough to find it, nothing of the data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "?"
