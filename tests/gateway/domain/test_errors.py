"""The error trees: one root per package, one stable code per condition."""

from __future__ import annotations

import importlib
import inspect

import pytest

TREES = {
    "gateway.domain.errors": "GatewayError",
    "dicom_sr.errors": "DicomObjectError",
    "models.errors": "ModelError",
    "orthanc.errors": "OrthancError",
}


def errors_of(module_name: str) -> list[type[Exception]]:
    module = importlib.import_module(module_name)
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module_name]


@pytest.mark.parametrize("module_name", sorted(TREES))
def test_every_error_has_the_package_root_a_code_and_says_whether_to_retry(module_name: str) -> None:
    kinds = errors_of(module_name)
    root = getattr(importlib.import_module(module_name), TREES[module_name])
    assert len(kinds) > 1
    for kind in kinds:
        assert issubclass(kind, root), kind
        assert kind.code.isupper(), kind
        assert kind.code.replace("_", "").isalpha(), kind
        assert isinstance(kind.retryable, bool), kind


@pytest.mark.parametrize("module_name", sorted(TREES))
def test_no_two_conditions_share_a_code(module_name: str) -> None:
    codes = [kind.code for kind in errors_of(module_name)]
    assert len(codes) == len(set(codes)), codes


@pytest.mark.parametrize("module_name", sorted(TREES))
def test_the_drawn_tree_names_every_error(module_name: str) -> None:
    drawn = importlib.import_module(module_name).__doc__ or ""
    assert [kind.__name__ for kind in errors_of(module_name) if kind.__name__ not in drawn] == []
