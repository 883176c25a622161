from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.client.sending import find_parcels
from gateway.domain.errors import StorageUnavailable
from tests.support.make_series import make_mr_series


def test_what_is_no_readable_dicom_file_is_passed_over(tmp_path: Path) -> None:
    (first, second) = make_mr_series(tmp_path, shape=(2, 8, 8))
    content = second.read_bytes()
    shuffled = random.Random(4)
    for number in range(40):
        damaged = bytearray(content[: shuffled.randrange(140, len(content))])
        for _ in range(20):
            damaged[shuffled.randrange(132, len(damaged))] = shuffled.randrange(256)
        (tmp_path / f"damaged_{number}").write_bytes(damaged)
    second.unlink()
    found = [parcel.path for parcel in find_parcels([tmp_path]) if not parcel.path.name.startswith("damaged_")]
    assert found == [first]


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = make_mr_series(tmp_path, shape=(1, 8, 8))

    def refuse(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageUnavailable, match=rf"{file.name} cannot be read: Permission denied"):
        find_parcels([file])
