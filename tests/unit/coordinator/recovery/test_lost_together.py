"""Several files lost or older at once: whoever follows the advice that is printed gets out, and loses nothing silently.

Each of board, ledger and shards is as it was, an older copy, empty, gone, or (the ledger) another board's. Nobody has a
backup. The advice is followed twice: the first command that a sentence names, and the last one.
"""

from __future__ import annotations

import functools
import itertools
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from kanban_shards import Gateway
from kanban_shards.coordinator.cli.main import main
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files

STEPS = 12
# What lies in the place of each file.
BOARDS = ("newest", "older", "empty", "gone")
LEDGERS = ("newest", "older", "empty", "gone", "damaged", "another's")
SHARDS = ("newest", "one older", "one empty", "one gone", "older", "gone")
# The gate tries every one of a whole board, and every third of a compacted one.
CASES = [
    pytest.param(
        kind, *case, marks=pytest.mark.long if kind == "compacted" and number % 3 else (), id=", ".join((kind, *case))
    )
    for kind in ("whole", "compacted")
    for number, case in enumerate(itertools.product(BOARDS, LEDGERS, SHARDS))
    if case != ("newest", "newest", "newest")
]
_TASKS = {
    "board": "SELECT id FROM tasks",
    "ledger": "SELECT task_id FROM entries WHERE kind = 'create'",
    "shard": "SELECT task_id FROM changes WHERE kind = 'create'",
}
_ADVICE = re.compile(r"`kanban-merge ((?:--once|rebuild|repair)[^`A-Z]*)`")
_CAN_BE_READ = {0x4B424244: "board", 0x4B424C47: "ledger", 0x4B425348: "shard"}


@dataclass
class Walk:
    """What was run, and all that it said."""

    home: Path
    ran: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, words: str) -> tuple[int, str]:
        """Run ``kanban-merge`` with ``words``."""
        ended = CliRunner().invoke(main, ["--home", str(self.home), *words.split()], prog_name="kanban-merge")
        assert ended.exception is None or isinstance(ended.exception, SystemExit), (self.ran, words, ended.exc_info)
        self.ran.append(words)
        self.said.append(ended.output)
        return ended.exit_code, ended.output


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a board that is ``whole``, or was ``compacted``: a home in ``newest`` in which amy and bob made tasks and
    looked at each other's, an older copy of it in ``older``, and another board of profiles of the same names in
    ``another's``."""

    @functools.cache
    def grown(kind: str) -> Path:
        root = tmp_path_factory.mktemp(kind)
        live, another = root / "live", root / "live-another"
        _work(another, "another's")
        _work(live, "early")
        for word in ("between", "late"):
            if kind == "compacted":
                assert CliRunner().invoke(main, ["--home", str(live), "compact", "--keep-days", "0"]).exit_code == 0
            _work(live, word)
            _copy(live, root / ("older" if word == "between" else "newest"))
        _copy(another, root / "another's")
        return root

    return grown


@pytest.mark.parametrize(("kind", "board", "ledger", "shards"), CASES)
def test_the_advice_leads_out(
    homes: Callable[[str], Path], tmp_path: Path, kind: str, board: str, ledger: str, shards: str
) -> None:
    for name, choose in (("first", min), ("last", max)):
        folder = tmp_path / name
        paths = BoardPaths.find(home=folder)
        _copy(homes(kind) / "newest", folder)
        _lay(paths.board, board, homes(kind))
        _lay(paths.ledger, ledger, homes(kind))
        _lay(paths.shard("amy"), shards.removeprefix("one "), homes(kind))
        _lay(paths.shard("bob"), "newest" if shards.startswith("one ") else shards, homes(kind))
        there = _tasks_in(folder)
        walk = Walk(folder)
        _follow_advice(walk, choose, there)
        for task in there - _tasks_of(paths.board):
            assert any(task in said for said in walk.said), (task, walk.ran, walk.said)


def test_a_board_that_is_ahead_is_not_rebuilt(homes: Callable[[str], Path], tmp_path: Path) -> None:
    """Verify does not say so, and rebuild does not do it; ``--from-board`` keeps every task where it is."""
    paths = BoardPaths.find(home=tmp_path)
    _copy(homes("whole") / "newest", tmp_path)
    _lay(paths.ledger, "older", homes("whole"))
    _lay(paths.shard("amy"), "older", homes("whole"))
    tasks, walk = _tasks_of(paths.board), Walk(tmp_path)
    assert "rebuild" not in walk.run("verify")[1]
    code, said = walk.run("rebuild")
    assert (code, "would take from it what it alone has" in said) == (3, True)
    assert walk.run("repair --ledger")[0] == 3
    code, said = walk.run("repair --ledger --from-board")
    assert (code, _tasks_of(paths.board)) == (0, tasks)
    assert "kept as" in said
    assert "there alone" not in said
    assert [walk.run(words)[0] for words in ("repair amy", "--once", "verify")] == [0, 0, 0]
    with Gateway("amy", home=tmp_path) as amy:
        amy.complete(amy.claim(min(tasks)))
    assert walk.run("verify")[0] == 0


def test_what_only_a_former_board_has_is_named(homes: Callable[[str], Path], tmp_path: Path) -> None:
    """The board is one from before the ledger began, and so cannot be judged; it is kept all the same."""
    paths = BoardPaths.find(home=tmp_path)
    _copy(homes("compacted") / "newest", tmp_path)
    _lay(paths.board, "another's", homes("compacted"))
    lost = _tasks_of(paths.board)
    code, said = Walk(tmp_path).run("rebuild")
    assert code == 0
    assert all(f"there alone, and not on the board: {task}" in said for task in lost)
    (kept,) = tmp_path.glob("kanban.db.damaged-*")
    assert lost <= _tasks_of(kept)
    assert Walk(tmp_path).run("verify")[0] == 0


def test_a_board_that_is_as_it_must_be_is_not_kept_twice(homes: Callable[[str], Path], tmp_path: Path) -> None:
    _copy(homes("whole") / "newest", tmp_path)
    assert Walk(tmp_path).run("rebuild")[0] == 0
    assert not list(tmp_path.glob("*.damaged-*"))


def _follow_advice(walk: Walk, choose: Callable[..., int], there: set[str]) -> None:
    """Until all is clean. Nothing that was ``there`` is ever in no file any more."""
    for _ in range(STEPS):
        code, said = walk.run("--once")
        if code == 0:
            code, said = walk.run("verify")
            if code == 0:
                return
        advised = _ADVICE.findall(said)
        while code and advised:
            code, said = walk.run(advised[choose(0, len(advised) - 1)])
            assert there <= _tasks_in(walk.home), (walk.ran, walk.said)
            advised = _ADVICE.findall(said)
            assert len(walk.ran) < STEPS * 2, (walk.ran, walk.said)
        if code:
            break
    pytest.fail(f"no advice leads out: {walk.ran}\n" + "\n".join(walk.said))


def _work(home: Path, word: str) -> None:
    with Gateway("amy", home=home) as amy, Gateway("bob", home=home) as bob:
        for number in range(2):
            theirs = amy.create(f"{word} {number}")
            amy.sync()
            bob.comment(theirs, word)
            bob.assign(bob.create(f"{word} {number} of bob's"), "amy")
            bob.edit(theirs, title=f"{word} {number}, seen by bob")
            bob.sync()


def _copy(source: Path, target: Path) -> None:
    """The databases, each with what is in its WAL."""
    target.mkdir(exist_ok=True)
    for file in source.glob("kanban*.db"):
        with closing(sqlite3.connect(file)) as original, closing(sqlite3.connect(target / file.name)) as copy:
            copy.execute("PRAGMA synchronous = OFF")
            original.backup(copy)


def _lay(path: Path, what: str, grown: Path) -> None:
    if what == "newest":
        return
    files.discard(path)
    if what == "empty":
        path.write_bytes(b"")
    elif what == "damaged":
        path.write_bytes(b"no database " * 1_000)
    elif what != "gone":
        shutil.copyfile(grown / what / path.name, path)


def _tasks_in(folder: Path) -> set[str]:
    """The tasks that some file holds, whether it is in use or set aside."""
    return set().union(*(_tasks_of(file) for file in _files(folder)))


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.glob("kanban*.db*"):
        if not file.name.endswith(files.SIDECARS):
            yield file


def _tasks_of(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as file, suppress(sqlite3.DatabaseError):
        role = _CAN_BE_READ.get(file.execute("PRAGMA application_id").fetchone()[0])
        return {task for (task,) in file.execute(_TASKS[role])} if role else set()
    return set()
