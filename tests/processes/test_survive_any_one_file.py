"""Any one file is lost or damaged while other profiles work: they keep working, and what was merged comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from coordinator.verify import verify
from shards import Gateway
from shards.errors import KanbanError
from shards.names import BoardPaths

# What makes each file again. A board and a ledger stop the passes, so their order is that of need.
MAKES_AGAIN = {
    "board": ["rebuild"],
    "ledger": ["repair", "--ledger"],
    "shard": ["repair", "amy"],
    "snapshot": ["repair", "--snapshot"],
}
ENOUGH = 40


def _delete(file: Path, _older: Path) -> None:
    for path in _family(file):
        path.unlink()


def _empty(file: Path, _older: Path) -> None:
    os.truncate(file, 0)


def _truncate(file: Path, _older: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 + 100)


def _flip_bits(file: Path, _older: Path) -> None:
    """One bit in each 512 bytes behind the header."""
    data = bytearray(file.read_bytes())
    for at in range(700, len(data), 512):
        data[at] ^= 0x10
    file.write_bytes(data)


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


DAMAGES = [
    _delete,
    _empty,
    _truncate,
    _flip_bits,
    _overwrite,
    _put_older_back,
    _put_older_back_beside_what_there_is,
    _put_older_back_with_its_journal,
]


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "compacted"])
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
        if request.param:
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


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize("role", MAKES_AGAIN)
def test_survive_any_one_file(
    grown, paths: BoardPaths, home: str, merged: dict[str, list[str]], role: str, damage: Callable
) -> None:
    """docs/design.md, "Losing a file": nothing that was merged is lost, and the others write on, repaired or not."""
    file = {"board": paths.board, "ledger": paths.ledger, "shard": paths.shard("amy"), "snapshot": paths.snapshot}[role]
    if not file.exists():
        pytest.skip("a board that was never compacted has no snapshot")
    damage(file, grown[0] / "older")
    (mine,) = (task_id for task_id, texts in merged.items() if texts[0].startswith("bob"))
    _write_meanwhile(home, mine, merged, must_merge=role in ("shard", "snapshot"))
    _make_again(home, paths, role)
    for profile in ("amy", "bob", "cleo"):
        with Gateway(profile, home=home) as gateway:
            for task_id in merged:
                gateway.comment(task_id, f"{profile} after")
                merged[task_id].append(f"{profile} after")
            gateway.sync()
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


def _write_meanwhile(home: str, task_id: str, merged: dict[str, list[str]], must_merge: bool) -> None:
    """bob, whose own shard is as it was, writes; another's shard does not hold him up, ledger and board may."""
    try:
        with Gateway("bob", home=home, patience_s=0.5) as bob:
            bob.comment(task_id, "bob meanwhile")
            merged[task_id].append("bob meanwhile")  # acknowledged: merged now, or after the repair
            bob.sync()
    except KanbanError as error:
        assert not must_merge, error


def _make_again(home: str, paths: BoardPaths, role: str) -> None:
    """What a person does whom ``verify`` sends there. A board that is only lost or old has caught up by itself."""
    with suppress(KanbanError):
        if verify(paths).clean:
            assert role in ("board", "snapshot")
            return
    done = _kanban_merge(home, *MAKES_AGAIN[role])
    assert done.returncode == 0, done.stderr


def _assert_whole(paths: BoardPaths, home: str, merged: dict[str, list[str]]) -> None:
    with Gateway("amy", home=home) as amy:
        amy.merge_now()
        for task_id, texts in merged.items():
            assert sorted(comment.body for comment in amy.board.comments(task_id)) == sorted(texts)
    found = verify(paths)
    assert found.clean, found.findings


def _kanban_merge(home: str, *words: str) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "coordinator", "--home", home, *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _family(file: Path) -> list[Path]:
    names = {file.name + end for end in ("", "-wal", "-shm", "-journal")}
    return [path for path in file.parent.iterdir() if path.name in names]


def _copy(source: Path, target: Path) -> None:
    """The databases as they lie there, by another process: closing a file here would drop this process's locks."""
    script = (
        "import pathlib, shutil, sys; target = pathlib.Path(sys.argv[2]); target.mkdir(exist_ok=True); "
        "[shutil.copyfile(path, target / path.name) for path in pathlib.Path(sys.argv[1]).glob('kanban*.db*') "
        "if not path.name.endswith('-shm')]"
    )
    subprocess.run([sys.executable, "-c", script, source, target], check=True)
