from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from gateway.domain.case import CaseState
from gateway.domain.errors import NotFound
from gateway.services.bundle import write_bundle
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.tables import Case
from tests.support.seed import NOW, Seed


@pytest.fixture
def seed(tmp_path: Path) -> Seed:
    return Seed.on(Database.in_folder(tmp_path), BlobStore(tmp_path / "blobs"))


def _write(seed: Seed, case: str, taker: str = "ann") -> bytes:
    target = io.BytesIO()
    write_bundle(seed.database, seed.blobs, target, case_id=case, taker=taker, at=NOW)
    return target.getvalue()


def test_equal_cases_give_equal_bytes_but_for_the_audit_head(seed: Seed) -> None:
    case = seed.case(seed.study(1))
    seed.iteration(case)
    one, other = io.BytesIO(_write(seed, case.id)), io.BytesIO(_write(seed, case.id))
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        assert first.namelist() == second.namelist()
        differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
        assert [info.date_time for info in first.infolist()] == [info.date_time for info in second.infolist()]
    assert differing == ["manifest.json"]


def test_outputs_of_the_same_kind_and_stage_get_names_of_their_own(seed: Seed) -> None:
    case = seed.case(seed.study(1))
    seed.iteration(case)
    seed.iteration(case, generation=2)
    with zipfile.ZipFile(io.BytesIO(_write(seed, case.id))) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names)) == 12
    assert {name.split("/")[0] for name in names if "/" in name} == {"g1-i0", "g2-i0"}


def test_a_failure_before_the_end_assigns_nobody(seed: Seed) -> None:
    case = seed.case(seed.study(1))
    with pytest.raises(NotFound):
        _write(seed, case.id)
    with pytest.raises(NotFound):
        _write(seed, "c0")
    with seed.database.read() as session:
        kept = session.get(Case, case.id)
    assert kept is not None
    assert kept.qc_assignee == ""


def test_a_final_case_keeps_its_assignee_and_the_act_is_audited(seed: Seed) -> None:
    case = seed.case(seed.study(1), state=CaseState.FINAL, qc_assignee="ben")
    seed.iteration(case)
    _write(seed, case.id, taker="ann")
    with seed.database.read() as session:
        kept = session.get(Case, case.id)
    assert kept is not None
    assert kept.qc_assignee == "ben"
