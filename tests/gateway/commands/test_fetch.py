"""The verb fetch against a running gateway: candidates, a study that comes whole, in part, or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.config import Config
from gateway.domain.errors import PeerRejected
from gateway.services.fetch import Fetched, FetchOrder, FetchWay, FoundStudy
from tests.support.memory import memory_folder
from tests.support.web_gateway import Bench, serving

STUDY = FoundStudy(
    study_instance_uid="1.2.3",
    study_date="20250101",
    description="",
    modalities=("MR", "SEG"),
    series=None,
    instances=3,
)
WHOLE = Fetched(
    peer="PACS", study_instance_uid="1.2.3", called_aet="OVERREAD", service="C-GET", status=0, completed=3, failed=0,
    warnings=0, is_complete=True, sentence="3 instances were sent",
)  # fmt: skip


@pytest.fixture
def bench() -> Iterator[Bench]:
    with memory_folder() as folder:
        config = Config.model_validate({"node": {"peers": [{"ae_title": "PACS", "host": "127.0.0.1"}]}})
        bench = Bench(folder=folder, config=config)
        yield bench
        bench.close()


@pytest.fixture
def url(bench: Bench) -> Iterator[str]:
    with serving(bench) as address:
        yield address


def _said(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("fetch", *arguments))


def test_candidates_are_listed(bench: Bench, url: str) -> None:
    listing = ("--from", "PACS", "--list", "--patient-id", "P1", "--url", url)
    assert _said(*listing).output == "the peer has no such study\n"
    bench.archive.studies = (STUDY,)
    assert _said(*listing).output.splitlines()[1].split() == ["1.2.3", "20250101", "MR", "SEG", "3"]
    assert json.loads(_said(*listing, "--json").output)[0]["instances"] == 3


def test_a_study_is_fetched_as_asked_and_a_part_of_it_is_no_success(bench: Bench, url: str) -> None:
    bench.archive.fetched = WHOLE
    said = _said("1.2.3", "--from", "PACS", "--by", "get", "--seconds", "9", "--url", url)
    assert (said.exit_code, said.output) == (0, "PACS by C-GET: 3 instances were sent\n")
    bench.archive.fetched = replace(WHOLE, status=0xB000, failed=1, is_complete=False, sentence="1 failed")
    said = _said("1.2.3", "--from", "PACS", "--url", url)
    assert (said.exit_code, said.output) == (1, "PACS by C-GET: 1 failed\n")
    assert bench.archive.asked == [
        FetchOrder(study_instance_uid="1.2.3", called_aet="OVERREAD", way=FetchWay.GET, seconds=9),
        FetchOrder(study_instance_uid="1.2.3", called_aet="OVERREAD"),
    ]


def test_a_refusal_is_the_sentence_of_the_gateway(bench: Bench, url: str) -> None:
    bench.archive.fetched = PeerRejected("'PACS' does not know us")
    said = _said("1.2.3", "--from", "PACS", "--url", url)
    assert isinstance(said.exception, PeerRejected)
    assert said.exception.detail == "'PACS' does not know us"


@pytest.mark.parametrize("arguments", [("1.2.3",), ("--from", "PACS")])
def test_what_is_missing_is_named(arguments: tuple[str, ...]) -> None:
    said = _said(*arguments)
    assert said.exit_code == 2
    assert "name " in said.output
