"""What `overread check` says of a study, the store, the clock, peers and Orthancs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from gateway.commands.check_line import CheckResult, Outcome
from gateway.commands.check_orthanc import policy_lines
from gateway.commands.check_peers import check_peers
from gateway.commands.check_store import StoreOrder, check_store
from gateway.commands.checks import run_checks
from gateway.commands.output import ExitCode
from gateway.config import Config, NodeConfig
from gateway.dimse.node import DicomNode
from gateway.dispatch.folder_lock import FolderLock
from gateway.store import audit
from orthanc import Policies
from tests.support.dcmtk_peer import running_storescp
from tests.support.make_series import make_mr_series
from tests.support.memory import memory_folder
from tests.support.web_gateway import Bench

RETENTION = {"data": {"retention": [{"remove": "received", "after_days": 0, "studies": "untaken"}]}}


@pytest.fixture
def bench() -> Iterator[Bench]:
    with memory_folder() as folder:
        bench = Bench(folder=folder)
        yield bench
        bench.close()


def _details(lines: list[CheckResult], *names: str) -> str:
    return " | ".join(line.detail for line in lines if line.name in names)


def test_a_study_is_judged_before_it_is_sent(tmp_path: Path) -> None:
    files = make_mr_series(tmp_path / "study" / "a", shape=(20, 32, 32), spacing=(1.0, 1.0, 1.0), seed="crop")
    make_mr_series(tmp_path / "study" / "b", shape=(5, 32, 32), seed="few")
    shutil.copy(files[0], tmp_path / "study" / "again.dcm")
    changed = dcmread(files[1])
    changed.ImageComments = "another"
    changed.save_as(tmp_path / "study" / "changed.dcm")
    lines = run_checks(None, None, peers=False, study=tmp_path / "study")
    found = {line.name: line.detail for line in lines}
    assert found["series 1 (20 files)"].startswith("taken by hippocampus-mr")
    assert "image QC says hippocampus-mr: " in found["series 1 (20 files)"]
    assert "hippocampus-mr: 5 slices, fewer than 16" in found["series 2 (5 files)"]
    assert [line.outcome for line in lines if line.name == "duplicates"] == [Outcome.NOTE, Outcome.FAILED]


def test_what_is_held_already_is_counted(bench: Bench, tmp_path: Path) -> None:
    files = make_mr_series(tmp_path, shape=(3, 8, 8), seed="held")
    for file in files[:2]:
        bench.services.receiver.receive(file, door="upload", sender="test")
    lines = run_checks(None, bench.folder, peers=False, study=tmp_path)
    assert _details(list(lines), "held already").startswith("2 of 3 instances: the same bytes change nothing")


def test_the_store_says_what_belongs_to_nobody_and_a_repair_puts_it_aside(bench: Bench) -> None:
    bench.seed.study(77, instances=3)
    orphan = bench.blobs.location(bench.blobs.put(b"nobody"))
    os.utime(orphan, (0, 0))
    config = Config.model_validate(RETENTION)

    def said(**order: bool) -> str:
        return _details(list(check_store(config, bench.folder, StoreOrder(**order))), "store", "retention")

    assert "1 objects that no row names" in said()
    assert "received of untaken studies after 0 days: would take 3 objects of 1 studies now" in said()
    assert orphan.is_file()
    with FolderLock(bench.folder):
        assert "another gateway works in the data folder" in said(repair=True)
    assert "put aside in" in said(repair=True)
    assert [path.read_bytes() for path in (bench.folder / "quarantine").rglob(orphan.name)] == [b"nobody"]
    assert "no row names" not in said(deep=True)


def test_an_object_that_is_gone_fails_the_check_and_names_the_table(bench: Bench) -> None:
    bench.seed.study(77, instances=3)
    next(bench.blobs.location(name) for name in bench.blobs.all_digests()).unlink()
    lines = list(check_store(Config(), bench.folder, StoreOrder()))
    (failed,) = [line for line in lines if line.outcome is Outcome.FAILED]
    assert failed.detail.startswith("1 objects that rows name (instance) are not on the disk")


def test_a_store_without_a_data_folder_and_an_empty_one_say_so(tmp_path: Path) -> None:
    lines = run_checks(None, None, peers=False, store=StoreOrder())
    assert _details(list(lines), "store") == "no data folder is named: give --data, or data.folder"
    assert "holds no gateway's data yet" in _details(list(check_store(Config(), tmp_path, StoreOrder())), "store")


def test_a_clock_that_was_set_back_is_a_fault(bench: Bench) -> None:
    with bench.database.write() as session:
        audit.append(session, at=datetime.now(UTC) + timedelta(hours=1), actor="overread", action="TEST")
    lines = run_checks(None, bench.folder, peers=False)
    (clock,) = [line for line in lines if line.name == "clock"]
    assert (clock.outcome, clock.code) == (Outcome.FAILED, ExitCode.FAILED)


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ({"overwrites": True, "accepts_unknown_classes": True, "known_titles": frozenset({"OVERREAD"})}, []),
        ({"overwrites": True, "accepts_unknown_classes": False}, ["UnknownSopClassAccepted is false"]),
        ({"overwrites": False}, ["OverwriteInstances is false"]),
        ({}, ["OverwriteInstances cannot be read in version 1"]),
        ({"overwrites": True, "is_read_only": True}, ["ReadOnly is true"]),
        ({"overwrites": True, "recycles": True}, ["MaximumStorageMode is Recycle"]),
        ({"overwrites": True, "ingest_transcoding": "1.2"}, ["IngestTranscoding is 1.2"]),
        ({"overwrites": True, "known_titles": frozenset()}, ["'OVERREAD' is not among its DicomModalities"]),
    ],
)
def test_policies_of_an_orthanc_that_lose_edits_are_named(policies: dict[str, Any], said: list[str]) -> None:
    lines = list(policy_lines("x", Policies(version="1", ae_title="ORTHANC", **policies), our_title="OVERREAD"))
    assert [line.detail.startswith(text) for line, text in zip(lines, said, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({}, ["TCP and C-ECHO", "takes Comprehensive 3D SR, Segmentation, Secondary Capture"]),
        ({"seg": "LABELMAP", "outputs": ["SEG"]}, ["TCP and C-ECHO", "takes Label Map Segmentation"]),
        ({"outputs": ["SEG", "KOS"]}, ["TCP and C-ECHO", "takes Segmentation"]),
    ],
)
def test_a_destination_is_asked_for_what_would_be_sent_to_it(
    bench: Bench, profile: dict[str, Any], said: list[str]
) -> None:
    node = DicomNode(NodeConfig(port=0), bench.services.receiver, lambda _transfer: None)
    host, port = node.start()
    pacs = {"name": "pacs", "kind": "dicom", "ae_title": "OVERREAD", "host": host, "port": port, "read_back": False}
    pipeline = pipeline_to_pacs()
    config = Config.model_validate({"destinations": [{**pacs, **profile}], "pipelines": [pipeline]})
    try:
        lines = [line.detail.partition(": ")[2] or line.detail for line in check_peers(config, None)]
    finally:
        node.stop(2.0)
    assert lines == said


def pipeline_to_pacs() -> dict[str, Any]:
    """A pipeline of the default outputs that goes to the destination `pacs`."""
    return {"name": "p", "stages": {"report": {"kind": "report"}}, "destinations": ["pacs"]}


@pytest.mark.peer
def test_a_destination_that_refuses_a_class_is_named_with_the_way_out(tmp_path: Path) -> None:
    # dcmtk's storescp does not know label maps.
    with running_storescp(tmp_path) as scp:
        pacs = {"name": "pacs", "kind": "dicom", "ae_title": "SCP", "host": "127.0.0.1", "port": scp.port}
        pacs["seg"] = "LABELMAP"
        config = Config.model_validate({"destinations": [pacs], "pipelines": [pipeline_to_pacs()]})
        lines = list(check_peers(config, None))
    (refused,) = [line for line in lines if line.outcome is Outcome.FAILED]
    assert refused.detail.startswith("refuses Label Map Segmentation: ")
    assert "set 'seg: BINARY' for it" in refused.detail
    assert lines[-1].detail.startswith("offers no C-FIND")
