"""Content-addressed files: durable when they have a name, never overwritten, nothing half done left."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.errors import NotFound, StorageFull, StorageUnavailable
from gateway.store.blobs import BlobStore


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def _leftovers(blobs: BlobStore) -> list[Path]:
    return list((blobs._folder / "incoming").iterdir())


@settings(deadline=None, max_examples=20)
@given(pieces=st.lists(st.binary(max_size=200), max_size=6))
def test_a_blob_is_named_by_its_hash_however_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    blobs = BlobStore(tmp_path_factory.mktemp("blobs"))
    whole = b"".join(pieces)
    incoming = blobs.open_incoming()
    for piece in pieces:
        incoming.write(memoryview(piece))
    assert incoming.size == len(whole)
    assert incoming.commit() == incoming.sha256 == hashlib.sha256(whole).hexdigest() == blobs.put(whole)
    incoming.close()
    assert blobs.read(incoming.sha256) == whole
    assert list(blobs.all_digests()) == [incoming.sha256]
    assert not _leftovers(blobs)


def test_what_is_not_committed_leaves_nothing(blobs: BlobStore) -> None:
    incoming = blobs.open_incoming()
    incoming.write(b"abc")
    assert incoming.temporary_path.read_bytes() == b"abc"
    incoming.close()
    incoming.close()
    assert not _leftovers(blobs)
    assert not list(blobs.all_digests())


def test_committing_again_is_harmless_and_says_where_it_is(blobs: BlobStore) -> None:
    incoming = blobs.open_incoming()
    incoming.write(b"abc")
    assert incoming.commit() == incoming.commit()
    assert incoming.temporary_path == blobs.path(incoming.sha256)
    incoming.close()
    assert blobs.read(incoming.sha256) == b"abc"


def test_a_missing_blob_is_not_found(blobs: BlobStore) -> None:
    with pytest.raises(NotFound):
        blobs.path("0" * 64)
    assert blobs.location("0" * 64).name == "0" * 64


def test_a_discarded_blob_is_gone_and_discarding_again_is_harmless(blobs: BlobStore) -> None:
    digest = blobs.put(b"abc")
    blobs.discard(digest)
    blobs.discard(digest)
    assert not list(blobs.all_digests())


def test_a_crash_leaves_files_that_the_next_start_sweeps(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from gateway.store.blobs import BlobStore\n"
        "b = BlobStore(Path(sys.argv[1])); b.put(b'kept'); i = b.open_incoming(); i.write(b'half'); i.temporary_path\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -9
    blobs = BlobStore(tmp_path)
    assert len(_leftovers(blobs)) == 1
    assert blobs.sweep_incoming() == 1
    assert not _leftovers(blobs)
    assert [blobs.read(digest) for digest in blobs.all_digests()] == [b"kept"]


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)],
)
@pytest.mark.parametrize("where", ["fsync", "link", "write"])
def test_a_disk_that_fails_is_a_named_error_and_leaves_nothing(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], where: str
) -> None:
    def fail(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, where, fail)
        with pytest.raises(error):
            blobs.put(b"abc")
    assert not _leftovers(blobs)
    assert not list(blobs.all_digests())


def test_file_and_folder_are_synced_before_the_name_is_there(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def sync(descriptor: int) -> None:
        order.append("sync folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "sync file")  # noqa: PTH112
        real_sync(descriptor)

    def link(path: Path, target: Path) -> None:
        order.append("link")
        real_link(path, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    blobs.put(b"abc")
    assert order == ["sync file", "link", "sync folder"]


def test_a_folder_that_cannot_be_written_is_a_named_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageUnavailable, match="data folder"):
        BlobStore(tmp_path / "file" / "blobs")


def test_free_room_is_what_the_disk_says(blobs: BlobStore, tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    assert blobs.free_bytes() == pytest.approx(room.f_bavail * room.f_frsize, rel=0.05)


def _put_many(blobs: BlobStore) -> Callable[[], None]:
    def put() -> None:
        for number in range(30):
            blobs.put(str(number % 10).encode() * 1000)

    return put


def test_many_threads_may_keep_the_same_content(blobs: BlobStore) -> None:
    threads = [threading.Thread(target=_put_many(blobs)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(blobs.all_digests())) == 10
    assert not _leftovers(blobs)
