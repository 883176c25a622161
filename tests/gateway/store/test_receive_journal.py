"""The receive journal: what was synced is found again, what was torn is not, and a segment goes only when it may."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlmodel import SQLModel

from gateway.domain.errors import NotFound, StorageUnavailable
from gateway.store import receive_journal
from gateway.store.blobs import BlobStore
from gateway.store.database import Database
from gateway.store.journal_segment import BLOCK, JournalRecord, JournalSegment, UnreadableSegment
from gateway.store.journal_span import JournalEntry
from gateway.store.receive_journal import SEGMENTS, ReceiveJournal

SIZE = 64 * BLOCK


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _append(segment: JournalSegment, content: bytes, description: bytes = b"from somebody") -> int | None:
    return segment.append(description, content, _digest(content))


def _contents(path: Path) -> list[bytes]:
    segment = JournalSegment(path)
    contents = [record.content for record in segment.records()]
    segment.close()
    return contents


# ------------------------------------------------------------------------------------------------ one segment
@settings(deadline=None, max_examples=25)
@given(
    contents=st.lists(st.binary(max_size=3 * BLOCK), max_size=8),
    before=st.lists(st.binary(max_size=3 * BLOCK), max_size=8),
    description=st.binary(max_size=300),
)
def test_records_come_back_in_order_whatever_the_segment_held_before(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], before: list[bytes], description: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "one.journal"
    segment = JournalSegment.create(path, SIZE, 1)
    for content in before:
        _append(segment, content)
    segment.restart(2)
    starts = [_append(segment, content, description) for content in contents]
    assert [segment.read(start or 0, len(content)) for start, content in zip(starts, contents, strict=True)] == contents
    segment.close()
    again = JournalSegment(path)
    assert [(record.content, record.description, record.sha256) for record in again.records()] == [
        (content, description, _digest(content).hex()) for content in contents
    ]
    again.close()


@settings(deadline=None, max_examples=40)
@given(where=st.integers(BLOCK, BLOCK + 3 * 2 * BLOCK - 1), value=st.integers(1, 255))
def test_a_torn_record_ends_the_journal_and_spoils_none_before(
    tmp_path_factory: pytest.TempPathFactory, where: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "one.journal"
    segment = JournalSegment.create(path, SIZE, 1)
    contents = [bytes([number]) * BLOCK for number in (1, 2, 3)]
    for content in contents:
        _append(segment, content)
    segment.close()
    with path.open("r+b") as file:
        file.seek(where)
        was = file.read(1)[0]
        file.seek(where)
        file.write(bytes([was ^ value]))
    found = _contents(path)
    assert found == contents[: len(found)]
    # A record takes two blocks here; behind its end there is nothing but padding.
    torn = (where - BLOCK) // (2 * BLOCK)
    is_padding = (where - BLOCK) % (2 * BLOCK) >= 96 + len(b"from somebody") + BLOCK
    assert len(found) == (3 if is_padding else torn)


def test_a_segment_without_room_says_so_and_stays_as_it_is(tmp_path: Path) -> None:
    segment = JournalSegment.create(tmp_path / "one.journal", 4 * BLOCK, 1)
    assert _append(segment, bytes(BLOCK)) is not None
    assert _append(segment, bytes(BLOCK)) is None
    assert _append(segment, b"short") is not None
    segment.close()
    assert _contents(tmp_path / "one.journal") == [bytes(BLOCK), b"short"]


def test_a_write_that_fails_leaves_its_place_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = JournalSegment.create(tmp_path / "one.journal", SIZE, 1)
    _append(segment, b"first")

    def fail(*_args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", fail)
        with pytest.raises(OSError, match="Input"):
            _append(segment, b"lost")
    _append(segment, b"second")
    segment.close()
    assert _contents(tmp_path / "one.journal") == [b"first", b"second"]


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = JournalSegment.create(tmp_path / "one.journal", SIZE, 1)
    real = os.pwritev
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, at: real(fd, [bytes(parts[0])[:50]], at))
    content = os.urandom(3 * BLOCK)
    _append(segment, content)
    segment.close()
    assert _contents(tmp_path / "one.journal") == [content]


def test_a_segment_that_cannot_be_laid_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        JournalSegment.create(tmp_path / "one.journal", SIZE, 1)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_segment_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.journal").write_bytes(bytes(SIZE))
    with pytest.raises(UnreadableSegment):
        JournalSegment(tmp_path / "one.journal")


# ------------------------------------------------------------------------------------------------ the journal
class Folder:
    """A data folder with a journal of one megabyte."""

    def __init__(self, folder: Path, size_mb: int = 1) -> None:
        self.folder = folder
        self.database = Database.in_folder(folder)
        SQLModel.metadata.create_all(self.database.engine)
        self.blobs = BlobStore(folder / "blobs")
        self.journal = ReceiveJournal(folder / "journal", self.blobs, self.database, size_mb=size_mb)

    def keep(self, content: bytes, *, later: bool = True) -> str | None:
        """Append, sync and give back; None where the journal has no room."""
        sha256 = _digest(content).hex()
        entry = self.journal.append(b"{}", content, sha256, is_written_later=later)
        if entry is None:
            return None
        try:
            entry.sync()
        finally:
            self.journal.done(entry)
        return sha256

    def replayed(self) -> list[bytes]:
        """Return what a journal opened anew finds."""
        found: list[bytes] = []

        def note(record: JournalRecord) -> bool:
            found.append(record.content)
            return True

        ReceiveJournal(self.folder / "journal", self.blobs, self.database, size_mb=0).replay(note)
        return found


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    opened = Folder(tmp_path)
    opened.journal.replay(lambda _record: True)
    opened.journal.start()
    yield opened
    opened.journal.close()
    opened.database.close()


@pytest.fixture
def never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_journal, "IDLE_SECONDS", 3600.0)


@pytest.mark.usefixtures("never_idle")
def test_a_blob_without_a_file_is_written_when_somebody_asks(folder: Folder) -> None:
    sha256 = folder.keep(b"an image")
    assert sha256 is not None
    assert not list(folder.blobs.all_digests())
    assert folder.blobs.location(sha256).is_file()
    assert folder.blobs.read(sha256) == b"an image"


@pytest.mark.usefixtures("never_idle")
def test_a_blob_that_nobody_names_is_never_written(folder: Folder) -> None:
    sha256 = folder.keep(b"an image")
    assert sha256 is not None
    folder.blobs.discard(sha256)
    with pytest.raises(NotFound):
        folder.blobs.path(sha256)
    folder.journal.close()
    assert not list(folder.blobs.all_digests())


def test_files_are_written_when_nothing_comes_for_a_while(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_journal, "IDLE_SECONDS", 0.1)
    kept = {folder.keep(bytes([number]) * 1000) for number in range(5)}
    until = time.monotonic() + 10
    while set(folder.blobs.all_digests()) != kept:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_clean_end_leaves_nothing_to_replay(folder: Folder) -> None:
    kept = {folder.keep(bytes([number]) * 1000) for number in range(5)}
    folder.journal.close()
    assert folder.replayed() == []
    assert set(folder.blobs.all_digests()) == kept


@pytest.mark.usefixtures("never_idle")
def test_what_a_crash_leaves_is_replayed_in_order_across_segments(folder: Folder) -> None:
    contents = [bytes([number]) * 40_000 for number in range(9)]
    for content in contents:
        assert folder.keep(content) is not None
    assert folder.replayed() == contents
    assert folder.replayed() == []


@pytest.mark.usefixtures("never_idle")
def test_many_times_the_journal_goes_through_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_journal, "ROOM_SECONDS", 60.0)
    contents = [os.urandom(50_000) for _ in range(60)]
    threads = [
        threading.Thread(target=lambda part: [folder.keep(content) for content in part], args=(contents[n::4],))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder.journal.close()
    assert {hashlib.sha256(c).hexdigest() for c in contents} == set(folder.blobs.all_digests())
    assert len(list((folder.folder / "journal").iterdir())) == SEGMENTS


def test_a_sync_that_fails_is_no_success_and_that_segment_takes_no_more(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.keep(b"safe")
    entries = [
        folder.journal.append(b"{}", bytes([n]), _digest(bytes([n])).hex(), is_written_later=False) for n in (1, 2)
    ]

    def fail(_segment: JournalSegment) -> None:
        raise OSError(errno.EIO, "Input/output error")

    first, second = entries
    assert first is not None
    assert second is not None
    with monkeypatch.context() as patch:
        patch.setattr(JournalSegment, "sync", fail)
        with pytest.raises(StorageUnavailable):
            first.sync()
    # The disk answers again, but a record behind one in doubt might not be found.
    with pytest.raises(StorageUnavailable):
        second.sync()
    third = folder.journal.append(b"{}", b"third", _digest(b"third").hex(), is_written_later=False)
    assert third is not None
    assert third.span is not first.span
    third.sync()
    for entry in (first, second, third):
        folder.journal.done(entry)


@pytest.mark.usefixtures("never_idle")
def test_those_who_wait_share_one_sync(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[float] = []
    real = JournalSegment.sync

    def slow(segment: JournalSegment) -> None:
        time.sleep(0.005)
        syncs.append(time.monotonic())
        real(segment)

    monkeypatch.setattr(JournalSegment, "sync", slow)
    threads = [
        threading.Thread(target=lambda n=n: [folder.keep(f"{n} {i}".encode()) for i in range(10)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(syncs) < 80 / 2


@pytest.mark.usefixtures("never_idle")
def test_a_file_that_does_not_sync_is_written_anew_from_the_journal(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = folder.keep(b"an image")
    assert sha256 is not None
    lost = folder.blobs.path(sha256)
    lost.write_bytes(b"what the disk made of it")
    monkeypatch.setattr(BlobStore, "sync", lambda _self, digests: set(digests))
    folder.journal.close()
    assert folder.blobs.read(sha256) == b"an image"


@pytest.mark.usefixtures("never_idle")
def test_a_database_that_does_not_sync_keeps_the_journal(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.keep(b"an image")

    def fail(_self: Database) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "sync", fail)
        folder.journal.close()
    assert folder.replayed() == [b"an image"]


def test_without_room_on_the_disk_instances_are_kept_without_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Folder(tmp_path)
    monkeypatch.setattr(BlobStore, "free_bytes", lambda _self: 500_000)
    opened.journal.start()
    assert opened.keep(b"an image") is None
    opened.journal.close()
    opened.database.close()
    assert not list((tmp_path / "journal").iterdir())


def test_a_content_too_large_for_a_segment_is_not_taken(folder: Folder) -> None:
    assert folder.keep(bytes(1_000_000)) is None


def test_a_damaged_segment_is_set_aside_and_kept(tmp_path: Path) -> None:
    opened = Folder(tmp_path)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000001.journal").write_bytes(b"rubbish" * 1000)
    assert opened.journal.replay(lambda _record: True) == 0
    assert [path.suffix for path in (tmp_path / "journal").iterdir()] == [".kept"]
    opened.database.close()


@pytest.mark.usefixtures("never_idle")
def test_a_record_that_cannot_be_received_again_is_set_aside_and_kept(folder: Folder) -> None:
    folder.keep(b"no instance")
    again = ReceiveJournal(folder.folder / "journal", folder.blobs, folder.database, size_mb=0)
    assert again.replay(lambda _record: False) == 1
    kept = [path for path in (folder.folder / "journal").iterdir() if path.suffix == ".kept"]
    assert [_contents(path) for path in kept] == [[b"no instance"]]


def test_an_entry_in_use_keeps_its_segment(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive_journal, "IDLE_SECONDS", 0.05)
    entry = folder.journal.append(b"{}", b"slow", _digest(b"slow").hex(), is_written_later=True)
    assert isinstance(entry, JournalEntry)
    entry.sync()
    time.sleep(0.3)
    assert entry.span.segment.generation < SEGMENTS + 1
    assert [record.content for record in entry.span.segment.records()] == [b"slow"]
    folder.journal.done(entry)
