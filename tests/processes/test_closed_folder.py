"""A folder in which profiles make and remove no file: kills, root at work, and a hostile profile, with real users.

docs/security.md, "Several users".
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kanban_shards.paths import BoardPaths
from tests.processes.test_users import (
    BOB,
    CLEO,
    COMPACT,
    GROUP,
    MERGE,
    OPERATOR,
    RESTORE,
    WORK,
    Run,
    home,
    run,
)  # fmt: skip
from tests.strange import name_in_journal

__all__ = ["home", "run"]  # fixtures

ROOT = 0
MERGES = "from kanban_shards.coordinator.cli.main import main; main(['--home', {home!r}, *{words!r}], 'kanban-merge')"
# Into the shard alone: without a daemon, the board of a closed folder is not there to be read.
WRITE = """
from kanban_shards.changes.kinds import AddComment
from kanban_shards.paths import BoardPaths
from kanban_shards.shard import View, Shard
shard = Shard(BoardPaths.find(home={home!r}), {profile!r})
shard.append('t_00000000', AddComment(text='more'), View())
shard.close()
print('written')
"""
# In the middle of a transaction of this program's own, with pages of it in the file already, by a real kill -9.
DIE_WRITING = """
import os, signal
from contextlib import closing
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock
from kanban_shards.paths import BoardPaths
paths = BoardPaths.find(home={home!r})
lock = FileLock(paths.shard_lock({profile!r}))
lock.acquire(1)
shard = sqlite.open_writer(paths.shard({profile!r}), sqlite.SHARD, lock)
shard.execute("PRAGMA cache_size=1")
shard.execute("BEGIN IMMEDIATE")
shard.execute("UPDATE changes SET body = hex(zeroblob(20000))")
os.kill(os.getpid(), signal.SIGKILL)
"""
EACH_COMMAND = """
import os
from kanban_shards.coordinator.cli.main import main
for words in ("status", "--once", "doctor --deep", "verify", "backup", "compact --keep-days 0", "repair bob"):
    try:
        main(["--home", {home!r}, *words.split()], "kanban-merge")
    except SystemExit:
        pass
    assert os.path.exists({precious!r}), words
"""
ANY_END = """
try:
    exec({code!r})
except SystemExit:
    pass
"""
UNLOOKED = "from kanban_shards.storage import journals; journals.check = lambda *_: None; "

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def closed(home: str, paths: BoardPaths, run: Run) -> BoardPaths:
    """A board whose folder is the operator's, where bob and cleo have written once, and root merged."""
    os.chmod(home, 0o2770)
    for user, profile in ((OPERATOR, "boss"), (BOB, "bob"), (CLEO, "cleo")):
        run(user, WORK.format(profile=profile, home=home))
    os.chmod(home, 0o2750)
    for path in (paths.board, paths.ledger):
        os.chown(path, OPERATOR, GROUP)
    os.chown(paths.coordinator_lock, OPERATOR, GROUP)
    return paths


@pytest.fixture
def precious(home: str) -> Path:
    """A file that root alone may delete."""
    folder = Path(home).parent / "roots"
    folder.mkdir(mode=0o755)
    path = folder / "precious"
    path.write_text("precious")
    return path


def owners(paths: BoardPaths) -> dict[str, tuple[int, int, int]]:
    """User, group and permissions of each file that is not made anew by each process."""
    found = {}
    for entry in os.scandir(paths.folder):
        seen = entry.stat(follow_symlinks=False)
        if entry.name.endswith((".db", ".lock", ".db-journal")):
            found[entry.name] = seen.st_uid, seen.st_gid, stat.S_IMODE(seen.st_mode)
    return found


@pytest.mark.parametrize("root_looks", [(), ("status",), ("--once",), ("repair", "bob")])
def test_a_profile_that_was_killed_writes_on(closed: BoardPaths, run: Run, home: str, root_looks: tuple) -> None:
    before = owners(closed)
    run(BOB, DIE_WRITING.format(profile="bob", home=home), ends=-9)
    assert closed.shard("bob").with_name("kanban.bob.db-journal").read_bytes()[:1] != b"\0", "it is hot"
    if root_looks:
        said = run(ROOT, ANY_END.format(code=MERGES.format(home=home, words=list(root_looks))))
        assert "disk I/O" not in said and "readonly" not in said
    assert run(BOB, WRITE.format(profile="bob", home=home)).startswith("written")
    run(OPERATOR, MERGE.format(home=home, verb="--once"))
    assert {**owners(closed), **before} == owners(closed), "each has the user and the permissions that it had"


@pytest.mark.parametrize("hot", [True, False], ids=["hot", "cold"])
@pytest.mark.parametrize("looked", [True, False], ids=["", "looked too early"])
@pytest.mark.parametrize("user", [OPERATOR, ROOT], ids=["operator", "root"])
def test_a_hostile_journal_deletes_nothing_of_whoever_comes(
    closed: BoardPaths, run: Run, home: str, precious: Path, user: int, looked: bool, hot: bool
) -> None:
    """Nor if it is written at the very moment after it was looked at: who goes about the shard has its user's rights,
    or does not open it for writing."""
    if user == OPERATOR:
        os.chown(precious.parent, OPERATOR, GROUP)
    journal = name_in_journal(closed.shard("bob"), precious, hot)
    os.chown(journal, BOB, GROUP)
    os.chmod(journal, 0o666)
    os.chmod(closed.shard("bob"), 0o666)
    run(user, ("" if looked else UNLOOKED) + EACH_COMMAND.format(home=home, precious=str(precious)))
    assert precious.exists()
    assert "written" in run(CLEO, WRITE.format(profile="cleo", home=home))


def test_what_root_makes_again_is_whose_it_was(closed: BoardPaths, run: Run, home: str) -> None:
    run(ROOT, MERGE.format(home=home, verb="backup"))
    before = owners(closed)

    def same(why: str) -> None:
        assert {name: owners(closed).get(name) for name in before} == before, why
        assert run(BOB, WRITE.format(profile="bob", home=home)).startswith("written"), why
        run(OPERATOR, MERGE.format(home=home, verb="--once"))
        assert "clean" in run(OPERATOR, MERGE.format(home=home, verb="verify")), why

    for verb in (["repair", "bob"], ["repair", "--ledger"], ["rebuild"]):
        name = {"bob": "kanban.bob.db", "--ledger": "kanban-ledger.db", "rebuild": "kanban.db"}[verb[-1]]
        with (closed.folder / name).open("r+b") as file:
            file.write(b"damaged" * 1000)
        run(ROOT, MERGES.format(home=home, words=verb))
        same(" ".join(verb))
    os.unlink(closed.shard("bob"))
    run(ROOT, MERGES.format(home=home, words=["repair", "bob"]))
    same("lost, and repaired")
    os.unlink(closed.shard("bob"))
    run(ROOT, RESTORE.format(home=home))
    same("lost, and restored")
    run(ROOT, "import shutil; shutil.rmtree(" + repr(str(closed.backups)) + ")")
    for _ in range(2):
        run(ROOT, COMPACT.format(home=home))
        assert owners(closed)["kanban-snapshot.db"][:2] == (OPERATOR, GROUP)
        same("compacted")


def test_another_user_makes_no_shard_again(closed: BoardPaths, run: Run, home: str) -> None:
    """Its profile could not write it; nor is it touched."""
    with closed.shard("bob").open("r+b") as file:
        file.write(b"damaged" * 1000)
    journal = name_in_journal(closed.shard("bob"), closed.board)
    os.chown(journal, BOB, GROUP)
    content, before = closed.shard("bob").read_bytes(), owners(closed)
    said = run(OPERATOR, MERGES.format(home=home, words=["repair", "bob"]), ends=3)
    assert f"only user {BOB}, whose file it is, writes it" in said
    assert closed.shard("bob").read_bytes() == content and owners(closed) == before


def test_root_at_work_in_a_users_home_locks_nobody_out(home: str, paths: BoardPaths, run: Run) -> None:
    """The first to look, write, merge and compact there is root, as after `sudo`, or in a container."""
    os.chmod(home, 0o700)
    run(ROOT, WORK.format(profile="amy", home=home))
    run(ROOT, MERGE.format(home=home, verb="backup"))
    assert run(OPERATOR, WORK.format(profile="amy", home=home)) == "done 2\n"
    run(ROOT, WORK.format(profile="bob", home=home))
    run(ROOT, COMPACT.format(home=home))
    assert run(OPERATOR, WORK.format(profile="bob", home=home)) == "done 4\n"
    run(OPERATOR, MERGE.format(home=home, verb="rebuild"))
    assert {seen[0] for seen in owners(paths).values()} == {OPERATOR}
