"""The measuring harness: every case can be found and run, and the table says what missed its goal."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.bench.row import Row, median_seconds
from tests.bench.run import FOLDER, LONG, case_names, main, table


@pytest.mark.parametrize("name", case_names())
def test_every_case_offers_run_without_arguments(name: str) -> None:
    tree = ast.parse((FOLDER / f"bench_{name}.py").read_text(encoding="utf-8"))
    (run,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "run"]
    required = len(run.args.posonlyargs) + len(run.args.args) - len(run.args.defaults)
    assert required == 0


@pytest.mark.parametrize(
    ("value", "bar", "at_least", "good"),
    [(1, None, False, True), (1, 1, False, True), (2, 1, False, False), (1, 1, True, True), (1, 2, True, False)],
)
def test_a_row_is_good_on_the_right_side_of_its_goal(
    value: float, bar: float | None, at_least: bool, good: bool
) -> None:
    row = Row(what="x", value=value, unit="s", bar=bar, at_least=at_least)
    assert row.is_good is good
    assert ("MISSED" in table([row])) is not good


def test_the_median_counts_each_repetition() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), repetitions=5) >= 0
    assert len(calls) == 5


def test_an_unknown_case_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "nonsense"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "no case nonsense" in capsys.readouterr().err


def test_a_case_that_cannot_run_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str) -> list[Row]:
        if name == "cli":
            raise RuntimeError("no")
        return [Row(what=name, value=1, unit="s")]

    monkeypatch.setattr("tests.bench.run.measure", measure)
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert main() == 1
    out, err = capsys.readouterr()
    assert "cli could not run" in err
    names = set(case_names())
    assert names > LONG
    assert {name for name in names if name in out} == names - LONG - {"cli"}
