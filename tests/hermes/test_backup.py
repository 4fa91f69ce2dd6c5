"""Hermes's own backups, of a board of ours and put back over it: nothing that was acknowledged is lost by either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards import Board
from kanban_shards.coordinator.merge.once import merge_once
from kanban_shards.coordinator.recovery.verify import verify
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import files

pytestmark = pytest.mark.hermes

# As ``/snapshot restore`` does it.
RESTORE = "import sys; from hermes_cli import backup; sys.exit(not backup.restore_quick_snapshot(sys.argv[1]))"

# So much that a WAL begins anew, and has not all pages any more; and a kill leaves it where it is.
GOING_ON = """
import os, sys
from kanban_shards import Gateway
gateway = Gateway("amy", home=sys.argv[1])
for number in range(150):
    gateway.create(f"since {number}", body="b" * 20_000)
    if number % 10 == 0 or number == 149:
        gateway.sync()
os._exit(0)
"""


@pytest.mark.parametrize("quick", [True, False], ids=["snapshot", "zip"])
def test_restored_over_a_board_that_went_on(bridged_environment: Path, tmp_path: Path, quick: bool) -> None:
    home = tmp_path / "home"
    paths = BoardPaths.find(home=home / ".hermes")

    def run(*words: str | Path) -> str:
        environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
        ended = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=240)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    python, hermes = bridged_environment / "bin" / "python", bridged_environment / "bin" / "hermes"
    home.mkdir()
    run(hermes, "kanban", "create", "before", "--assignee", "amy")
    (home / ".hermes" / "config.yaml").write_text("kanban: {}\n")
    run(hermes, "backup", "--quick") if quick else run(hermes, "backup", "-o", tmp_path / "backup.zip")
    run(sys.executable, "-c", GOING_ON, paths.folder)
    assert not files.is_empty(files.beside(paths.board, "-wal"))
    if quick:
        (snapshot,) = (paths.folder / "state-snapshots").iterdir()
        run(python, "-c", RESTORE, snapshot.name)
    else:
        run(hermes, "import", "--force", tmp_path / "backup.zip")
    merge_once(paths)
    assert verify(paths).clean
    with Board(paths) as board:
        titles = {task.title for task in board.tasks()}
    assert titles == {"before", *(f"since {number}" for number in range(150))}
    listed = json.loads(run(hermes, "kanban", "list", "--json"))
    assert {task["title"] for task in listed} == titles
