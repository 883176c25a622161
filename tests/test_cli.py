"""The command line: names, exit codes, one line for an error, and JSON on every verb that prints."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.commands import evaluation
from gateway.config import NodeConfig
from gateway.dimse.node import DicomNode
from gateway.services.receive import Receiver
from gateway.store.tables import Case
from models.brain import heads
from models.image_qc import evaluate, real_scans
from models.measured import goals
from tests.support.make_series import make_mr_series
from tests.support.web_gateway import Bench, serving

#: Verbs of the outside contract (DESIGN section 7) that this version speaks.
VERBS = (
    *("init", "check", "serve", "demo", "send", "echo", "cases", "show", "review", "edit", "bundle", "holds"),
    *("models", "train", "evaluate", "replay", "audit", "conformance", "version"),
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(folder=tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def url(bench: Bench) -> Iterator[str]:
    with serving(bench) as address:
        yield address


@pytest.fixture
def case(bench: Bench) -> Case:
    study = bench.seed.study(1)
    case = bench.seed.case(study)
    bench.seed.iteration(case)
    return case


@pytest.fixture
def node(bench: Bench) -> Iterator[tuple[str, int]]:
    receiver = Receiver(bench.database, bench.blobs, bench.clock, 0, bench.new.append)
    node = DicomNode(NodeConfig(port=0), receiver, lambda _transfer: None)
    yield node.start()
    node.stop(5)


def in_process_of_its_own(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from gateway.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


def test_help_names_every_verb_of_the_contract(overread: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = overread("--help")
    assert code == 0
    offered = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ")}
    assert set(VERBS) <= offered


def test_help_imports_nothing_slow() -> None:
    """What makes help slow is what it imports; the time itself is in `make bench`, where nothing else runs."""
    script = "import sys; from gateway import cli; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    modules = {name.partition(".")[0] for name in loaded.stdout.split()}
    slow = {"torch", "monai", "numpy", "pydicom", "pynetdicom", "highdicom", "fastapi", "sqlmodel", "pydantic"}
    slow |= {"requests", "structlog", "rich", "ruamel"}
    assert slow & modules == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("show",),
        ("show", ""),
        ("show", "../holds"),
        ("review", "c1", "PERHAPS"),
        ("cases", "--state", "NONSENSE"),
        ("cases", "--url", "localhost"),
        ("deliveries", "--state", "LOST"),
        ("echo", "--port", "0"),
        ("echo", "--called", "LONGER_THAN_SIXTEEN"),
        ("echo", "--calling", " "),
    ],
)
def test_wrong_usage_ends_with_2(overread: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...]) -> None:
    code, _, err = overread(*arguments)
    assert code == 2
    assert "Error" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ("cases",),
        ("show", "c1"),
        ("review", "c1", "PASS"),
        ("bundle", "c1"),
        ("holds",),
        ("holds", "resolve", "1", "discard", "-m", "x"),
        ("audit",),
        ("audit", "verify"),
        ("echo", "--port", "1"),
    ],
)
def test_no_peer_ends_with_4_and_one_line_that_says_what_to_do(
    overread: Callable[..., tuple[int, str, str]], arguments: tuple[str, ...]
) -> None:
    where = () if arguments[0] == "echo" else ("--url", "http://127.0.0.1:1")
    code, out, err = overread(*arguments, *where)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("overread: ")


def test_init_writes_a_configuration_that_check_accepts(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "overread.yaml"
    assert overread("init", file)[0] == 0
    code, out, _ = overread("init", "-")
    assert (code, out) == (0, file.read_text(encoding="utf-8"))
    code, out, _ = overread("check", "--config", file, "--data", tmp_path / "data", "--no-peers", "--json")
    checks = {row["check"]: row for row in json.loads(out)}
    assert checks["configuration"]["outcome"] == "ok"
    assert checks["data folder"]["outcome"] == "ok"


def test_init_does_not_overwrite_unless_told(overread: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    file = tmp_path / "overread.yaml"
    file.write_text("mine", encoding="utf-8")
    code, _, err = overread("init", file)
    assert (code, file.read_text(encoding="utf-8")) == (1, "mine")
    assert "--force" in err
    assert overread("init", file, "--force")[0] == 0
    assert "node:" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", [("check",), ("serve", "--data", "x")])
def test_a_faulty_configuration_ends_with_3_and_every_fault(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path, verb: tuple[str, ...]
) -> None:
    file = tmp_path / "overread.yaml"
    file.write_text("node:\n  prot: 1\nweb:\n  prot: 2\n", encoding="utf-8")
    code, out, err = overread(*verb, "--config", file)
    assert code == 3
    assert "overread.yaml:2: node.prot: unknown key 'prot' (did you mean 'port'?)" in out + err
    assert "overread.yaml:4: web.prot: unknown key 'prot' (did you mean 'port'?)" in out + err
    assert "Traceback" not in out + err


def test_serve_without_a_data_folder_ends_with_3(overread: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = overread("serve")
    assert code == 3
    assert "--data" in err


def test_check_tells_tcp_and_c_echo_apart_and_ends_with_4(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path, node: tuple[str, int]
) -> None:
    file = tmp_path / "overread.yaml"
    host, port = node
    file.write_text(
        "destinations:\n"
        f"  - {{name: right, kind: dicom, ae_title: OVERREAD, host: {host}, port: {port}}}\n"
        f"  - {{name: title, kind: dicom, ae_title: OTHER, host: {host}, port: {port}}}\n"
        f"  - {{name: nobody, kind: dicom, ae_title: OTHER, host: {host}, port: 1}}\n"
        "  - {name: web, kind: stow, url: 'http://127.0.0.1:1/dicom-web'}\n",
        encoding="utf-8",
    )
    code, out, _ = overread("check", "--config", file, "--json")
    rows = json.loads(out)
    found = {row["check"]: row for row in rows}
    assert code == 4
    assert [row["detail"] for row in rows if row["check"] == "destination right"] == [
        f"OVERREAD@{host}:{port}: TCP and C-ECHO", "no pipeline sends anything to it",
    ]  # fmt: skip
    assert "TCP connects, C-ECHO does not" in found["destination title"]["detail"]
    assert "no TCP connection" in found["destination nobody"]["detail"]
    assert found["destination web"]["outcome"] == "FAIL"


def test_check_finds_a_changed_audit_trail(
    overread: Callable[..., tuple[int, str, str]], bench: Bench, case: Case
) -> None:
    code, out, _ = overread("check", "--data", bench.folder, "--no-peers", "--json")
    assert {row["check"]: row["outcome"] for row in json.loads(out)}["audit chain"] == "ok"
    with bench.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_event SET actor = 'somebody else' WHERE id = 1")
    code, out, _ = overread("check", "--data", bench.folder, "--no-peers", "--json")
    assert code == 1
    assert {row["check"]: row["outcome"] for row in json.loads(out)}["audit chain"] == "FAIL"


def test_echo_reaches_a_node(overread: Callable[..., tuple[int, str, str]], node: tuple[str, int]) -> None:
    code, out, _ = overread("echo", "--host", node[0], "--port", node[1], "--json")
    assert code == 0
    assert json.loads(out)["answered"] is True


def test_echo_to_the_wrong_title_is_refused_in_a_sentence(
    overread: Callable[..., tuple[int, str, str]], node: tuple[str, int]
) -> None:
    code, _, err = overread("echo", "--host", node[0], "--port", node[1], "--called", "SOMEBODY")
    assert code == 1
    assert "does not answer to the AE title we called" in err


def test_send_finds_the_dicom_files_of_a_folder_and_stores_them(
    overread: Callable[..., tuple[int, str, str]], node: tuple[str, int], tmp_path: Path, bench: Bench
) -> None:
    folder = tmp_path / "study"
    files = make_mr_series(folder, shape=(4, 8, 8))
    (folder / "README.txt").write_text("no DICOM", encoding="utf-8")
    code, out, _ = overread("send", folder, files[0], "--host", node[0], "--port", node[1], "--json")
    assert code == 0
    assert [row["outcome"] for row in json.loads(out)["sent"]] == ["ACCEPTED"] * 4
    assert len(bench.new) == 4


def test_send_of_nothing_fails(
    overread: Callable[..., tuple[int, str, str]], node: tuple[str, int], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = overread("send", tmp_path / "empty", "--port", node[1])
    assert (code, err) == (1, f"overread: no DICOM file found in {tmp_path / 'empty'}\n")


def test_send_waits_for_the_verdict_as_long_as_it_is_told(
    overread: Callable[..., tuple[int, str, str]], node: tuple[str, int], url: str, tmp_path: Path
) -> None:
    make_mr_series(tmp_path / "study", shape=(2, 8, 8))
    started = time.monotonic()
    send = ("send", tmp_path / "study", "--host", node[0], "--port", node[1], "--url", url)
    code, _, err = overread(*send, "--wait", "2.2")
    assert (code, err) == (4, "overread: no verdict after 2 s; 'overread cases' shows how far the case is\n")
    assert time.monotonic() - started > 2.2
    assert overread(*send)[0] == 0


def test_cases_lists_and_filters(overread: Callable[..., tuple[int, str, str]], url: str, case: Case) -> None:
    code, out, _ = overread("cases", "--url", url)
    assert code == 0
    assert case.id in out
    listed = json.loads(overread("cases", "--url", url, "--json")[1])
    assert [row["id"] for row in listed["cases"]] == [case.id]
    assert overread("cases", "--url", url, "--state", "final")[1] == "no cases\n"


def test_show_prints_what_ran_and_ends_with_5_if_asked_and_not_accepted(
    overread: Callable[..., tuple[int, str, str]], url: str, bench: Bench, case: Case
) -> None:
    code, out, _ = overread("show", case.id, "--check", "--url", url)
    assert code == 0
    assert "subfields" in out
    assert "EXECUTED" in out
    reason = {"stage": "s", "code": "VOLUME", "segment": "", "outcome": "REVIEW", "text": "volume is 9 ml"}
    other = bench.seed.case(bench.seed.study(2))
    bench.seed.iteration(other, verdict="REVIEW", reasons=(reason,))
    assert overread("show", other.id, "--url", url)[0] == 0
    code, out, _ = overread("show", other.id, "--check", "--url", url)
    assert code == 5
    assert "REVIEW: volume is 9 ml" in out
    assert json.loads(overread("show", other.id, "--url", url, "--json")[1])["verdict"]["outcome"] == "REVIEW"


def test_show_of_no_case_fails_in_a_sentence(overread: Callable[..., tuple[int, str, str]], url: str) -> None:
    code, out, err = overread("show", "c0", "--url", url)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_review_decides_and_an_illegal_decision_fails_with_the_reason(
    overread: Callable[..., tuple[int, str, str]], url: str, case: Case
) -> None:
    code, _, err = overread("review", case.id, "PASS_WITH_EDITS", "--url", url)
    assert code == 1
    assert "needs at least one accepted edit" in err
    code, out, _ = overread("review", case.id, "pass", "-m", "looks good", "--url", url, "--json")
    assert code == 0
    assert json.loads(out)["qc_status"] == "PASS"


def test_bundle_downloads_a_zip_with_a_manifest(
    overread: Callable[..., tuple[int, str, str]], url: str, case: Case, tmp_path: Path
) -> None:
    target = tmp_path / "results.zip"
    code, out, _ = overread("bundle", case.id, "-o", target, "--url", url, "--json")
    assert code == 0
    assert json.loads(out) == {"file": str(target), "bytes": target.stat().st_size}
    assert any("manifest" in name for name in zipfile.ZipFile(target).namelist())
    assert not list(tmp_path.glob("*.part"))


def test_a_bundle_that_cannot_be_written_is_not_taken(
    overread: Callable[..., tuple[int, str, str]], url: str, case: Case, tmp_path: Path
) -> None:
    for target in (tmp_path / "nowhere" / "x.zip", tmp_path):
        code, _, err = overread("bundle", case.id, "-o", target, "--url", url)
        assert code == 1
        assert err.startswith(f"overread: {target} cannot be written: ")
    assert json.loads(overread("show", case.id, "--url", url, "--json")[1])["qc_assignee"] == ""


def test_a_bundle_that_cannot_be_had_leaves_no_file(
    overread: Callable[..., tuple[int, str, str]], url: str, tmp_path: Path
) -> None:
    assert overread("bundle", "c0", "-o", tmp_path / "x.zip", "--url", url)[0] == 1
    assert not list(tmp_path.glob("x.zip*"))


def test_edit_hands_in_a_file_and_says_what_became_of_it(
    overread: Callable[..., tuple[int, str, str]], url: str, case: Case, tmp_path: Path
) -> None:
    (image,) = make_mr_series(tmp_path / "image", shape=(1, 8, 8))
    code, _, err = overread("edit", case.id, image, "--url", url)
    assert code == 1
    assert "neither a DICOM segmentation object" in err
    label_map = tmp_path / "edit.nii.gz"
    label_map.write_bytes(gzip.compress(b"any"))
    code, _, err = overread("edit", case.id, label_map, "--url", url)
    assert code == 1
    assert "--stage NAME" in err
    code, _, err = overread("edit", case.id, label_map, "--stage", "hippocampus", "--url", url)
    assert code == 1
    assert "the edit is held" in err


def test_holds_lists_reasons_and_resolves(
    overread: Callable[..., tuple[int, str, str]], url: str, bench: Bench
) -> None:
    hold = bench.seed.hold(study_uid=bench.seed.study(1).study_instance_uid)
    code, out, _ = overread("holds", "--url", url)
    assert code == 0
    assert "GRID_MISMATCH" in out
    assert overread("holds", "resolve", hold.id, "discard", "--url", url)[0] == 2
    assert overread("holds", "resolve", hold.id, "discard", "-m", "a test", "--url", url)[0] == 0
    assert overread("holds", "--url", url)[1] == "nothing is held\n"
    assert json.loads(overread("holds", "--url", url, "--json")[1]) == []


def test_audit_lists_and_verifies(
    overread: Callable[..., tuple[int, str, str]], url: str, bench: Bench, case: Case
) -> None:
    code, out, _ = overread("audit", "--case", case.id, "--url", url)
    assert code == 0
    assert "CASE_OPENED" in out
    assert json.loads(overread("audit", "verify", "--url", url, "--json")[1])["whole"] is True
    with bench.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit_event SET actor = 'somebody else' WHERE id = 1")
    code, _, err = overread("audit", "verify", "--url", url)
    assert code == 1
    assert "event 1 does not fit" in err


def test_models_are_listed_and_verified(overread: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = overread("models", "--verify", "--json")
    assert code == 0
    shipped = {row["name"]: row for row in json.loads(out)}
    assert {"hippocampus", "hippocampus-subfields"} <= set(shipped)
    assert {row["verified"] for row in shipped.values()} == {"ok"}


@pytest.mark.parametrize(
    ("family", "trainer", "weights"),
    [
        ("segmentation", "models.segmentation.train.train", ["hippocampus", "hippocampus-subfields"]),
        ("segmentation-qc", "models.segmentation_qc.train.train", ["hippocampus-qc"]),
        ("nnqc", "models.segmentation_qc.nnqc.evaluate.train_and_calibrate", ["hippocampus-nnqc"]),
        ("nnqc-further", "models.segmentation_qc.nnqc.evaluate.train_and_calibrate", ["hippocampus-nnqc"]),
        ("nnqc-calibration", "models.segmentation_qc.nnqc.evaluate.calibrate_shipped", ["hippocampus-nnqc"]),
        ("image-qc", "models.image_qc.train.train", ["image-qc"]),
    ],
)
def test_train_finds_the_data_set_and_names_the_weights(
    overread: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    family: str,
    trainer: str,
    weights: list[str],
) -> None:
    (tmp_path / "hippocampus_msd").mkdir()
    monkeypatch.setattr("gateway.commands.training.WORK", tmp_path / "work")
    given: list[tuple[Path, Path]] = []

    def train(data: Path, out: Path, **_: object) -> Path:
        given.append((data, out))
        return out

    monkeypatch.setattr(trainer, train)
    code, out, _ = overread("train", family, tmp_path, "--out", tmp_path / "w", "--json")
    expected = [tmp_path / "w" / name for name in weights]
    assert code == 0
    assert given == [(tmp_path / "hippocampus_msd", folder) for folder in expected]
    assert json.loads(out)["weights"] == [str(folder) for folder in expected]


def every_data_set(folder: Path) -> Path:
    """Make the folders that measuring looks for, with nothing in them."""
    for name in {*heads.DATA_SETS, *real_scans.DATA_SETS, *evaluate.DATA_SETS}:
        (folder / "data" / name).mkdir(parents=True)
    return folder / "data"


def test_evaluate_all_measures_every_family_into_a_folder_of_its_own(
    overread: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation, "_measure", lambda family, data, out: {"family": family, "out": str(out)})
    code, out, _ = overread("evaluate", "all", every_data_set(tmp_path), "--out", tmp_path / "r", "--json")
    assert code == 0
    families = [one for one in evaluation.Evaluable if one is not evaluation.Evaluable.ALL]
    assert "image-qc-adaptation" in families
    assert {name: report["out"] for name, report in json.loads(out).items()} == {
        name: str(tmp_path / "r" / name) for name in families
    }


def test_replay_in_a_folder_that_is_no_gateways_creates_nothing_there(
    overread: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = overread("replay", "c1", "--data", tmp_path)
    assert (code, err) == (1, f"overread: no gateway has worked in {tmp_path}: it holds no database\n")
    assert list(tmp_path.iterdir()) == []


def test_every_family_of_the_goals_is_measured_by_evaluate() -> None:
    assert {goal.family for goal in goals()} <= set(evaluation.Evaluable)


def test_evaluate_writes_the_table_into_the_file_that_is_named_and_leaves_the_rest(
    overread: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evaluation, "_measure", lambda *_: {})
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: measured -->\nold\n<!-- end of measured -->\nafter\n")
    code, _, _ = overread("evaluate", "image-qc", every_data_set(tmp_path), "--table", page)
    assert code == 0
    first, *rows, last = page.read_text().splitlines()
    assert (first, last) == ("before", "after")
    assert rows[1].startswith("| what | goal |")
    assert len(rows) > 15


def test_conformance_prints_the_statement(overread: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = overread("conformance")
    assert code == 0
    assert "1.2.840.10008.5.1.4.1.1.66.7" in out
    assert json.loads(overread("conformance", "--json")[1])["statement"] == out


def test_version_names_what_decides_the_output(overread: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = overread("version", "--json")
    assert code == 0
    assert {"overread", "torch", "highdicom", "pydicom"} <= set(json.loads(out))


def test_an_unexpected_error_is_one_line_without_its_message(
    overread: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("CANARY^NAME")

    monkeypatch.setattr("gateway.config_template.template", fail)
    code, out, err = overread("init", "-")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "ValueError at " in err
    assert "CANARY" not in err


def test_output_cut_off_by_its_reader_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -c 'from gateway.cli import main; main()' init - | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("# Configuration")
    assert done.stderr == ""


def test_the_command_works_in_a_process_of_its_own() -> None:
    done = in_process_of_its_own("echo", "--port", "1")
    assert done.returncode == 4
    assert done.stderr.startswith("overread: ")
    assert done.stdout == ""
