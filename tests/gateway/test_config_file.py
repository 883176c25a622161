"""The configuration loader: what it accepts, and the exact line it prints for what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import Config
from gateway.config_file import default_config, load
from gateway.config_keys import all_keys
from gateway.config_template import template
from gateway.domain.errors import ConfigurationError
from gateway.domain.pipeline import EditDoor, OutputKind


def written(folder: Path, text: str, name: str = "overread.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str, **environment: str) -> Config:
    return load(written(folder, text), environment=environment)


def faults(folder: Path, text: str, **environment: str) -> list[str]:
    """Return the lines of the refusal, without the folder."""
    with pytest.raises(ConfigurationError) as refused:
        loaded(folder, text, **environment)
    return [line.replace(f"{folder}/", "") for line in refused.value.detail.splitlines()]


def test_an_empty_file_is_every_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == Config()
    assert loaded(tmp_path, "# nothing but a comment\n") == Config()


def test_the_default_configuration_runs_the_shipped_pipeline_on_loopback() -> None:
    config = default_config(environment={})
    assert config.node.bind == "127.0.0.1"
    assert [pipeline.name for pipeline in config.pipelines] == ["hippocampus-mr"]


def test_the_configuration_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded(tmp_path, "").node.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node:\n  prot: 104\n", "overread.yaml:2: node.prot: unknown key 'prot' (did you mean 'port'?)"),
        ("nodes: {}\n", "overread.yaml:1: nodes: unknown key 'nodes' (did you mean 'node'?)"),
        ("node:\n  port: 99999\n", "overread.yaml:2: node.port: must be at most 65535"),
        ("node:\n  port: dicom\n", "overread.yaml:2: node.port: must be a whole number"),
        ("node:\n  ae_title: 1234\n", "overread.yaml:2: node.ae_title: must be text: put it in quotes"),
        ('node:\n  ae_title: ""\n', "overread.yaml:2: node.ae_title: must not be empty"),
        (
            "node:\n  ae_title: SEVENTEEN_LETTERS\n",
            "overread.yaml:2: node.ae_title: is longer than 16 characters",
        ),
        (
            "node:\n  ae_title: A\\B\n",
            "overread.yaml:2: node.ae_title: holds characters that are not allowed here (plain ASCII, no backslash)",
        ),
        ("node:\n  more_ae_titles: X\n", "overread.yaml:2: node.more_ae_titles: must be a list, in brackets or with"),
        ("node: 5\n", "overread.yaml:1: node: must hold keys"),
        ("- node\n", "overread.yaml:1: the file must hold keys such as 'node:' and 'pipelines:'"),
        ("node:\n  peers:\n    - host: x\n", "overread.yaml:3: node.peers[0].ae_title: is required"),
        (
            "node:\n  peers: [{ae_title: PACS, host: x}]\n  priors: {peer: PAKS}\n",
            "overread.yaml:3: node.priors.peer: there is no peer 'PAKS' (did you mean 'PACS'?)",
        ),
        (
            "node:\n  peers: [{ae_title: PACS}]\n  priors: {peer: PACS}\n",
            "overread.yaml:3: node.priors.peer: 'PACS' needs host and port in node.peers",
        ),
        (
            "node:\n  priors: {called_aet: PRIORS}\n",
            "overread.yaml:2: node.priors.called_aet: there is no AE title of this node 'PRIORS'",
        ),
        (
            "content_qualification: REASEARCH\n",
            "overread.yaml:1: content_qualification: 'REASEARCH' is none of PRODUCT, RESEARCH "
            "(did you mean 'RESEARCH'?)",
        ),
        ("node:\n  quiet_seconds: 0\n", "overread.yaml:2: node.quiet_seconds: must be at least 0.1"),
        ("web:\n  port: 11112\n", "overread.yaml:2: web.port: port 11112 is taken by node.port"),
        ("web:\n  viewer_url: http://x/\n", "overread.yaml:2: web.viewer_url: the link must hold {study_instance_uid}"),
        (
            "destinations:\n  - name: pacs\n    kind: dicom\n    ae_title: P\n",
            "overread.yaml:2: destinations[0].host: a destination of kind 'dicom' needs 'host'",
        ),
        (
            "destinations:\n  - {name: a, kind: stow, url: 'ftp://x'}\n",
            "overread.yaml:2: destinations[0].url: must be a URL that starts with http:// or https://",
        ),
        (
            "web:\n  users:\n    - name: a\n      token_file: nope\n",
            "overread.yaml:4: web.users[0].token_file: there is no such file",
        ),
        ("dispatch:\n  engine: celery\n", "overread.yaml:2: dispatch.engine: 'celery' needs dispatch.broker_url"),
        ("pipelines: [hippocampus-rm]\n", "(did you mean 'hippocampus-mr'?)"),
        ("pipelines:\n- hippocampus-mr\n- 7\n", "overread.yaml:3: pipelines[1]: must hold keys"),
        ("pipelines:\n- {use: 7}\n", "overread.yaml:2: pipelines[0]: 'use' takes the name of a shipped pipeline"),
        ("pipelines:\n- ./mine.yaml\n", "overread.yaml:2: pipelines[0]: ./mine.yaml: there is no such file"),
        ("node: [\n", "overread.yaml:2: "),
        ("node: {}\nnode: {}\n", 'overread.yaml:2: found duplicate key "node"'),
    ],
)
def test_each_fault_names_file_line_key_and_a_way_out(tmp_path: Path, text: str, expected: str) -> None:
    found = faults(tmp_path, text)
    assert any(expected in line for line in found), found


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no such file; 'overread init' writes one"):
        load(tmp_path / "nope.yaml", environment={})


def test_a_folder_and_a_binary_file_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder"):
        load(tmp_path, environment={})
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load(tmp_path / "x.yaml", environment={})


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = faults(tmp_path, "node:\n  prot: 1\n  port: x\nweb:\n  prot: 2\npipelines:\n  - hippo\n")
    assert [line.split(":")[1] for line in found] == ["2", "3", "5", "7"]


def test_a_doubled_key_never_prints_its_values(tmp_path: Path) -> None:
    found = faults(tmp_path, "database:\n  url: secret-one\n  url: secret-two\n")
    assert "secret" not in "".join(found)


def test_an_unknown_key_never_prints_its_value(tmp_path: Path) -> None:
    found = faults(tmp_path, "database:\n  password: hunter2\n")
    assert found == ["overread.yaml:2: database.password: unknown key 'password' (did you mean 'password_file'?)"]


PIPELINE = """
pipelines:
  - use: hippocampus-mr
    name: trial
    version: "7"
    {change}
destinations:
  - {{name: pacs, kind: orthanc, url: "http://127.0.0.1:8042"}}
"""


def test_a_pipeline_may_start_from_a_shipped_one(tmp_path: Path) -> None:
    (shipped,) = default_config(environment={}).pipelines
    trial_entry = (
        "{use: hippocampus-mr, name: trial, destinations: [pacs], policy: {edits: on_request}, outputs: [SEG]}"
    )
    pacs = "{name: pacs, kind: orthanc, url: 'http://127.0.0.1:8042'}"
    text = f"pipelines:\n  - hippocampus-mr\n  - {trial_entry}\ndestinations:\n  - {pacs}\n"
    plain, trial = loaded(tmp_path, text).pipelines
    assert plain == shipped
    assert trial.name == "trial"
    assert trial.destinations == ("pacs",)
    assert trial.outputs == (OutputKind.SEG,)
    assert trial.policy.edits is EditDoor.ON_REQUEST
    assert trial.policy.rerun == shipped.policy.rerun
    assert trial.stages == shipped.stages
    assert trial.match == shipped.match


def test_a_change_of_one_stage_leaves_the_rest_of_it(tmp_path: Path) -> None:
    text = PIPELINE.format(change="stages: {subfields: {editable: false}}")
    (trial,) = loaded(tmp_path, text).pipelines
    (shipped,) = default_config(environment={}).pipelines
    assert trial.stages["subfields"] == shipped.stages["subfields"].model_copy(update={"editable": False})
    assert list(trial.stages) == list(shipped.stages)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            "destinations: [pacx]",
            "overread.yaml:6: pipelines[0].destinations: there is no destination 'pacx' (did you mean 'pacs'?)",
        ),
        (
            "stages: {measure: {needs: [hipocampus]}}",
            "overread.yaml:6: pipelines[0].stages.measure.needs: stage 'measure' needs 'hipocampus', which is no stage "
            "(did you mean 'hippocampus'?)",
        ),
        (
            "stages: {image_qc: {needs: [report]}}",
            "overread.yaml:6: pipelines[0].stages: stages need each other in a circle:",
        ),
        (
            "match: {description: '('}",
            "overread.yaml:6: pipelines[0].match.description: is no regular expression: missing )",
        ),
        (
            "match: {called_aet: [OVERRED]}",
            "overread.yaml:6: pipelines[0].match.called_aet: there is no AE title of this node 'OVERRED' "
            "(did you mean 'OVERREAD'?)",
        ),
        ("match: {extent_mm: [9, 1]}", "overread.yaml:6: pipelines[0].match.extent_mm: the smaller bound comes first"),
        ("match: {extent_mm: [9]}", "pipelines[0].match.extent_mm[1]: is required"),
        (
            "stages: {subfields: {criteria: [{code: VOLUME, segment: Hippocampus anterio}]}}",
            "criteria[0].segment: there is no segment 'Hippocampus anterio' (did you mean 'Hippocampus anterior'?)",
        ),
        (
            "stages: {subfields: {editabel: true}}",
            "overread.yaml:6: pipelines[0].stages.subfields.editabel: unknown key 'editabel' "
            "(did you mean 'editable'?)",
        ),
        (
            "stages: {subfields: {parameters: {a: [1]}}}",
            "overread.yaml:6: pipelines[0].stages.subfields.parameters.a: must be text, a number, or true or false",
        ),
        ("stages: {extra: {kind: magic}}", "'magic' is none of image_qc, segmentation, measure"),
    ],
)
def test_faults_of_a_changed_pipeline_stand_at_the_change(tmp_path: Path, change: str, expected: str) -> None:
    found = faults(tmp_path, PIPELINE.format(change=change))
    assert any(expected in line for line in found), found


def test_a_fault_in_a_pipeline_file_names_that_file(tmp_path: Path) -> None:
    written(tmp_path, "name: mine\nstages:\n  report: {kind: report, need: []}\n", "sub/mine.yaml")
    found = faults(tmp_path, "pipelines: [sub/mine.yaml]\n")
    assert found == ["sub/mine.yaml:3: pipelines[0].stages.report.need: unknown key 'need' (did you mean 'needs'?)"]


def test_names_are_given_once(tmp_path: Path) -> None:
    found = faults(tmp_path, "pipelines: [hippocampus-mr, hippocampus-mr]\n")
    assert any("pipelines[1].name: 'hippocampus-mr' is given twice" in line for line in found)


def test_relative_paths_start_at_the_file_that_holds_them(tmp_path: Path) -> None:
    written(tmp_path, "t", "etc/secrets/alice")
    pipeline = (
        "name: mine\nstages:\n"
        "  s:\n    kind: segmentation\n    model: ./bundle\n"
        "    segments: [{number: 1, label: X, type: {value: '1', meaning: X}}]\n"
        "  report: {kind: report, needs: [s]}\n"
    )
    written(tmp_path, pipeline, "etc/pipelines/mine.yaml")
    text = (
        "data: {folder: var}\nweb: {users: [{name: alice, token_file: secrets/alice}]}\n"
        "pipelines: [pipelines/mine.yaml, hippocampus-mr]\n"
    )
    config = load(written(tmp_path, text, "etc/overread.yaml"), environment={})
    assert config.data.folder == tmp_path / "etc" / "var"
    assert config.web.users[0].token_file == tmp_path / "etc" / "secrets" / "alice"
    assert config.pipelines[0].stages["s"].model == str(tmp_path / "etc" / "pipelines" / "bundle")
    assert config.pipelines[1].stages["hippocampus"].model == "hippocampus"


DESTINATIONS = "destinations:\n  - {name: pacs-one, kind: dicom, ae_title: P, host: a}\npipelines: [hippocampus-mr]\n"


def test_environment_lies_over_the_file(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        DESTINATIONS,
        OVERREAD_NODE__PORT="104",
        OVERREAD_NODE__MORE_AE_TITLES="[A, B]",
        OVERREAD_DESTINATIONS__PACS_ONE__HOST="b",
        OVERREAD_DESTINATIONS__0__READ_BACK="false",
        OVERREAD_PIPELINES__HIPPOCAMPUS_MR__POLICY__EDITS="on_request",
        OVERREAD_CONTENT_QUALIFICATION="PRODUCT",
        OVERREAD_TOKEN="not ours to judge",
        OVERREADER__X="neither",
    )
    assert config.node.port == 104
    assert config.node.more_ae_titles == ("A", "B")
    assert config.destinations[0].host == "b"
    assert config.destinations[0].read_back is False
    assert config.pipelines[0].policy.edits is EditDoor.ON_REQUEST
    assert config.content_qualification == "PRODUCT"


def test_environment_may_add_what_the_file_leaves_out() -> None:
    config = default_config(environment={"OVERREAD_READERS": "[{name: R, ae_title: W}]", "OVERREAD_WEB__PORT": "0"})
    assert config.readers[0].ae_title == "W"
    assert config.web.port == 0


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("OVERREAD_NOED__PORT", "1", "names no section 'noed' (did you mean 'node'?)"),
        ("OVERREAD_NODE__PROT", "1", "node.prot: unknown key 'prot' (did you mean 'port'?)"),
        ("OVERREAD_NODE__PORT", "x", "node.port: must be a whole number"),
        ("OVERREAD_DESTINATIONS__7__HOST", "x", "names no item '7': give its position, from 0, or its name"),
        ("OVERREAD_READERS", "[", "OVERREAD_READERS:1: "),
    ],
)
def test_a_fault_of_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    found = faults(tmp_path, DESTINATIONS, **{variable: value})
    assert any(line.startswith(f"environment variable {variable}: ") and expected in line for line in found), found


def test_the_template_loads_and_is_the_default_configuration(tmp_path: Path) -> None:
    assert loaded(tmp_path, template()) == default_config(environment={})


def test_the_template_documents_every_key_at_a_value_that_loads(tmp_path: Path) -> None:
    written(tmp_path, "t", "secrets/alice.token")
    config = loaded(tmp_path, template(live_examples=True))
    assert [pipeline.name for pipeline in config.pipelines] == ["hippocampus-mr", "my-pipeline"]
    text = template()
    # The three keys of a code stand in one flow mapping; every other key has a line and a comment of its own.
    names = {key.path.rpartition(".")[2] for key in all_keys()}
    assert {name for name in names if f"{name}:" not in text} == set()


def test_every_key_has_a_text() -> None:
    assert [key.path for key in all_keys() if not key.text.strip()] == []
