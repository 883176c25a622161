"""`overread check --store`: whether blobs and rows agree, what retention would take, and repair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.commands.check_line import CheckResult, failed, good, note
from gateway.config import Config
from gateway.dispatch.folder_lock import FolderLock
from gateway.domain.errors import GatewayError
from gateway.services import integrity, retention
from gateway.services.integrity import StoreState
from gateway.services.open_database import has_database, open_database
from gateway.store.database import Database

_MEGABYTE = 1_000_000
#: Names listed of each kind of fault; the counts say how many there are.
_LISTED = 5
_QUARANTINE, _JOURNAL = "quarantine", "journal"
_ACTOR = "overread check"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOrder:
    """How to look at the store: `deep` reads every blob, `repair` puts aside what belongs to nobody."""

    deep: bool = False
    repair: bool = False


def check_store(config: Config, folder: Path, order: StoreOrder) -> Iterator[CheckResult]:
    """Look at the store of a data folder, and repair it where that was asked for.

    A repair needs the gateway to be stopped; a look does not.
    """
    if not has_database(config, folder):
        yield note("store", f"{folder} holds no gateway's data yet")
        return
    database = open_database(config, folder)
    try:
        if order.repair:
            with FolderLock(folder):
                yield from _repaired(database, folder, order)
        else:
            yield from _looked(database, folder, order)
        yield from _retention(config, database)
    except GatewayError as error:
        yield failed("store", error.detail)
    except OSError as error:
        yield failed("store", f"the data folder cannot be worked on: {error.strerror}")
    finally:
        database.close()


def _looked(database: Database, folder: Path, order: StoreOrder) -> Iterator[CheckResult]:
    state = integrity.look(
        database, folder / "blobs", now=datetime.now(UTC), deep=order.deep, journal=folder / _JOURNAL
    )
    way_out = "stop the gateway and run 'overread check --store --repair': they are put aside, nothing is deleted"
    yield from _agreement(state, way_out)


def _repaired(database: Database, folder: Path, order: StoreOrder) -> Iterator[CheckResult]:
    now = datetime.now(UTC)
    left = len(integrity.journaled_digests(folder / _JOURNAL))
    if left:
        yield failed("store", f"the receive journal holds {left} objects that a crash left: start the gateway first")
        return
    state = integrity.look(database, folder / "blobs", now=now, deep=order.deep)
    target = integrity.put_aside(database, state.displaced, folder / _QUARANTINE, actor=_ACTOR, at=now)
    yield from _agreement(state, f"put aside in {target}")


def _agreement(state: StoreState, what_now: str) -> Iterator[CheckResult]:
    size = f"{state.size / _MEGABYTE:.0f} MB"
    gone = f", {state.purged} taken off by retention" if state.purged else ""
    if not (state.displaced or state.missing):
        yield good("store", f"{state.blobs} objects, {size}, each with its row{gone}")
    else:
        yield note("store", f"{state.blobs} objects, {size}{gone}")
    for kind, files in (
        ("objects that no row names", state.orphans),
        ("files that are no objects", state.strangers),
        ("objects whose content is not what was kept", state.damaged),
    ):
        if files:
            yield failed("store", f"{len(files)} {kind} ({_some([file.name for file in files])}): {what_now}")
    if state.missing:
        tables = ", ".join(sorted({table for one in state.missing for table in one.tables}))
        names = _some([one.sha256 for one in state.missing])
        yield failed(
            "store",
            f"{len(state.missing)} objects that rows name ({tables}) are not on the disk ({names}): restore blobs/ "
            "from the back-up, or let the sender send them again",
        )
    if state.half_received or state.unsettled:
        yield note("store", f"{state.half_received + state.unsettled} objects are being received now, or were cut off")
    if state.journaled:
        yield note("store", f"{state.journaled} objects are safe in the receive journal, their files are written soon")


def _some(names: list[str]) -> str:
    listed = ", ".join(name[:12] for name in sorted(names)[:_LISTED])
    return listed + (", ..." if len(names) > _LISTED else "")


def _retention(config: Config, database: Database) -> Iterator[CheckResult]:
    """Say what each rule would take off the disk now."""
    now = datetime.now(UTC)
    for index, rule in enumerate(config.data.retention):
        found = list(retention.find_purgeable(database, [rule], now=now))
        objects, size = sum(len(one.blobs) for one in found), sum(one.size for one in found)
        yield note(
            "retention",
            f"{retention.in_words(rule, index)}: would take {objects} objects of {len(found)} studies now, "
            f"{size / _MEGABYTE:.0f} MB",
        )
