"""Any one file is lost or damaged while other profiles work: they keep working, and what was merged comes back."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kanban_shards import Board, Gateway, Refused
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.errors import KanbanError, NewerSchema
from kanban_shards.paths import BoardPaths
from tests import forks

# What makes each file again. A board and a ledger stop the passes, so their order is that of need.
MAKES_AGAIN = {
    "board": ["rebuild"],
    "ledger": ["repair", "--ledger"],
    "shard": ["repair", "amy"],
    "snapshot": ["repair", "--snapshot"],
}
ENOUGH = 40
PAGE = 4096

Damage = Callable[[Path, Path], None]


def _delete(file: Path, _older: Path) -> None:
    for path in _family(file):
        path.unlink()


def _truncate_to(size: Callable[[int], int]) -> Damage:
    return lambda file, _older: os.truncate(file, size(file.stat().st_size))


def _flip(*bits: tuple[int, int]) -> Damage:
    """Flip these bits, each ``(byte, bits of it)``."""

    def flip(file: Path, _older: Path) -> None:
        data = bytearray(file.read_bytes())
        for at, mask in bits:
            data[at] ^= mask
        file.write_bytes(data)

    return flip


def _flip_in(kind: str) -> Damage:
    """Flip a bit in each 512 bytes of the first page of every table, or of every index, that the file has."""

    def flip(file: Path, older: Path) -> None:
        pages = _pages(older / file.name, kind)
        if not pages:
            pytest.skip(f"{file.name} has no {kind}")
        _flip(*((page * PAGE + at, 0x10) for page in pages for at in range(0, PAGE, 512)))(file, older)

    return flip


def _flip_bits(file: Path, older: Path) -> None:
    """One bit in each 512 bytes behind the header."""
    _flip(*((at, 0x10) for at in range(700, file.stat().st_size, 512)))(file, older)


def _overwrite(file: Path, _older: Path) -> None:
    file.write_bytes(b"no database " * 1_000)


def _put_older_back(file: Path, older: Path) -> None:
    """With nothing beside it, as from a backup."""
    _delete(file, older)
    shutil.copyfile(older / file.name, file)


def _put_older_back_beside_what_there_is(file: Path, older: Path) -> None:
    """The newer -wal or -journal stays, and fits no longer."""
    shutil.copyfile(older / file.name, file)


def _put_older_back_with_its_journal(file: Path, older: Path) -> None:
    _delete(file, older)
    for path in _family(older / file.name):
        shutil.copyfile(path, file.parent / path.name)


DAMAGES: dict[str, Damage] = {
    "deleted": _delete,
    "emptied": _truncate_to(lambda size: 0),
    "truncated within the header": _truncate_to(lambda size: 60),
    "truncated to a page": _truncate_to(lambda size: PAGE),
    "truncated to the half": _truncate_to(lambda size: size // 2 + 100),
    "truncated by a byte": _truncate_to(lambda size: size - 1),
    "flipped in the magic": _flip((3, 0x01)),
    "flipped in the page size": _flip((16, 0x02)),
    "flipped in the application id": _flip((70, 0x04)),
    "flipped in the schema page": _flip(*((at, 0x10) for at in range(100, PAGE, 256))),
    "flipped in the tables": _flip_in("table"),
    "flipped in the indexes": _flip_in("index"),
    "flipped everywhere": _flip_bits,
    "overwritten": _overwrite,
    "older": _put_older_back,
    "older beside a newer journal": _put_older_back_beside_what_there_is,
    "older with its journal": _put_older_back_with_its_journal,
}


# Of a board that was never compacted, every damage to each file; of one that was, what differs: where a replay begins.
CASES = [("whole", role, damage) for role in MAKES_AGAIN if role != "snapshot" for damage in DAMAGES]
CASES += [("compacted", role, damage) for role in MAKES_AGAIN for damage in ("deleted", "flipped everywhere", "older")]


@pytest.fixture(scope="module", params=["whole", "compacted"])
def grown(request, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A home where amy and bob worked, an older copy of it in ``older``, and the comments that were acknowledged and
    merged, by task. A reader was there until the files were copied, so the WALs still lie beside them. Of a board that
    was compacted, the early part is in the snapshot alone."""
    root = tmp_path_factory.mktemp("grown")
    paths = BoardPaths.find(home=root / "live")
    merged: dict[str, list[str]] = {}
    with Gateway("amy", home=paths.folder) as amy, Gateway("bob", home=paths.folder) as bob:
        tasks = {amy.profile: amy.create("amy's"), bob.profile: bob.create("bob's")}
        _work([amy, bob], tasks, merged, "early")
        if request.param == "compacted":
            assert _kanban_merge(str(paths.folder), "compact", "--keep-days", "0").returncode == 0
            _work([amy, bob], tasks, merged, "between")
        _copy(paths.folder, root / "older")
        _work([amy, bob], tasks, merged, "late")
        _copy(paths.folder, root / "newer")
    assert (root / "newer" / "kanban-ledger.db-wal").exists() or (root / "newer" / "kanban.db-wal").exists()
    return root, merged


@pytest.fixture
def merged(grown, paths: BoardPaths) -> Iterator[dict[str, list[str]]]:
    """The board of ``grown``, in the test's own home."""
    root, comments = grown
    _copy(root / "newer", paths.folder)
    return {task_id: list(texts) for task_id, texts in comments.items()}


@pytest.mark.parametrize(("grown", "role", "damage"), CASES, indirect=["grown"])
def test_survive_any_one_file(
    grown, paths: BoardPaths, home: str, merged: dict[str, list[str]], role: str, damage: str
) -> None:
    """docs/design/recovery.md, "Losing a file": nothing merged is lost, and the others write on, repaired or not."""
    file = _file(paths, role)
    DAMAGES[damage](file, grown[0] / "older")
    _assert_never_empty(home, merged)
    (mine,) = (task_id for task_id, texts in merged.items() if texts[0].startswith("bob"))
    _write_meanwhile(home, mine, merged, role)
    _make_again(home, paths, role)
    for profile in ("amy", "bob", "cleo"):
        with Gateway(profile, home=home) as gateway:
            for task_id in merged:
                gateway.comment(task_id, f"{profile} after")
                merged[task_id].append(f"{profile} after")
            gateway.sync()
    _assert_whole(paths, home, merged)


@pytest.mark.parametrize("role", MAKES_AGAIN)
def test_survive_a_newer_version(grown, paths: BoardPaths, home: str, merged: dict[str, list[str]], role: str) -> None:
    """What a newer program made is left as it is, and said; the newer program, or the former file, goes on with it."""
    file = _file(paths, role)
    kept = {path: path.read_bytes() for path in _family(file)}
    _flip((63, 0x40))(file, file)  # the file's user_version
    for path in kept.keys() - {file}:
        path.unlink()  # the first page may be in the -wal, too
    (mine,) = (task_id for task_id, texts in merged.items() if texts[0].startswith("bob"))
    _write_meanwhile(home, mine, merged, role)
    newer = file.read_bytes()
    done = _kanban_merge(home, *MAKES_AGAIN[role])
    assert (done.returncode, "newer version" in done.stderr) == (NewerSchema.exit_code, True), done.stderr
    assert file.read_bytes() == newer
    for path in _family(file):
        path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)
    _assert_whole(paths, home, merged)


def test_survive_a_copy_under_another_name(grown, paths: BoardPaths, home: str, merged: dict[str, list[str]]) -> None:
    """A shard, or a board, that lies under another profile's name is named and left; the profile gets its own."""
    shutil.copyfile(paths.shard("amy"), paths.shard("bob"))
    shutil.copyfile(paths.board, paths.shard("zoe"))
    with Gateway("amy", home=home) as amy:
        for task_id, texts in merged.items():
            amy.comment(task_id, "amy meanwhile")
            texts.append("amy meanwhile")
        amy.sync()
    assert {finding.where for finding in verify(paths).findings} == {"kanban.bob.db", "kanban.zoe.db"}
    for profile in ("bob", "zoe"):
        assert _kanban_merge(home, "repair", profile).returncode == 0
    _assert_whole(paths, home, merged)


def _work(gateways: list[Gateway], tasks: dict[str, str], merged: dict[str, list[str]], when: str) -> None:
    for number in range(ENOUGH):
        for gateway in gateways:
            text = f"{gateway.profile} {when} {number}"
            gateway.comment(tasks[gateway.profile], text)
            merged.setdefault(tasks[gateway.profile], []).append(text)
    for gateway in gateways:
        gateway.sync()


def _assert_never_empty(home: str, merged: dict[str, list[str]]) -> None:
    """A reader is answered with tasks, or with a sentence; a damaged board is never an empty one."""
    with suppress(KanbanError), Board.open(home=home) as board:
        shown = {task.id for task in board.tasks()}
        assert shown and shown <= merged.keys()  # an older board may lack some until the next pass


def _write_meanwhile(home: str, task_id: str, merged: dict[str, list[str]], role: str) -> None:
    """bob, whose own shard is as it was, works; another's shard does not hold him up. Of board and ledger a sentence
    may, and it names the command that helps."""
    try:
        with Gateway("bob", home=home, patience_s=0.5) as bob:
            bob.comment(task_id, "bob meanwhile")
            merged[task_id].append("bob meanwhile")  # acknowledged: merged now, or after the repair
            bob.sync()
            bob.complete(bob.claim(task_id))
            bob.claim(bob.create("bob's new one"))
    except KanbanError as error:
        assert role not in ("shard", "snapshot"), error
        assert not isinstance(error, Refused), error
        named = re.findall(r"`kanban-merge (rebuild|repair [\w-]+)`", str(error))
        assert named in ([], [" ".join(MAKES_AGAIN[role])]), error


def _file(paths: BoardPaths, role: str) -> Path:
    files = {"board": paths.board, "ledger": paths.ledger, "shard": paths.shard("amy"), "snapshot": paths.snapshot}
    if not files[role].exists():
        pytest.skip("a board that was never compacted has no snapshot")
    return files[role]


def _make_again(home: str, paths: BoardPaths, role: str) -> None:
    """What a person does. A board that is only lost or old has caught up by itself, and a ledger is whole of which the
    WAL beside it has each page that was damaged, or that was put beside a WAL of another one."""
    with suppress(KanbanError):
        if verify(paths).clean:
            assert role != "shard"
            return
    done = _kanban_merge(home, *MAKES_AGAIN[role])
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def _assert_whole(paths: BoardPaths, home: str, merged: dict[str, list[str]]) -> None:
    with Gateway("amy", home=home) as amy:
        amy.merge_now()
        for task_id, texts in merged.items():
            assert sorted(comment.body for comment in amy.board.comments(task_id)) == sorted(texts)
    found = verify(paths)
    assert found.clean, found.findings


def _kanban_merge(home: str, *words: str) -> subprocess.CompletedProcess:
    return forks.python("-m", "kanban_shards.coordinator", "--home", home, *words)


def _family(file: Path) -> list[Path]:
    names = {file.name + end for end in ("", "-wal", "-shm", "-journal")}
    return [path for path in file.parent.iterdir() if path.name in names]


def _pages(file: Path, kind: str) -> list[int]:
    """The first page of each table or index of a file that nobody has open, counted from 0; not that of the schema."""
    sql = f"SELECT rootpage - 1 FROM sqlite_schema WHERE type = '{kind}'"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return [page for (page,) in connection.execute(sql)]


def _copy(source: Path, target: Path) -> None:
    """The databases as they lie there, by another process: closing a file here would drop this process's locks."""
    script = (
        "import pathlib, shutil, sys; target = pathlib.Path(sys.argv[2]); target.mkdir(exist_ok=True); "
        "[shutil.copyfile(path, target / path.name) for path in pathlib.Path(sys.argv[1]).glob('kanban*.db*') "
        "if not path.name.endswith('-shm')]"
    )
    assert forks.python("-c", script, source, target).returncode == 0
