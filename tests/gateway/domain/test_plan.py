"""The stage graph: faults, order, and what an edit makes run again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.codes import Code
from dicom_sr.segmentation import Segment
from gateway.config_file import default_config
from gateway.domain.pipeline import Pipeline, Stage, StageKind
from gateway.domain.plan import carried_edits, descendants, faults, order, rerun

CODE = Code("5366008", "SCT", "Hippocampus")


def segmentation(name: str, *needs: str, editable: bool = False, label: str = "") -> Stage:
    segment = Segment(number=1, label=label or name, category=CODE, property_type=CODE)
    return Stage(name=name, kind=StageKind.SEGMENTATION, needs=needs, model="m", editable=editable, segments=(segment,))


def report(*needs: str) -> Stage:
    return Stage(name="report", kind=StageKind.REPORT, needs=needs)


def pipeline(*stages: Stage) -> Pipeline:
    return Pipeline(name="p", version="1", stages=stages)


@st.composite
def sound_pipelines(draw: st.DrawFn) -> Pipeline:
    """Draw a pipeline whose stages need earlier ones, declared in any order."""
    names = [f"s{index}" for index in range(draw(st.integers(1, 7)))]
    stages = [
        segmentation(name, *(draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else ()))
        for index, name in enumerate(names)
    ]
    stages.append(report(*draw(st.lists(st.sampled_from(names), unique=True))))
    return pipeline(*draw(st.permutations(stages)))


def reachable(drawn: Pipeline, start: str) -> set[str]:
    """Find the descendants the slow way: follow every edge until nothing is new."""
    found: set[str] = set()
    while True:
        more = {s.name for s in drawn.stages if {start, *found}.intersection(s.needs)} - found
        if not more:
            return found
        found |= more


@settings(max_examples=50)
@given(sound_pipelines())
def test_order_has_every_stage_once_and_after_all_it_needs(drawn: Pipeline) -> None:
    assert faults(drawn) == ()
    ordered = order(drawn)
    assert sorted(ordered) == sorted(stage.name for stage in drawn.stages)
    for stage in drawn.stages:
        assert all(ordered.index(need) < ordered.index(stage.name) for need in stage.needs)


@settings(max_examples=50)
@given(sound_pipelines(), st.data())
def test_an_edit_reruns_exactly_the_descendants(drawn: Pipeline, data: st.DataObject) -> None:
    edited = data.draw(st.sampled_from([stage.name for stage in drawn.stages]))
    assert rerun(drawn, edited) == reachable(drawn, edited)
    assert edited not in rerun(drawn, edited)


@settings(max_examples=50)
@given(sound_pipelines(), st.data())
def test_an_edit_overtakes_earlier_edits_downstream_and_no_others(drawn: Pipeline, data: st.DataObject) -> None:
    names = [stage.name for stage in drawn.stages]
    edits = frozenset(data.draw(st.lists(st.sampled_from(names), unique=True)))
    edited = data.draw(st.sampled_from(names))
    kept = carried_edits(drawn, edits, edited)
    assert kept == {name for name in edits if name != edited and name not in reachable(drawn, edited)}
    assert carried_edits(drawn, edits, None) == edits


def test_equal_stages_keep_their_declared_order() -> None:
    drawn = pipeline(segmentation("b"), segmentation("a"), segmentation("c"), report("a", "b", "c"))
    assert order(drawn) == ("b", "a", "c", "report")


def test_descendants_in_the_shipped_pipeline() -> None:
    (shipped,) = (declared.to_domain() for declared in default_config(environment={}).pipelines)
    assert faults(shipped) == ()
    assert descendants(shipped, "subfields") == {"measure", "segmentation_qc", "report"}
    assert descendants(shipped, "hippocampus") == {"subfields", "measure", "segmentation_qc", "report"}
    assert descendants(shipped, "report") == frozenset()
    assert {stage.name for stage in shipped.editable_stages} == {"hippocampus", "subfields"}


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ((segmentation("a"), segmentation("a", label="x"), report()), "stage 'a' is declared twice"),
        ((segmentation("a", "b"), report()), "stage 'a' needs 'b', which is no stage"),
        ((replace(segmentation("a"), model=""), report()), "stage 'a' needs either a model or a command"),
        ((replace(segmentation("a"), command=("x",)), report()), "stage 'a' needs either a model or a command"),
        ((replace(segmentation("a"), segments=()), report()), "stage 'a' declares no segments"),
        (
            (segmentation("a"), Stage(name="m", kind=StageKind.MEASURE, editable=True), report()),
            "stage 'm' cannot be editable: it is no segmentation",
        ),
        ((segmentation("a", label="Liver"), segmentation("b", label="Liver"), report()), "label 'Liver' is declared"),
        ((segmentation("a"),), "exactly one stage of kind report"),
        ((segmentation("a"), report(), replace(report(), name="r2")), "exactly one stage of kind report"),
        ((segmentation("a", "b"), segmentation("b", "a"), report()), "in a circle"),
        ((segmentation("a", "a"), report()), "in a circle"),
    ],
)
def test_each_fault_of_a_graph_is_named(stages: tuple[Stage, ...], fault: str) -> None:
    found = faults(pipeline(*stages))
    assert any(fault in sentence for sentence in found), found
