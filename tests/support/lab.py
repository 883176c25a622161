"""A whole gateway in one process without network or threads: receive, close, run stages, take edits, step by step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from sqlmodel import SQLModel, col, select

from dicom_sr.segmentation import Segmentation
from gateway.config import Config
from gateway.demo.viewer import edit_seg
from gateway.domain.pipeline import StageKind
from gateway.domain.stage_run import StageRunState
from gateway.services.accept_edit import EditOutcome, handle_edit, pending_edits
from gateway.services.assemble import close_study, find_closable
from gateway.services.environment import Environment, build_environment
from gateway.services.receive import Received, Receiver
from gateway.services.run_stage import StageRunner
from gateway.services.schedule import next_ready
from gateway.services.stage_work import WORK, StageInputs, StageOutputs, Work
from gateway.store.tables import AuditEvent, Case, Edit, Hold, Iteration, Output, StageRun

_COMMAND = str(Path(__file__).with_name("segmenting_command.py"))
_CODE = {"value": "12738006", "meaning": "Brain"}


def toy_pipeline(**changes: object) -> dict[str, object]:
    """A pipeline of external commands: core -> halves, both editable, graded and measured like a real one."""
    pipeline: dict[str, object] = {
        "name": "toy",
        "match": {"modality": ["MR"], "minimum_slices": 2},
        "stages": {
            "image_qc": {"kind": "image_qc", "parameters": {"target": "any"}},
            "core": {
                "kind": "segmentation",
                "command": [sys.executable, _COMMAND, "core", "{image}", "{output}"],
                "needs": ["image_qc"],
                "editable": True,
                "segments": [{"number": 1, "label": "Core", "type": _CODE}],
            },
            "halves": {
                "kind": "segmentation",
                "command": [sys.executable, _COMMAND, "halves", "{image}", "{output}", "{region}"],
                "needs": ["core"],
                "editable": True,
                "segments": [
                    {"number": 1, "label": "Front half", "type": _CODE},
                    {"number": 2, "label": "Back half", "type": _CODE},
                ],
            },
            "measure": {"kind": "measure", "needs": ["core", "halves"]},
            "report": {"kind": "report", "needs": ["image_qc", "measure"]},
        },
        "destinations": ["pacs"],
    }
    return {**pipeline, **changes}


def toy_config(*pipelines: dict[str, object], **more: object) -> Config:
    """A configuration with the toy pipeline, or the given ones, and one destination."""
    return Config.model_validate(
        {
            "pipelines": pipelines or (toy_pipeline(),),
            "destinations": [{"name": "pacs", "kind": "dicom", "ae_title": "PACS", "host": "127.0.0.1"}],
            **more,
        }
    )


def threshold_segment(inputs: StageInputs, _card: object, _models: object) -> StageOutputs:
    """Segment as `segmenting_command.py` does, in this process: the bright core, or the two halves of a region."""
    volume = inputs.require_volume()
    if not inputs.segmentations:
        labels = (volume.voxels > (volume.voxels.min() + volume.voxels.max()) / 2).astype(np.uint16)
    else:
        region = np.any([(s.layers > 0).any(axis=0) for s in inputs.segmentations.values()], axis=0)
        rows = np.nonzero(region)[1]
        middle = np.median(rows) if rows.size else 0
        front = np.arange(region.shape[1])[None, :, None] <= middle
        labels = np.where(region, np.where(front, 1, 2), 0).astype(np.uint16)
    return StageOutputs(segmentation=Segmentation.from_labelmap(volume.grid, labels, inputs.stage.segments))


@dataclass
class Clock:
    """A clock that tests move."""

    now: datetime = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time, one millisecond later at every call."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Lab:
    """A gateway taken apart on the bench."""

    env: Environment
    clock: Clock
    receiver: Receiver
    runner: StageRunner
    work: Mapping[StageKind, Work]
    received: list[Received] = field(default_factory=list)

    @classmethod
    def create(cls, folder: Path, config: Config | None = None, clock: Clock | None = None) -> Lab:
        """Open a data folder."""
        clock = clock or Clock()
        env = build_environment(config or toy_config(), folder, version="0.0.0", clock=clock)
        SQLModel.metadata.create_all(env.database.engine)
        receiver = Receiver(env.database, env.blobs, clock, 0, lambda _received: None)
        work = {**WORK, StageKind.SEGMENTATION: threshold_segment}
        runner = StageRunner(env, device="cpu", work=work)
        return cls(env=env, clock=clock, receiver=receiver, runner=runner, work=work)

    def send(self, files: Iterable[Path], *, sender: str = "SCANNER", **more: str) -> None:
        """Receive files as one association would bring them."""
        for file in files:
            self.received.append(
                self.receiver.receive(file, door="dicom", sender=sender, called_aet="OVERREAD", **more)
            )

    def close(self) -> tuple[str, ...]:
        """Let the quiet time pass and close every study that is due; return the cases touched."""
        self.clock.advance(3600)
        closures = find_closable(self.env, now=self.clock(), still_sending=(), expected_count=lambda _peer, _uid: None)
        return tuple(case for closure in closures for case in close_study(self.env, closure))

    def run(self, *, most: int = 100) -> list[tuple[str, str]]:
        """Run ready stage runs one after another; return (stage, outcome) of each."""
        done = []
        for _ in range(most):
            with self.env.database.read() as session:
                run = next_ready(session)
            if run is None or run.id is None:
                return done
            done.append((run.stage, self.runner.run(run.id)))
        raise AssertionError(f"still ready after {most} stage runs")

    def process(self, files: Iterable[Path], **more: str) -> Case:
        """Receive, close and run; return the one case."""
        self.send(files, **more)
        (case_id,) = self.close()
        self.run()
        return self.case(case_id)

    def edit(self, file: Path | bytes, *, sender: str = "READER1", **more: str) -> EditOutcome:
        """Receive an edited SEG, match it, and run what it set off."""
        self.receiver.receive(file, door="dicom", sender=sender, called_aet="OVERREAD", **more)
        (outcome,) = self.look()
        return outcome

    def look(self) -> list[EditOutcome]:
        """Look at what was received and may be an edit, and run what that set off."""
        outcomes = [handle_edit(self.env, uid) for uid in pending_edits(self.env)]
        self.run()
        return outcomes

    def edited(self, output: Output, images: list[Path], *, seed: int = 1) -> Path:
        """Let the stand-in viewer edit an output; return its file."""
        dataset, painted = edit_seg(self.output_file(output), images, seed=seed, first_slice=(seed - 1) % 3)
        assert painted > 0
        path = images[0].parent.parent / f"edit_{seed}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    def newest_seg(self, case: Case, stage: str) -> Output:
        """Return the SEG of a stage that is current."""
        return next(o for o in reversed(self.outputs(case, kind="SEG", stage=stage)) if not o.superseded)

    def audit(self, *actions: str) -> list[AuditEvent]:
        """Return the audit trail, or the events of some actions."""
        with self.env.database.read() as session:
            rows = session.exec(select(AuditEvent).order_by(col(AuditEvent.id))).all()
        return [row for row in rows if not actions or row.action in actions]

    def case(self, case_id: str) -> Case:
        """Return a case."""
        with self.env.database.read() as session:
            case = session.get(Case, case_id)
        assert case is not None
        return case

    def states(self, case: Case, iteration: int | None = None) -> dict[str, StageRunState]:
        """Return stage states of an iteration, the current one unless told."""
        return {stage: run.state for stage, run in self.runs(case, iteration).items()}

    def runs(self, case: Case, iteration: int | None = None) -> dict[str, StageRun]:
        """Return the stage runs of an iteration."""
        number = case.iteration if iteration is None else iteration
        with self.env.database.read() as session:
            rows = session.exec(
                select(StageRun).where(
                    StageRun.case_id == case.id, StageRun.generation == case.generation, StageRun.iteration == number
                )
            ).all()
        return {row.stage: row for row in rows}

    def outputs(self, case: Case, *, kind: str = "", stage: str = "") -> Sequence[Output]:
        """Return the outputs of a case, oldest first."""
        with self.env.database.read() as session:
            rows = session.exec(select(Output).where(Output.case_id == case.id).order_by(col(Output.made_at))).all()
        return [row for row in rows if kind in ("", row.kind) and stage in ("", row.stage)]

    def output_file(self, output: Output) -> Path:
        """Return where an output's bytes are."""
        return self.env.blobs.path(output.sha256)

    def holds(self) -> Sequence[Hold]:
        """Return all held objects."""
        with self.env.database.read() as session:
            return session.exec(select(Hold).order_by(col(Hold.id))).all()

    def edits(self) -> Sequence[Edit]:
        """Return all accepted edits."""
        with self.env.database.read() as session:
            return session.exec(select(Edit).order_by(col(Edit.id))).all()

    def iterations(self, case: Case) -> Sequence[Iteration]:
        """Return the iterations of a case."""
        with self.env.database.read() as session:
            return session.exec(select(Iteration).where(Iteration.case_id == case.id).order_by(col(Iteration.id))).all()
