"""Where a WAL is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from kanban_shards.errors import NoSharedMemory, NotAFile, StorageError
from kanban_shards.storage import copies, filesystems, sqlite
from kanban_shards.storage.filesystems import make_folder, not_shared
from kanban_shards.storage.folders import write_whole
from kanban_shards.storage.locks import FileLock

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:30 / /srv/team rw - nfs4 server:/team rw
31 22 0:31 / /srv/team/local rw - xfs /dev/vdb rw
32 22 0:32 / /mnt/with\\040blank rw - 9p host rw
33 22 0:33 / /home/me/cloud rw - fuse.sshfs me@there: rw
34 22 0:34 / /home/me/ntfs rw - fuseblk /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/var/lib/board", None),
        ("/srv/team/board", "nfs4"),
        ("/srv/teams", None),
        ("/srv/team/local/board", None),
        ("/mnt/with blank/board", "9p"),
        ("/home/me/cloud/board", "fuse.sshfs"),
        ("/home/me/ntfs/board", None),
    ],
)
def test_the_innermost_mount_decides(tmp_path: Path, place: str, kind: str | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert not_shared(Path(place), mounts) == kind


def test_without_a_list_nothing_is_known(tmp_path: Path) -> None:
    assert not_shared(tmp_path, tmp_path / "missing") is None


def test_a_new_folder_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, and those of the folders above it that are new; also if whoever made it was killed before the sync."""
    synced: list[Path] = []
    monkeypatch.setattr(filesystems, "sync_folder", synced.append)
    (tmp_path / "a file").touch()
    (tmp_path / "another").touch()
    folder = tmp_path / "home" / "boards" / "team"
    make_folder(folder)
    assert set(synced) == {tmp_path, tmp_path / "home", tmp_path / "home" / "boards"}
    assert folder.stat().st_mode & 0o777 == 0o700
    synced.clear()
    make_folder(folder)
    assert set(synced) == {tmp_path, tmp_path / "home", tmp_path / "home" / "boards"}
    (folder / "a file").touch()
    (folder / "another").touch()
    synced.clear()
    make_folder(folder)
    assert synced == []


def test_no_wal_is_begun_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law 3: the file is refused with a sentence, and nothing of it is left behind."""
    monkeypatch.setattr(sqlite, "not_shared", lambda path: "nfs4")
    lock = FileLock(tmp_path / "board.lock")
    lock.acquire(1)
    with pytest.raises(NoSharedMemory, match="nfs4"):
        sqlite.open_writer(tmp_path / "kanban.db", sqlite.BOARD, lock)
    lock.close()
    assert not (tmp_path / "kanban.db").exists()


def test_nothing_is_written_where_no_file_is_named() -> None:
    with pytest.raises(StorageError, match="names no file"):
        write_whole(Path(""), "text")
    assert [path for path in Path().iterdir() if path.name.startswith("..")] == []


def test_permissions_are_not_given_through_a_link(tmp_path: Path) -> None:
    """Between making a file and opening it to a group, somebody may put a link in its place."""
    mine = tmp_path / "mine"
    mine.touch(0o600)
    (tmp_path / "made").symlink_to(mine)
    with pytest.raises((NotAFile, NotImplementedError)):
        filesystems.chmod_itself(tmp_path / "made", 0o660)
    assert mine.stat().st_mode & 0o777 == 0o600
    filesystems.chmod_itself(mine, 0o660)
    assert mine.stat().st_mode & 0o777 == 0o660


def test_a_copy_is_not_made_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the link is put there right behind the look."""
    mine = tmp_path / "mine"
    mine.touch()
    monkeypatch.setattr(copies, "discard", lambda path: path.symlink_to(mine))
    with closing(sqlite3.connect(":memory:")) as source, pytest.raises(NotAFile):
        source.execute("CREATE TABLE t (x)")
        copies.write_copy(source, tmp_path / "copy.db", sqlite.BOARD)
    assert mine.stat().st_size == 0
