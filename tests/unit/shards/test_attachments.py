"""Attachments: the bytes beside the board, their rows on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kanban_shards import Gateway, attachments
from kanban_shards.changes.kinds import Attach
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import AttachmentTooLarge, Refused, StorageError, UnknownTask
from kanban_shards.paths import BoardPaths
from tests.ids import new_task_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "elsewhere" / "report.txt"
    found.parent.mkdir()
    found.write_text("words")
    return found


def kept(gateway: Gateway) -> list[Path]:
    """Every file below the attachments folder, whole or half made."""
    return sorted(path for path in gateway.paths.attachments.rglob("*") if path.is_file())


def test_attach(gateway: Gateway, paths, file: Path) -> None:
    """A copy is kept in the task's folder, and the row and the event say what it is."""
    task_id = gateway.create("x")
    number = gateway.attach(task_id, file, content_type="text/plain", uploaded_by="Olga")
    found = gateway.board.attachment(number)
    assert (found.filename, found.size, found.content_type, found.uploaded_by) == (
        "report.txt", 5, "text/plain", "Olga"
    )  # fmt: skip
    assert Path(found.stored_path).parent == paths.attachments / task_id
    file.write_text("changed afterwards")
    assert Path(found.stored_path).read_text() == "words"
    assert gateway.board.attachments(task_id) == [found]
    assert gateway.board.events(task_id=task_id)[-1].payload == {"filename": "report.txt", "size": 5, "by": "Olga"}
    assert kept(gateway) == [Path(found.stored_path)]
    assert verify(paths).clean


def test_two_files_of_one_name(gateway: Gateway, file: Path) -> None:
    """Neither takes the other's place."""
    task_id = gateway.create("x")
    numbers = [gateway.attach(task_id, file) for _ in range(3)]
    stored = [Path(gateway.board.attachment(number).stored_path) for number in numbers]
    assert [path.name for path in stored] == ["report.txt", "report-1.txt", "report-2.txt"]
    assert {path.read_text() for path in stored} == {"words"}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.exe", "evil.exe"),
        (".hidden", "hidden"),
        ("..", "attachment"),
        ("a\nb\x00c.txt", "abc.txt"),
        ("x" * 300 + ".txt", "x" * 196 + ".txt"),
        ("übersicht.md", "übersicht.md"),
    ],
)
def test_a_name_is_a_name_and_nothing_else(gateway: Gateway, paths, file: Path, name: str, stored: str) -> None:
    """Whatever it is called, the copy lies in the task's own folder."""
    task_id = gateway.create("x")
    found = gateway.board.attachment(gateway.attach(task_id, file, name=name))
    assert (found.filename, Path(found.stored_path)) == (stored, paths.attachments / task_id / stored)


def test_a_task_that_is_deleted_with_more_attachments_than_can_be_listed(gateway: Gateway, paths, file: Path) -> None:
    """Three thousand rows with a thousand control characters each, as a forger may write them: a list of them would be
    larger than a value of a database may be, and no pass would come behind it."""
    task_id = gateway.create("x")
    gateway.attach(task_id, file)
    row = Attach(filename="f", stored_path="\x01" * 1_000, size=1)
    for _ in range(2_850):
        gateway._writer.write(task_id, row)
    gateway.delete(task_id)
    assert kept(gateway) == []
    gateway.claim(gateway.create("goes on"))
    assert verify(paths).clean


def test_a_file_that_grows_while_it_is_copied(gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says what was kept, and the limit holds for that."""
    task_id, size = gateway.create("x"), file.stat().st_size
    seen = os.stat_result((*os.stat(file)[:6], 1, *os.stat(file)[7:]))
    monkeypatch.setattr(Path, "stat", lambda path, **how: seen if path == file else os.stat(path, **how))
    found = gateway.board.attachment(gateway.attach(task_id, file))
    assert (found.size, Path(found.stored_path).read_text()) == (size, "words")
    monkeypatch.setattr(attachments, "LIMIT_BYTES", size - 1)
    with pytest.raises(AttachmentTooLarge):
        gateway.attach(task_id, file)
    assert kept(gateway) == [Path(found.stored_path)]


def test_the_limit(gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the limit's size is kept, one that is larger is refused before anything is copied."""
    monkeypatch.setattr(attachments, "LIMIT_BYTES", 5)
    task_id = gateway.create("x")
    gateway.attach(task_id, file)
    file.write_text("longer")
    with pytest.raises(AttachmentTooLarge) as raised:
        gateway.attach(task_id, file)
    assert (raised.value.size_bytes, raised.value.limit_bytes, raised.value.exit_code) == (6, 5, 2)
    assert len(kept(gateway)) == 1


def test_hermes_s_limit() -> None:
    assert attachments.LIMIT_BYTES == 25 * 1024 * 1024


@pytest.mark.parametrize("missing", ["nothing", "folder"])
def test_what_cannot_be_attached(gateway: Gateway, tmp_path: Path, missing: str) -> None:
    """A file that is not there, or that is a folder, leaves nothing behind."""
    (tmp_path / "folder").mkdir()
    task_id = gateway.create("x")
    with pytest.raises(StorageError):
        gateway.attach(task_id, tmp_path / missing)
    assert kept(gateway) == []
    assert gateway.board.attachments(task_id) == []


def test_no_such_task(gateway: Gateway, file: Path) -> None:
    with pytest.raises(UnknownTask):
        gateway.attach(new_task_id(), file)
    assert kept(gateway) == []


def test_detach(gateway: Gateway, file: Path) -> None:
    """Row and bytes go; the file that was copied stays; detaching twice changes nothing."""
    task_id = gateway.create("x")
    number, other = gateway.attach(task_id, file), gateway.attach(task_id, file)
    assert gateway.detach(task_id, number)
    assert not gateway.detach(task_id, number)
    assert [found.id for found in gateway.board.attachments(task_id)] == [other]
    assert [path.name for path in kept(gateway)] == ["report-1.txt"]
    assert file.exists()


def test_detach_of_another_task_s_file(gateway: Gateway, file: Path) -> None:
    number = gateway.attach(gateway.create("x"), file)
    assert not gateway.detach(gateway.create("y"), number)
    assert len(kept(gateway)) == 1


def test_deleting_a_task_deletes_its_files(gateway: Gateway, file: Path) -> None:
    """Rows and bytes, and nobody else's."""
    task_id, other = gateway.create("x"), gateway.create("y")
    gateway.attach(task_id, file)
    gateway.attach(task_id, file)
    left = gateway.attach(other, file)
    gateway.delete(task_id)
    assert kept(gateway) == [Path(gateway.board.attachment(left).stored_path)]
    assert file.exists()


def test_a_refused_delete_keeps_the_files(gateway: Gateway, file: Path) -> None:
    task_id = gateway.create("x")
    gateway.attach(task_id, file)
    with pytest.raises(Refused) as raised:
        gateway.delete(task_id, archived_only=True)
    assert raised.value.reason == "wrong_status"
    assert len(kept(gateway)) == 1


@pytest.mark.parametrize("act", ["delete", "detach"])
@pytest.mark.parametrize("spelled", ["as it is", "through dots", "through a link", "a folder", "too long", "a NUL"])
def test_a_row_that_names_another_task_s_file(gateway: Gateway, home, file: Path, act: str, spelled: str) -> None:
    """Whoever removes the one task, or the file that it is said to have, removes nothing of the other one."""
    theirs = gateway.create("theirs")
    only_copy = Path(gateway.board.attachment(gateway.attach(theirs, file)).stored_path)
    with Gateway("evil", home=home) as evil:
        forged = evil.create("forged")
        own = only_copy.parent.with_name(forged)
        stored_path = {
            "as it is": only_copy,
            "through dots": own / ".." / theirs / only_copy.name,
            "through a link": own / only_copy.name,
            "a folder": own / "folder",
            "too long": own / ("x" * 300),
            "a NUL": own / "\0" / "x",
        }[spelled]
        if spelled == "through a link":
            own.symlink_to(theirs)
        else:
            (own / "folder").mkdir(parents=True)
        number = evil._writer.ask(forged, Attach(filename="x", stored_path=str(stored_path), size=5)).answer[
            "attachment_id"
        ]
    gateway.delete(forged) if act == "delete" else gateway.detach(forged, number)
    assert only_copy.read_text() == "words"
    assert spelled == "through a link" or (own / "folder").is_dir()


def test_a_link_in_the_task_s_folder_goes_and_not_what_it_leads_to(gateway: Gateway, paths, file: Path) -> None:
    theirs, task_id = gateway.create("theirs"), gateway.create("x")
    only_copy = Path(gateway.board.attachment(gateway.attach(theirs, file)).stored_path)
    link = paths.attachments / task_id / "link.txt"
    link.parent.mkdir()
    link.symlink_to(only_copy)
    attachments.remove(paths, task_id, str(link))
    assert (link.is_symlink(), only_copy.read_text()) == (False, "words")


def test_a_second_row_of_one_file(gateway: Gateway, home, file: Path) -> None:
    """The file goes with the last attachment that names it."""
    task_id = gateway.create("x")
    number = gateway.attach(task_id, file)
    stored = Path(gateway.board.attachment(number).stored_path)
    again = str(stored.parent / ".." / task_id / stored.name)
    with Gateway("evil", home=home) as evil:
        forged = evil._writer.ask(task_id, Attach(filename="x", stored_path=again, size=5)).answer["attachment_id"]
    assert gateway.detach(task_id, forged)
    assert stored.read_text() == "words"
    assert gateway.detach(task_id, number)
    assert kept(gateway) == []


def test_a_board_that_was_moved(gateway: Gateway, paths, tmp_path: Path, file: Path) -> None:
    """A row names the former place; the file is found and removed where it lies now."""
    task_id = gateway.create("x")
    gateway.detach(task_id, gateway.attach(task_id, file))
    folder = paths.attachments / task_id
    (folder / "report-1.txt").write_text("moved")
    row = Attach(filename="y", stored_path=str(tmp_path / "former home" / "report-1.txt"), size=5)
    gateway.detach(task_id, gateway._writer.ask(task_id, row).answer["attachment_id"])
    assert os.listdir(folder) == []


def test_what_lies_elsewhere_is_left_alone(paths, tmp_path: Path) -> None:
    """A row may name any path (an import's, or a forged one); only the board's own folder is cleaned."""
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    paths.attachments.mkdir(parents=True)
    inside = paths.attachments / "link.txt"
    os.symlink(outside, inside)
    for path in (outside, paths.attachments / ".." / ".." / outside.name, inside):
        attachments.remove(paths, "t_0123456789abcdef", str(path))
    assert outside.read_text() == "mine"


def test_a_file_that_is_gone_already(gateway: Gateway, file: Path) -> None:
    task_id = gateway.create("x")
    number = gateway.attach(task_id, file)
    Path(gateway.board.attachment(number).stored_path).unlink()
    assert gateway.detach(task_id, number)


def test_a_failing_disk_leaves_nothing(gateway: Gateway, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that were not written durably are not the board's."""

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    task_id = gateway.create("x")
    gateway.sync()
    monkeypatch.setattr(attachments.os, "fsync", fail)
    with pytest.raises(StorageError):
        gateway.attach(task_id, file)
    assert kept(gateway) == []


def test_a_file_that_is_stored_already(gateway: Gateway, paths, file: Path) -> None:
    """No copy is made; the row says what is there, and the file goes when it is detached."""
    task_id = gateway.create("x")
    place = paths.attachments / task_id
    place.mkdir(parents=True)
    (place / "streamed").write_text("four words are here")
    number = gateway.attach_stored(task_id, place / "streamed", name="../words.txt", content_type="text/plain")
    found = gateway.board.attachment(number)
    assert (found.filename, found.size, found.stored_path) == ("words.txt", 19, str(place / "streamed"))
    assert kept(gateway) == [place / "streamed"]
    assert gateway.detach(task_id, number)
    assert kept(gateway) == []


def test_a_file_that_lies_elsewhere_is_not_stored(gateway: Gateway, paths, file: Path) -> None:
    """Also not where a link, ``..``, another task's folder or something that is no file leads to."""
    task_id, other = gateway.create("x"), gateway.create("y")
    gateway.sync()
    with pytest.raises(StorageError, match="does not lie among the task's attachments"):
        gateway.attach_stored(task_id, file)
    gateway.attach(other, file)
    place = paths.attachments / task_id
    place.mkdir()
    (place / "link").symlink_to(file)
    (place / "folder").mkdir()
    os.mkfifo(place / "pipe")
    (place / "large").touch()
    os.truncate(place / "large", attachments.LIMIT_BYTES + 1)
    (paths.attachments / "t_0000000000000000").symlink_to(place)
    for wrong in (
        place / "link",
        place / "folder",
        place / "pipe",
        place / "large",
        place / "missing",
        place / ".." / other / "report.txt",
        place / "folder" / "..",
        paths.attachments,
        f"{place}/\0",
    ):
        with pytest.raises((StorageError, AttachmentTooLarge)):
            gateway.attach_stored(task_id, wrong)
    assert gateway.board.attachments(task_id) == []
    place.joinpath("large").unlink()
    with pytest.raises(UnknownTask):
        gateway.attach_stored(new_task_id(), place / "link")


@pytest.mark.parametrize("name", ["kanban.db", "linked"])
def test_a_file_of_an_open_board_is_not_read_raw(home: str, paths: BoardPaths, name: str) -> None:
    """Law 1: closing it would give up this process's locks on it."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("a task")
        amy.sync()
        assert amy.board.task(task_id)
        os.link(paths.board, paths.folder / "linked")
        with pytest.raises(StorageError, match="of a board that is open here"):
            amy.attach(task_id, paths.folder / name)
        assert amy.board.attachments(task_id) == []
