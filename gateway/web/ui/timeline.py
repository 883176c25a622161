"""The timeline of a case as a table: a row a stage, a column an iteration, what ran again and what was reused."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.services.case_record import CaseRecord, IterationView, StageRunView


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One stage in one iteration; `run` is None where the stage had no run. `saved_s` is what reuse saved."""

    run: StageRunView | None
    saved_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One iteration: time spent in stages that ran, and time that reuse saved, seconds."""

    iteration: IterationView
    executed_s: float
    saved_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Columns in order of time; each row is a stage with one cell a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def timeline_of(case: CaseRecord) -> Timeline:
    """Return the timeline of a case."""
    stages = list(dict.fromkeys(run.stage for iteration in case.iterations for run in iteration.stage_runs))
    last_seconds: dict[str, float] = {}
    grid: dict[str, list[Cell]] = {stage: [] for stage in stages}
    columns = []
    for iteration in case.iterations:
        runs = {run.stage: run for run in iteration.stage_runs}
        executed = saved = 0.0
        for stage in stages:
            run = runs.get(stage)
            cell = Cell(run=run, saved_s=0.0)
            if run is not None and run.outcome == "EXECUTED":
                executed += run.seconds
                last_seconds[stage] = run.seconds
            elif run is not None and run.outcome in ("REUSED", "REPLACED"):
                cell = Cell(run=run, saved_s=last_seconds.get(stage, 0.0))
                saved += cell.saved_s
            grid[stage].append(cell)
        columns.append(Column(iteration=iteration, executed_s=executed, saved_s=saved))
    return Timeline(columns=tuple(columns), rows=tuple((stage, tuple(cells)) for stage, cells in grid.items()))
