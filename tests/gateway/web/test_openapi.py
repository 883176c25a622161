from __future__ import annotations

import re
import subprocess
import sys

from tests.support.web_gateway import Bench

_CONTRACT = {
    ("get", "/api/v1/cases"), ("get", "/api/v1/cases/{case_id}"), ("post", "/api/v1/cases/{case_id}/qc"),
    ("post", "/api/v1/cases/{case_id}/edits"), ("get", "/api/v1/cases/{case_id}/bundle"), ("get", "/api/v1/holds"),
    ("post", "/api/v1/holds/{hold_id}/resolve"), ("get", "/api/v1/events"), ("get", "/healthz"), ("get", "/readyz"),
    ("get", "/metrics"), ("get", "/dicom-web/studies"), ("post", "/dicom-web/studies"),
    ("get", "/dicom-web/studies/{study_uid}/metadata"),
}  # fmt: skip


def _operations(bench: Bench) -> dict[tuple[str, str], dict[str, str]]:
    paths = bench.client().get("/openapi.json").json()["paths"]
    return {(method, path): operation for path, methods in paths.items() for method, operation in methods.items()}


def test_every_call_of_the_contract_is_described(busy: Bench) -> None:
    assert set(_operations(busy)) >= _CONTRACT


def test_operation_ids_are_explicit_and_unique(busy: Bench) -> None:
    ids = [operation["operationId"] for operation in _operations(busy).values()]
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", name)] == []
    # FastAPI's own would end in the path and method.
    assert not any(name.endswith(("_get", "_post")) for name in ids)


def test_every_operation_says_what_it_does(busy: Bench) -> None:
    assert [key for key, operation in _operations(busy).items() if not operation.get("description")] == []


def test_pages_and_forms_are_no_part_of_the_api(busy: Bench) -> None:
    assert not any(path.startswith(("/cases", "/sign-in", "/static")) for _, path in _operations(busy))


def test_the_web_layer_loads_nothing_heavy() -> None:
    heavy = "torch highdicom matplotlib scipy monai reportlab pynetdicom"
    code = (
        "import sys, gateway.web.app, gateway.web.server, gateway.services.pictures\n"
        f"print([name for name in {heavy.split()!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
