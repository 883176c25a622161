"""PostgreSQL as the database: the same schema, one writer, one gateway, and a server that may be restarted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, col, select

import gateway.store.tables  # noqa: F401 - fills the metadata
from gateway.commands.check_store import StoreOrder
from gateway.commands.checks import run_checks
from gateway.config import Config
from gateway.domain.errors import ConfigurationError, StorageUnavailable
from gateway.services.holdings import HoldingQuery, find_studies
from gateway.services.open_database import has_database, open_database
from gateway.store import audit
from gateway.store.database import Database
from gateway.store.migrate import upgrade
from gateway.store.tables import AuditEvent, Cursor, PurgedBlob, Study
from tests.support.ports import free_port
from tests.support.postgres_peer import PASSWORD, PostgresPeer, running_postgres

pytestmark = [pytest.mark.peer, pytest.mark.xdist_group("postgres")]

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresPeer]:
    with running_postgres() as peer:
        yield peer


def configured(server: PostgresPeer, folder: Path, password: str = PASSWORD) -> Config:
    (folder / "secret").write_text(f"{password}\n")
    return Config.model_validate({"database": {"url": server.url, "password_file": folder / "secret"}})


@pytest.fixture
def database(server: PostgresPeer, tmp_path: Path) -> Iterator[Database]:
    database = open_database(configured(server, tmp_path), tmp_path)
    upgrade(database)
    yield database
    database.close()


def event(database: Database, actor: str) -> None:
    with database.write() as session:
        audit.append(session, at=NOW, actor=actor, action="TEST", detail={"number": 1})


def test_a_database_is_there_once_its_tables_are_made(server: PostgresPeer, tmp_path: Path) -> None:
    config = configured(server, tmp_path)
    assert not has_database(config, tmp_path)
    database = open_database(config, tmp_path)
    upgrade(database)
    upgrade(database)
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), SQLModel.metadata)
    database.close()
    assert differences == []
    assert has_database(config, tmp_path)


def test_the_audit_chain_is_linear_whoever_writes_at_once(database: Database) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [event(database, f"A{n}") for _ in range(10)])  # type: ignore[misc]
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert audit.first_broken_link(session) is None
        newest = session.exec(select(AuditEvent).order_by(col(AuditEvent.id).desc())).first()
        assert newest is not None
        assert (newest.at, newest.detail) == (NOW, {"number": 1})
        assert len(session.exec(select(AuditEvent).where(AuditEvent.action == "TEST")).all()) >= 60


def test_a_write_that_fails_leaves_nothing_and_gives_the_lock_back(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            audit.append(session, at=NOW, actor="nobody", action="LOST")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    event(database, "after")
    with database.read() as session:
        assert not session.exec(select(AuditEvent).where(AuditEvent.action == "LOST")).all()
        assert audit.first_broken_link(session) is None


def test_a_second_gateway_is_kept_off_until_the_first_has_ended(
    server: PostgresPeer, database: Database, tmp_path: Path
) -> None:
    other = open_database(configured(server, tmp_path), tmp_path)
    with database.in_use():
        with pytest.raises(StorageUnavailable, match="another gateway") as refused, other.in_use():
            pass
        assert refused.value.code == "DATABASE_IN_USE"
    with other.in_use():
        event(other, "second")
    other.close()


def test_sizes_and_fingerprints_beyond_31_bits_are_kept(database: Database) -> None:
    with database.write() as session:
        session.merge(Cursor(name="feed", position=2**62, changed_at=NOW))
        session.merge(PurgedBlob(sha256="0" * 64, study_instance_uid="1.2", size=3 * 10**9, rule="r", purged_at=NOW))
    with database.read() as session:
        assert session.get_one(Cursor, "feed").position == 2**62
        assert session.get_one(PurgedBlob, "0" * 64).size == 3 * 10**9


def test_names_are_found_whatever_the_case_of_their_letters(database: Database) -> None:
    with database.write() as session:
        session.merge(
            Study(study_instance_uid="1.2", patient_name="Lindqvist^Åsa", first_received_at=NOW, last_received_at=NOW)
        )
    for text in ("lindqvist*", "LINDQVIST^ÅSA", "L?ndqvist^*"):
        query = HoldingQuery(study={"PatientName": text})
        assert [found.study_instance_uid for found in find_studies(database, query)] == ["1.2"], text


def test_a_server_that_was_restarted_is_used_on(server: PostgresPeer, database: Database) -> None:
    event(database, "before")
    server.stop()
    with pytest.raises(StorageUnavailable) as away:
        event(database, "meanwhile")
    assert PASSWORD not in str(away.value.detail)
    server.start()
    event(database, "after")


def test_check_says_how_the_database_is(server: PostgresPeer, database: Database, tmp_path: Path) -> None:
    event(database, "somebody")
    port = free_port()
    (tmp_path / "secret").write_text(PASSWORD)

    def said(url: str) -> dict[str, str]:
        text = f"database: {{url: '{url}', password_file: secret}}\nnode: {{port: {port}}}\nweb: {{port: 0}}\n"
        (tmp_path / "overread.yaml").write_text(text)
        lines = run_checks(tmp_path / "overread.yaml", tmp_path / "data", peers=False, store=StoreOrder())
        return {line.name: f"{line.outcome.name} {line.detail}" for line in lines}

    whole = said(server.url)
    assert whole["audit chain"] == "GOOD whole"
    assert "store" not in whole or "holds no gateway's data" not in whole["store"]
    away = said(server.url.replace(str(server.port), str(free_port())))
    assert away["database"].startswith("FAILED the database refused")
    assert PASSWORD not in str(away)


def test_a_wrong_password_is_named_and_not_shown(server: PostgresPeer, tmp_path: Path) -> None:
    database = open_database(configured(server, tmp_path, "wrong horse"), tmp_path)
    with (
        pytest.raises(StorageUnavailable, match="password authentication failed") as refused,
        database.read() as session,
    ):
        session.exec(select(AuditEvent)).first()
    assert "horse" not in str(refused.value.detail)


@pytest.mark.parametrize("url", ["postgres", "postgresql+nosuchdriver://x@y/z", "nosuchdatabase://x"])
def test_a_url_that_cannot_be_used_is_a_configuration_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url"):
        open_database(Config.model_validate({"database": {"url": url}}), tmp_path)
