"""The verb deliveries against a running gateway: what waits, sending again, pausing and resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import Config
from tests.support.memory import memory_folder
from tests.support.web_gateway import Bench, serving

PACS = {"name": "pacs", "kind": "dicom", "ae_title": "PACS1", "host": "10.0.4.7"}


@pytest.fixture
def url() -> Iterator[str]:
    with memory_folder() as folder:
        bench = Bench(folder=folder, config=Config.model_validate({"destinations": [PACS]}))
        bench.seed.iteration(bench.seed.case(bench.seed.study(1)), delivered="DEAD")
        with serving(bench) as address:
            yield address
        bench.close()


def _said(*arguments: str) -> str:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_what_has_not_arrived_is_listed_and_sent_again(url: str) -> None:
    listed = _said("deliveries", "--url", url)
    assert listed.count("PACS1 at 10.0.4.7:104 does not answer") == 5
    dead = json.loads(_said("deliveries", "--state", "DEAD", "--url", url, "--json"))
    assert _said("deliveries", "retry", str(dead[0]["id"]), "--url", url) == "1 deliveries are on their way again\n"
    assert _said("deliveries", "retry", "--destination", "elsewhere", "--url", url).startswith("0 ")
    assert _said("deliveries", "retry", "--url", url).startswith("4 ")
    assert json.loads(_said("deliveries", "--state", "DEAD", "--url", url, "--json")) == []


def test_a_destination_is_paused_and_resumed(url: str) -> None:
    assert _said("deliveries", "pause", "pacs", "-m", "moving house", "--url", url) == "destination pacs: paused\n"
    shown = _said("deliveries", "destinations", "--url", url)
    assert "by local: moving house" in shown
    assert _said("deliveries", "resume", "pacs", "--url", url) == "destination pacs: resumed\n"
    (row,) = json.loads(_said("deliveries", "destinations", "--url", url, "--json"))
    assert (row["dead"], row["paused_at"]) == (5, None)
