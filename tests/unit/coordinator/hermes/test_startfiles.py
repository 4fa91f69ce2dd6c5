"""The two files by which an environment loads the bridge: whole or not there, and followed nowhere."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from kanban_shards.coordinator.errors import CannotBridge
from kanban_shards.coordinator.hermes import startfiles
from tests.unit.coordinator.hermes.environments import connects, make, site_of

PTH, START = "kanban-shards-hermes.pth", "kanban-shards-hermes.start"
as_another_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def test_written_looked_at_and_removed(tmp_path: Path) -> None:
    assert startfiles.look(tmp_path) == startfiles.MISSING
    assert not startfiles.any_in(tmp_path)
    startfiles.write(tmp_path)
    assert startfiles.look(tmp_path) == startfiles.IN_PLACE
    assert sorted(path.name for path in tmp_path.iterdir()) == [PTH, START]
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "each user of that Python reads them"
    assert startfiles.remove(tmp_path)
    assert not startfiles.remove(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    startfiles.write(tmp_path)
    before = [path.stat().st_ino for path in sorted(tmp_path.iterdir())]
    startfiles.write(tmp_path)
    assert [path.stat().st_ino for path in sorted(tmp_path.iterdir())] == before


@pytest.mark.parametrize("name", [PTH, START])
def test_one_that_is_missing_or_differs(tmp_path: Path, name: str) -> None:
    startfiles.write(tmp_path)
    (tmp_path / name).write_text("import something_else\n")
    assert startfiles.look(tmp_path) == startfiles.DIFFERENT
    (tmp_path / name).unlink()
    assert startfiles.look(tmp_path) == startfiles.MISSING
    startfiles.write(tmp_path)
    assert startfiles.look(tmp_path) == startfiles.IN_PLACE


@pytest.mark.parametrize("what", ["link", "dangling", "pipe"])
def test_what_lies_there_is_not_followed(tmp_path: Path, what: str) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    site.mkdir()
    if what == "pipe":
        os.mkfifo(site / PTH)
    else:
        (site / PTH).symlink_to(other)
    if what == "link":
        other.write_text("theirs")
    assert startfiles.look(site) == startfiles.MISSING
    startfiles.write(site)
    assert startfiles.look(site) == startfiles.IN_PLACE
    assert not (site / PTH).is_symlink()
    assert not other.exists() or other.read_text() == "theirs"


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    site, other = tmp_path / "site", tmp_path / "other"
    site.mkdir()
    other.write_text("theirs")
    (site / START).symlink_to(other)
    assert startfiles.remove(site)
    assert [*site.iterdir()] == []
    assert other.read_text() == "theirs"


def test_a_folder_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / PTH / "inside").mkdir(parents=True)
    for change in (startfiles.write, startfiles.remove):
        with pytest.raises(CannotBridge, match="The files by which Hermes loads kanban-shards cannot be changed"):
            change(tmp_path)


@as_another_user
def test_a_folder_that_is_read_only_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for change in (startfiles.write, startfiles.check_writable):
            with pytest.raises(CannotBridge, match="read-only for this user"):
                change(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_a_python_reads_them(tmp_path: Path) -> None:
    python = make(tmp_path / "venv")
    site = site_of(tmp_path / "venv")
    assert connects(python) == "upstream"
    startfiles.write(site)
    assert connects(python) == "ours"
    assert connects(python, KANBAN_SHARDS_HERMES="0") == "upstream"
    if sys.version_info < (3, 15):
        (site / START).unlink()
        assert connects(python) == "ours"
    startfiles.remove(site)
    assert connects(python) == "upstream"
