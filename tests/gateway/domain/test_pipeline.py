"""Which series a pipeline takes, and the sentence that says why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.acquisition import Acquisition
from gateway.config_file import default_config
from gateway.domain.pipeline import MatchRule, NoMatch, Pipeline, Stage, StageKind, match

CROP = Acquisition(
    modality="MR",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
    body_part_examined="BRAIN",
    series_description="T1 MPRAGE crop",
    instance_count=40,
    frame_count=40,
    rows=50,
    columns=36,
    spacing=(1.0, 1.0, 1.0),
)


def taken(rule: MatchRule, acquisition: Acquisition = CROP, called_aet: str = "OVERREAD") -> NoMatch | None:
    return match(Pipeline(name="p", version="1", match=rule), acquisition, called_aet=called_aet)


@pytest.mark.parametrize(
    "rule",
    [
        MatchRule(),
        MatchRule(called_aet=("OTHER", "OVERREAD")),
        MatchRule(modality=("CT", "MR")),
        MatchRule(body_part=("brain",)),
        MatchRule(description="mprage"),
        MatchRule(exclude_description="flair|localizer"),
        MatchRule(minimum_slices=40),
        MatchRule(extent_mm=(50.0, 50.0)),
    ],
)
def test_a_series_that_holds_every_condition_is_taken(rule: MatchRule) -> None:
    assert taken(rule) is None


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (MatchRule(called_aet=("HIPPO", "OTHER")), "called AE title is not one of HIPPO or OTHER"),
        (MatchRule(modality=("CT",)), "modality is not CT"),
        (MatchRule(body_part=("HEAD", "NECK")), "body part examined is not HEAD or NECK"),
        (MatchRule(description="flair"), "no description matches /flair/"),
        (MatchRule(exclude_description="t1"), "a description matches /t1/, which is excluded"),
        (MatchRule(minimum_slices=41), "40 slices, fewer than 41"),
        (MatchRule(extent_mm=(51.0, 90.0)), "largest extent of 50 mm is outside (51.0, 90.0)"),
        (MatchRule(extent_mm=(10.0, 49.0)), "largest extent of 50 mm is outside (10.0, 49.0)"),
    ],
)
def test_the_condition_that_does_not_hold_is_the_reason(rule: MatchRule, reason: str) -> None:
    assert taken(rule) == NoMatch(pipeline="p", reason=reason)


def test_what_a_header_does_not_say_is_not_held_against_it() -> None:
    bare = replace(CROP, body_part_examined="", spacing=None)
    assert taken(MatchRule(body_part=("HEART",), extent_mm=(1.0, 2.0)), bare) is None


def test_a_description_is_searched_in_all_three_texts() -> None:
    for attribute in ("series_description", "protocol_name", "sequence_name"):
        acquisition = replace(CROP, **{"series_description": "", attribute: "Sag FLAIR"})
        assert taken(MatchRule(description="flair"), acquisition) is None
        assert taken(MatchRule(exclude_description="flair"), acquisition) is not None


@settings(max_examples=50)
@given(
    st.builds(
        MatchRule,
        modality=st.sampled_from([(), ("MR",), ("CT",)]),
        minimum_slices=st.integers(1, 80),
        description=st.sampled_from(["", "t1", "t2"]),
        extent_mm=st.sampled_from([None, (20.0, 90.0), (60.0, 90.0)]),
    )
)
def test_a_rule_takes_a_series_only_if_each_condition_alone_does(rule: MatchRule) -> None:
    alone = [
        MatchRule(modality=rule.modality),
        MatchRule(minimum_slices=rule.minimum_slices),
        MatchRule(description=rule.description),
        MatchRule(extent_mm=rule.extent_mm),
    ]
    assert (taken(rule) is None) == all(taken(part) is None for part in alone)


@pytest.mark.parametrize(
    ("acquisition", "reason"),
    [
        (CROP, None),
        (replace(CROP, body_part_examined=""), None),
        (replace(CROP, modality="CT"), "modality is not MR"),
        (replace(CROP, body_part_examined="KNEE"), "body part examined is not HEAD or BRAIN or HIPPOCAMPUS"),
        (replace(CROP, frame_count=3), "3 slices, fewer than 16"),
        (replace(CROP, rows=256, columns=256), "largest extent of 256 mm is outside (20.0, 90.0)"),
    ],
)
def test_the_shipped_hippocampus_pipeline_takes_crops_and_says_why_not_others(
    acquisition: Acquisition, reason: str | None
) -> None:
    (declared,) = default_config(environment={}).pipelines
    refusal = match(declared.to_domain(), acquisition, called_aet="OVERREAD")
    assert (refusal.reason if refusal else None) == reason


def test_a_stage_is_found_by_its_name() -> None:
    stage = Stage(name="a", kind=StageKind.MEASURE)
    pipeline = Pipeline(name="p", version="1", stages=(stage,))
    assert pipeline.stage("a") is stage
    with pytest.raises(KeyError):
        pipeline.stage("b")
