"""The stage graph: whether it is sound, in which order it runs, and what an edit makes run again."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from gateway.domain.pipeline import Pipeline, StageKind


def faults(pipeline: Pipeline) -> tuple[str, ...]:
    """Return what is wrong with a pipeline's graph, empty when it is sound."""
    names = [stage.name for stage in pipeline.stages]
    found = [f"stage '{name}' is declared twice" for name in sorted({n for n in names if names.count(n) > 1})]
    for stage in pipeline.stages:
        found += [
            f"stage '{stage.name}' needs '{need}', which is no stage" for need in stage.needs if need not in names
        ]
        if stage.kind is StageKind.SEGMENTATION and bool(stage.model) == bool(stage.command):
            found.append(f"stage '{stage.name}' needs either a model or a command")
        if stage.kind is StageKind.SEGMENTATION and not stage.segments:
            found.append(f"stage '{stage.name}' declares no segments")
        if stage.editable and stage.kind is not StageKind.SEGMENTATION:
            found.append(f"stage '{stage.name}' cannot be editable: it is no segmentation")
    labels = [segment.label for stage in pipeline.stages for segment in stage.segments]
    found += [
        f"segment label '{label}' is declared twice; labels are the one identity that survives every editor"
        for label in sorted({item for item in labels if labels.count(item) > 1})
    ]
    if sum(stage.kind is StageKind.REPORT for stage in pipeline.stages) != 1:
        found.append("a pipeline has exactly one stage of kind report")
    if not found:
        try:
            order(pipeline)
        except CycleError as error:
            found.append(f"stages need each other in a circle: {' -> '.join(error.args[1])}")
    return tuple(found)


def order(pipeline: Pipeline) -> tuple[str, ...]:
    """Return stage names so that each comes after all it needs; ties keep the declared order."""
    sorter = TopologicalSorter({stage.name: stage.needs for stage in pipeline.stages})
    sorter.prepare()
    declared = [stage.name for stage in pipeline.stages]
    result: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=declared.index)
        result += ready
        sorter.done(*ready)
    return tuple(result)


def descendants(pipeline: Pipeline, stage: str) -> frozenset[str]:
    """Return every stage that needs `stage`, directly or not."""
    found: set[str] = set()
    for name in order(pipeline):
        needs = pipeline.stage(name).needs
        if stage in needs or found.intersection(needs):
            found.add(name)
    return frozenset(found)


def rerun(pipeline: Pipeline, edited: str) -> frozenset[str]:
    """Return the stages that an edit of `edited` may make run again: exactly its descendants.

    Which of them really run is decided by their keys: an output that did not change stops the wave.
    """
    return descendants(pipeline, edited)


def carried_edits(pipeline: Pipeline, edits: frozenset[str], edited: str | None) -> frozenset[str]:
    """Return which of the stages edited so far keep their edit when `edited` is edited next.

    An edit is overtaken when a stage it depends on is edited again; None means no new edit (new input, same image).
    """
    if edited is None:
        return edits
    return edits - descendants(pipeline, edited) - {edited}
