"""Keys of stage runs: the same for the same work, another for any other."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.keys import StageIdentity, canonical_json, digest_of, stage_key

TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
IDENTITY = st.builds(
    StageIdentity,
    stage=TEXT,
    kind=TEXT,
    code_version=TEXT,
    model_digest=TEXT,
    parameters=st.dictionaries(TEXT, JSON, max_size=3),
)
INPUTS = st.dictionaries(TEXT, TEXT, max_size=4)


@settings(max_examples=50)
@given(IDENTITY, INPUTS, st.randoms(use_true_random=False))
def test_order_of_parameters_and_inputs_does_not_count(identity: StageIdentity, inputs: dict[str, str], random) -> None:
    shuffled = list(inputs.items())
    random.shuffle(shuffled)
    parameters = list(identity.parameters.items())
    random.shuffle(parameters)
    other = replace(identity, parameters=dict(parameters))
    assert stage_key(identity, inputs) == stage_key(other, dict(shuffled))


@settings(max_examples=50)
@given(IDENTITY, INPUTS, st.sampled_from(["stage", "kind", "code_version", "model_digest"]), TEXT)
def test_key_changes_with_each_part_of_the_identity(
    identity: StageIdentity, inputs: dict[str, str], part: str, other: str
) -> None:
    changed = replace(identity, **{part: other})
    assert (stage_key(identity, inputs) == stage_key(changed, inputs)) == (getattr(identity, part) == other)


@settings(max_examples=50)
@given(IDENTITY, INPUTS, TEXT, TEXT)
def test_key_changes_with_each_input(identity: StageIdentity, inputs: dict[str, str], name: str, digest: str) -> None:
    changed = {**inputs, name: digest}
    assert (stage_key(identity, inputs) == stage_key(identity, changed)) == (inputs == changed)


@settings(max_examples=50)
@given(IDENTITY, INPUTS, TEXT, JSON)
def test_key_changes_with_each_parameter(identity: StageIdentity, inputs: dict[str, str], name: str, value) -> None:
    changed = replace(identity, parameters={**identity.parameters, name: value})
    same = canonical_json(dict(identity.parameters)) == canonical_json(dict(changed.parameters))
    assert (stage_key(identity, inputs) == stage_key(changed, inputs)) == same


def test_what_is_named_stage_is_not_mistaken_for_what_is_named_kind() -> None:
    one = StageIdentity(stage="a", kind="b", code_version="", model_digest="", parameters={})
    other = StageIdentity(stage="b", kind="a", code_version="", model_digest="", parameters={})
    assert stage_key(one, {}) != stage_key(other, {})


@settings(max_examples=50)
@given(JSON)
def test_canonical_json_is_ascii_and_reads_back(value) -> None:
    encoded = canonical_json(value)
    assert encoded.isascii()
    assert json.loads(encoded) == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_json_cannot_hold_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest_of({"value": value})


def test_digest_is_pinned_so_that_keys_outlive_a_release() -> None:
    expected = "84afbf1d4853005f9dd0c81cb1819b53ce86978340764c062160f6e8356665de"
    assert digest_of({"b": [1, 2.5, None], "a": "é"}) == expected
