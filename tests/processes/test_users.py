"""Profiles under different UNIX users, with real ones: what docs/security.md promises."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kanban_shards.paths import BoardPaths
from tests import forks
from tests.places import folder_for_all
from tests.processes.conftest import merging
from tests.tree import ROOT

GROUP, OPERATOR, BOB, CLEO, STRANGER = 5_000, 4_000, 4_001, 4_002, 4_003

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")

WORK = """
from kanban_shards import Gateway
with Gateway({profile!r}, home={home!r}, patience_s=20) as gateway:
    run = gateway.claim(gateway.create("a task of {profile}"))
    gateway.complete(run)
    print(gateway.board.task(run.task_id).status, len(gateway.board.tasks()))
"""
MERGE = "from kanban_shards.coordinator.cli.main import main; main(['--home', {home!r}, {verb!r}], 'kanban-merge')"
RESTORE = """
from kanban_shards.coordinator.cli.main import main
from kanban_shards.paths import BoardPaths
from kanban_shards.coordinator.backup.backup import backups_in
paths = BoardPaths.find(home={home!r})
main(['--home', {home!r}, 'restore', str(backups_in(paths.backups)[0].folder)], 'kanban-merge')
"""
COMPACT = (
    "from kanban_shards.coordinator.cli.main import main; "
    "main(['--home', {home!r}, 'compact', '--keep-days', '0'], 'kanban-merge')"
)
DIE_WRITING = """
import os, sqlite3
shard = sqlite3.connect({path!r}, isolation_level=None)
shard.execute("PRAGMA journal_mode=PERSIST")
shard.execute("PRAGMA cache_size=1")
shard.execute("PRAGMA cache_spill=1")
shard.execute("BEGIN IMMEDIATE")
shard.execute("UPDATE changes SET body = hex(zeroblob(20000))")
os._exit(0)
"""

PLANT = """
import os
home, mine = {home!r}, {mine!r}
for name in ('attachments', 'logs', 'workspaces', 'backups'):
    where = f'{{home}}/kanban/{{name}}'
    if os.path.lexists(where):
        os.rename(where, where + '.away')
    os.symlink(mine, where)
os.symlink(mine + '/mine.txt', f'{{home}}/kanban/current')
os.symlink(mine, f'{{home}}/kanban-adopting')
os.symlink(mine, f'{{home}}/kanban-set-aside')
for pid in range(2, 3000):
    for file in ('kanban/.current', '.figures'):
        os.symlink(mine + '/mine.txt', f'{{home}}/{{file}}.{{pid}}')
"""
USE = """
from kanban_shards.cli.main import main
def run(*words):
    try:
        main(['--home', {home!r}, '-p', 'bob', *words], 'kanban')
    except SystemExit as end:
        print(words[0], end.code)
task = {task!r}
run('boards', 'switch', 'default')
run('attach', task, '/etc/hostname')
run('log', task)
run('gc', '--log-retention-days', '0')
run('archive', '--rm', task)
"""

FIGURES = (
    "from pathlib import Path; from kanban_shards.storage.folders import write_whole; write_whole(Path({path!r}), 'x')"
)

Run = Callable[..., str]


@pytest.fixture
def home() -> Iterator[str]:
    """A home in a place that every user can reach."""
    with folder_for_all() as place:
        (place / "home").mkdir()
        os.chown(place / "home", OPERATOR, GROUP)
        yield f"{place}/home"


@pytest.fixture
def run() -> Run:
    """``run(user, code)``: what the code prints, as ``user``."""

    def begin(user: int, code: str, umask: str = "022", group: int = GROUP, ends: int = 0) -> str:
        who = forks.User(user, group, int(umask, 8))
        ended = forks.python("-c", code, cwd="/", user=who)
        assert ended.returncode == ends, ended
        return ended.stdout + ended.stderr

    return begin


def test_in_a_shared_folder_anybody_merges_and_each_shard_is_its_users(home: str, paths: BoardPaths, run: Run) -> None:
    """No daemon: whoever needs a verdict makes the pass, over the shards of others too. The umask does not matter."""
    os.chmod(home, 0o2770)
    assert run(BOB, WORK.format(profile="bob", home=home)) == "done 1\n"
    assert run(CLEO, WORK.format(profile="cleo", home=home), umask="077") == "done 2\n"
    assert run(BOB, WORK.format(profile="bob", home=home), umask="000") == "done 3\n"
    assert "clean" in run(CLEO, MERGE.format(home=home, verb="verify"))
    _assert_modes(paths, board=0o660, shard=0o640)
    written = "cannot be opened"
    assert written in run(CLEO, WORK.format(profile="bob", home=home), ends=1), "bob's shard is bob's"


def test_in_a_folder_of_the_operators_each_may_write_its_own_files_only(
    home: str, paths: BoardPaths, run: Run, start: Callable
) -> None:
    """With a daemon, and once the shards are made, the folder can be closed: nobody can put another shard there."""
    os.chmod(home, 0o2770)
    for user, profile in ((BOB, "bob"), (CLEO, "cleo")):
        shard = f"from kanban_shards.shard import *; Shard(BoardPaths.find(home={home!r}), {profile!r})"
        run(user, f"{shard}.heartbeat(1, View())")
    os.chmod(home, 0o2750)
    code = MERGE.format(home=home, verb="daemon")
    daemon = start("-m", "tests.processes.as_user", OPERATOR, GROUP, "022", code, cwd=ROOT)
    merging(daemon)
    assert run(BOB, WORK.format(profile="bob", home=home)) == "done 1\n"
    assert run(CLEO, WORK.format(profile="cleo", home=home), umask="077") == "done 2\n"
    _assert_modes(paths, board=0o640, shard=0o640)
    move = "import os; os.rename({there!r}, {there!r} + '.aside')"
    assert "PermissionError" in run(CLEO, move.format(there=str(paths.shard("bob"))), ends=1)
    sentence = run(CLEO, "from kanban_shards.cli.verbs import *; " + MERGE.format(home=home, verb="rebuild"), ends=5)
    assert "Another coordinator works on the board default in " in sentence and ": daemon process" in sentence
    daemon.terminate()
    daemon.wait()
    undecided = run(BOB, WORK.format(profile="bob", home=home), ends=1)
    assert "cannot be opened" in undecided, "nobody of the profiles can stand in for the daemon"
    assert "cannot be opened" in run(BOB, MERGE.format(home=home, verb="rebuild"), ends=3)


def test_whoever_is_not_in_the_group_gets_one_sentence(home: str, run: Run) -> None:
    os.chmod(home, 0o2770)
    run(BOB, WORK.format(profile="bob", home=home))
    where = f"import os; os.environ.update(HERMES_KANBAN_HOME={home!r}, HERMES_KANBAN_BOARD='default')"
    said = run(
        STRANGER, f"{where}; from kanban_shards.cli.main import main; main(['list'], 'kanban')", group=STRANGER, ends=3
    )
    assert len(said.splitlines()) == 1 and "permission denied" in said.lower()


def test_a_half_written_shard_of_another_user_waits_for_that_user(home: str, paths: BoardPaths, run: Run) -> None:
    """The coordinator may not roll the journal back; it says so, goes on with the others, and goes on with this shard
    when its profile wrote again."""
    os.chmod(home, 0o2770)
    run(BOB, WORK.format(profile="bob", home=home))
    run(BOB, DIE_WRITING.format(path=str(paths.shard("bob"))))
    assert run(CLEO, WORK.format(profile="cleo", home=home)) == "done 2\n"
    assert "a process of bob was killed while it wrote" in run(CLEO, MERGE.format(home=home, verb="--once"), ends=6)
    assert run(BOB, WORK.format(profile="bob", home=home)) == "done 3\n"
    assert "clean" in run(CLEO, MERGE.format(home=home, verb="verify"))


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_without_a_shared_folder_everything_is_its_users_alone(home: str, run: Run, umask: str) -> None:
    os.chmod(home, 0o755)
    run(OPERATOR, WORK.format(profile="amy", home=home), umask=umask)
    run(OPERATOR, MERGE.format(home=home, verb="backup"), umask=umask)
    os.unlink(f"{home}/kanban.amy.db")
    run(OPERATOR, RESTORE.format(home=home), umask=umask)
    run(OPERATOR, COMPACT.format(home=home), umask=umask)
    run(OPERATOR, MERGE.format(home=home, verb="restore-legacy"), umask=umask)
    inside = [entry for folder, _, names in os.walk(home) for entry in map(Path(folder).joinpath, names)]
    assert {"kanban.db", "kanban-snapshot.db", "kanban.amy.db"} <= {entry.name for entry in inside}
    for entry in inside:
        assert stat.S_IMODE(entry.lstat().st_mode) & 0o077 == 0, entry.name


def test_links_of_another_user_are_not_followed(home: str, paths: BoardPaths, run: Run) -> None:
    """Of one who is in the group, in an open folder: bob's own files stay as they are, and bob is told."""
    os.chmod(home, 0o2770)
    create = (
        "from kanban_shards import Gateway\nwith Gateway('bob', home={home!r}) as bob:\n    task = bob.create('x')\n"
    )
    task = run(BOB, (create + "    bob.archive(task)\n    print(task)").format(home=home)).strip()
    mine = Path(home).with_name("mine")
    (mine / task).mkdir(parents=True)
    for file in (mine / "mine.txt", mine / f"{task}.log", mine / task / "mine.txt"):
        file.write_text("mine")
        os.utime(file, (0, 0))
    for each in (mine, *mine.rglob("*")):
        os.chown(each, BOB, BOB)
        each.chmod(0o700)
    Path(home, "kanban").mkdir()
    os.chown(Path(home, "kanban"), BOB, GROUP)
    Path(home, "kanban").chmod(0o2770)
    run(CLEO, PLANT.format(home=home, mine=str(mine)))
    before = {str(each): (each.lstat().st_mtime_ns, each.lstat().st_mode) for each in mine.rglob("*")}
    said = run(BOB, USE.format(home=home, task=task))
    for verb, place, code in (("attach", "attachments", 3), ("log", "logs", 3), ("gc", "logs", 3)):
        assert f"{home}/kanban/{place} is a link" in said
        assert f"{verb} {code}" in said
    assert "is a link" in run(BOB, MERGE.format(home=home, verb="backup"), ends=3)
    assert "is a link" in run(BOB, MERGE.format(home=home, verb="restore-legacy"), ends=3)
    run(BOB, FIGURES.format(path=f"{home}/figures"))
    assert {str(each): (each.lstat().st_mtime_ns, each.lstat().st_mode) for each in mine.rglob("*")} == before
    assert not Path(home, "kanban", "current").is_symlink()


def _assert_modes(paths: BoardPaths, board: int, shard: int) -> None:
    for entry in os.scandir(paths.folder):
        mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
        if entry.name.startswith(("kanban.db", "kanban-ledger.db")):
            assert mode == board, entry.name
        elif ".db" in entry.name:
            assert mode == shard, entry.name
        assert mode & 0o007 == 0, entry.name
