"""Telling what an edit belongs to, with 10,000 open outputs: the candidate query, and the match that follows it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import insert
from sqlmodel import SQLModel

from dicom_sr.candidate import Candidate, OutputSource, OutputState
from dicom_sr.match import Hold, Match, match
from dicom_sr.seg_read import parse_seg, read_seg, read_seg_header
from dicom_sr.segmentation import Segmentation
from dicom_sr.series import read_series
from dicom_sr.source import SourceSeries
from dicom_sr.uids import derive_uid
from gateway.domain.case import CaseState
from gateway.domain.instance import InstanceKind
from gateway.domain.qc_status import QcStatus
from gateway.domain.stage_run import StageRunState
from gateway.services.edit_candidates import Citation, candidates_for
from gateway.services.environment import Environment, build_environment
from gateway.store.database import Database
from gateway.store.tables import (
    Case,
    Instance,
    Iteration,
    IterationOutput,
    Output,
    Series,
    StageRun,
    Study,
)
from tests.bench.row import Row, median_seconds
from tests.support.lab import toy_config
from tests.support.make_segmentation import make_segments
from tests.support.make_series import make_mr_series
from tests.support.seg_writers import OHIF_LABELMAP, declare, frames_of, write_foreign

OUTPUTS = 10_000
#: Images of each study; a whole row for each would only make the filling longer.
IMAGES = 8
SHAPE = (24, 128, 128)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> list[Row]:
    """Fill a data folder, then look for what one edit belongs to."""
    with tempfile.TemporaryDirectory(prefix="overread-bench-") as name:
        folder = Path(name)
        env = build_environment(toy_config(), folder / "data", version="0")
        SQLModel.metadata.create_all(env.database.engine)
        _fill(env.database, env.blobs.put(b"an image"))
        rows = [*_query_rows(env), *_match_rows(folder)]
        env.database.close()
    return rows


def _query_rows(env: Environment) -> Iterator[Row]:
    wanted = Citation(
        study_instance_uid=_uid("study", OUTPUTS // 2),
        image_uids=frozenset(_uid("image", OUTPUTS // 2, number) for number in range(IMAGES)),
    )
    copied = replace(wanted, study_instance_uid="1.2.3")
    for what, citation in (("of its study", wanted), ("under a foreign study, by the images it cites", copied)):
        assert len(_query(env, citation)) == 1
        seconds = median_seconds(partial(_query, env, citation), repetitions=20)
        yield Row(
            what=f"candidates of an edit {what}, {OUTPUTS} open outputs",
            value=1000 * seconds,
            unit="ms",
            repetitions=20,
            note="SQLite, by index",
        )


def _query(env: Environment, citation: Citation) -> tuple[Candidate, ...]:
    with env.database.read() as session:
        return candidates_for(session, env, citation)


def _match_rows(folder: Path) -> Iterator[Row]:
    source = read_series(make_mr_series(folder / "images", shape=SHAPE))
    data, candidate = _edit(source)
    others = [_other(candidate, number) for number in range(OUTPUTS - 1)]

    def found(candidates: list[Candidate]) -> object:
        dataset = parse_seg(data)
        header = read_seg_header(dataset)
        return match(header, lambda source: read_seg(dataset, source, header=header), candidates)

    assert isinstance(found([candidate]), Match)
    size = " x ".join(map(str, SHAPE))
    yield Row(
        what="match an edit to the candidates of its study",
        value=1000 * median_seconds(lambda: found([candidate]), repetitions=20),
        unit="ms",
        bar=50,
        repetitions=20,
        note=f"parse, read, compare and measure {size}, three segments",
    )
    nobody = read_seg_header(parse_seg(data))
    stranger = replace(nobody, patient_id="nobody")
    assert isinstance(match(stranger, _unread, [*others, candidate]), Hold)
    yield Row(
        what=f"match an edit against {OUTPUTS} open outputs without a query, by its header",
        value=1000 * median_seconds(lambda: match(stranger, _unread, [*others, candidate]), repetitions=10),
        unit="ms",
        bar=50,
        repetitions=10,
    )


def _unread(_source: SourceSeries) -> Any:
    raise AssertionError("the header settles it")


def _edit(source: SourceSeries) -> tuple[bytes, Candidate]:
    """An edit as OHIF saves it, and the output that it edits."""
    assert source.grid is not None
    labels = ("Brain", "Ventricle", "Lesion")
    masks = {n: np.zeros(SHAPE, bool) for n in (1, 2, 3)}
    masks[1][3:21, 20:100, 20:60] = True
    masks[2][8:14, 40:70, 65:90] = True
    masks[3][10:12, 80:92, 70:80] = True
    segments = make_segments(*labels)
    delivered = Segmentation.from_masks(source.grid, masks, segments)
    edited = {n: mask.copy() for n, mask in masks.items()}
    edited[3][11, 92:96, 70:80] = True
    data = write_foreign(source, declare(*labels), frames_of(edited, kind=OHIF_LABELMAP.kind), OHIF_LABELMAP)
    candidate = Candidate(
        case_id="one",
        stage="brain",
        iteration=0,
        state=OutputState.OPEN,
        study_instance_uid=source.study_instance_uid,
        patient_id=source.patient_id,
        source=OutputSource.of(source),
        sop_instance_uid=derive_uid("bench output"),
        series_instance_uid=derive_uid("bench output series"),
        segments=segments,
        load=lambda: delivered,
    )
    return data, candidate


def _other(candidate: Candidate, number: int) -> Candidate:
    """An open output of somebody else."""
    return replace(
        candidate,
        case_id=f"case {number}",
        study_instance_uid=_uid("study", number),
        sop_instance_uid=_uid("output", number),
        series_instance_uid=_uid("output series", number),
        source=replace(
            candidate.source,
            series_instance_uid=_uid("series", number),
            frame_of_reference_uid=_uid("frame", number),
            sop_instance_uids=frozenset(_uid("image", number, image) for image in range(3)),
        ),
    )


def _uid(*parts: str | int) -> str:
    numbers = ".".join(str(part) for part in parts if isinstance(part, int))
    return f"1.2.840.99.{sum(map(ord, str(parts[0])))}.{numbers}"


def _fill(database: Database, sha256: str) -> None:
    """Lay studies with one delivered, open output each; one blob stands for every object."""
    tables: dict[type[SQLModel], list[dict[str, object]]] = {
        table: [] for table in (Study, Series, Instance, Case, Iteration, StageRun, Output, IterationOutput)
    }
    for number in range(OUTPUTS):
        _lay(tables, number, sha256)
    with database.write() as session:
        for table, rows in tables.items():
            session.connection().execute(insert(table.__table__), rows)  # type: ignore[attr-defined]


def _lay(tables: dict[type[SQLModel], list[dict[str, object]]], number: int, sha256: str) -> None:
    study, series, case, output = _uid("study", number), _uid("series", number), f"c{number}", _uid("output", number)
    images = [_uid("image", number, image) for image in range(IMAGES)]
    place = {"case_id": case, "generation": 1, "iteration": 0}
    complete = [
        Study(study_instance_uid=study, patient_id=f"P{number}", first_received_at=_NOW, last_received_at=_NOW),
        Series(series_instance_uid=series, study_instance_uid=study, frame_of_reference_uid=_uid("frame", number)),
        *(
            Instance(
                sop_instance_uid=image,
                series_instance_uid=series,
                study_instance_uid=study,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                sha256=sha256,
                kind=InstanceKind.IMAGE,
                received_at=_NOW,
            )
            for image in images
        ),
        Case(
            id=case,
            study_instance_uid=study,
            pipeline="toy",
            state=CaseState.IN_REVIEW,
            qc_status=QcStatus.NOT_REVIEWED,
            opened_at=_NOW,
            changed_at=_NOW,
        ),
        Iteration(
            case_id=case,
            generation=1,
            number=0,
            cause="AUTOMATIC",
            opened_at=_NOW,
            finished_at=_NOW,
            series_instance_uid=series,
            inputs=[{"sop_instance_uid": image, "sha256": sha256} for image in images],
        ),
        StageRun(**place, stage="core", state=StageRunState.DONE),
        Output(
            **place,
            sop_instance_uid=output,
            kind="SEG",
            stage="core",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
            series_instance_uid=_uid("output series", number),
            study_instance_uid=study,
            sha256=sha256,
            made_at=_NOW,
        ),
        IterationOutput(**place, sop_instance_uid=output),
    ]
    for row in complete:
        tables[type(row)].append(row.model_dump(exclude={"id"} if not isinstance(row, Case) else set()))
