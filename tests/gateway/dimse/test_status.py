"""The one table from errors to DIMSE statuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import gateway
from gateway.dimse.status import STORE_STATUS, is_success, meaning, store_status
from gateway.domain.errors import GatewayError, NotFound, StorageFull, StorageUnavailable, UnacceptableInstance

RECEIVING = ("dataset_walk", "part10", "received_header", "receive")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StorageFull("x"), 0xA700),
        (StorageUnavailable("x"), 0x0110),
        (UnacceptableInstance("x", code="TOO_LARGE"), 0xA700),
        (UnacceptableInstance("x", code="INVALID_UID"), 0x0117),
        (UnacceptableInstance("x", code="CLASS_NOT_AS_ANNOUNCED"), 0xA900),
        (UnacceptableInstance("x", code="UID_NOT_AS_ANNOUNCED"), 0xA900),
        (UnacceptableInstance("x", code="TRUNCATED_DATASET"), 0xC000),
        (UnacceptableInstance("x", code="UNREADABLE"), 0xC000),
        (NotFound("x"), 0x0110),
    ],
)
def test_an_error_has_its_status(error: GatewayError, status: int) -> None:
    assert store_status(error) == status


def test_every_code_the_receive_path_raises_is_in_the_table() -> None:
    services = Path(gateway.__file__).parent / "services"
    raised = {
        code for name in RECEIVING for code in re.findall(r'code="([A-Z_]+)"', (services / f"{name}.py").read_text())
    }
    assert len(raised) >= 7
    assert raised <= set(STORE_STATUS)


def test_warnings_count_as_stored_and_failures_do_not() -> None:
    assert is_success(0)
    assert is_success(0xB000)
    assert not any(is_success(status) for status in (0xA700, 0xA900, 0xC000, 0x0110, 0xFE00))


def test_a_status_is_explained() -> None:
    assert meaning(0xA700) == "0xA700 out of resources"
    assert meaning(0x1234) == "0x1234 unknown status"
