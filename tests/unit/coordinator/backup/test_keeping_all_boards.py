"""``backup`` and ``compact`` of every board of a home, and beside a daemon."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

from kanban_shards import Gateway
from kanban_shards.boards import create_board
from kanban_shards.coordinator.backup.backup import backups_in
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, DAEMON, take
from kanban_shards.paths import BoardPaths


def two_boards(paths: BoardPaths) -> BoardPaths:
    """The second one; both have a task."""
    create_board(paths.folder, "infra")
    for board in ("default", "infra"):
        with Gateway("amy", home=paths.folder, board=board) as amy:
            amy.create("a task")
    return BoardPaths.of(paths.folder, "infra")


def test_a_backup_of_every_board(kanban_merge, paths: BoardPaths, tmp_path: Path) -> None:
    infra = two_boards(paths)
    told = json.loads(kanban_merge("backup", "--all-boards", "--json").stdout)
    assert [(each["slug"], each["good"], each["removed"]) for each in told] == [
        ("default", True, []),
        ("infra", True, []),
    ]
    assert [len(backups_in(each.backups)) for each in (paths, infra)] == [1, 1]
    said = kanban_merge("backup", "--all-boards", "--into", tmp_path / "away").stdout
    assert said.count("1 entry, 1 shard, 0 attachments") == 2
    assert [len(backups_in(tmp_path / "away" / slug)) for slug in ("default", "infra")] == [1, 1]


def test_the_trouble_of_one_board_keeps_no_other(kanban_merge, paths: BoardPaths) -> None:
    infra = two_boards(paths)
    infra.ledger.write_bytes(b"no database" * 1_000)
    for verb in ("backup", "compact"):
        ended = kanban_merge(verb, "--all-boards")
        assert ended.returncode == 6
        assert "== infra" in ended.stdout and "kanban-merge repair --ledger" in ended.stdout
        assert "Traceback" not in ended.stderr
    assert len(backups_in(paths.backups)) == 1 and not backups_in(infra.backups)


def test_a_compaction_of_every_board(kanban_merge, paths: BoardPaths) -> None:
    infra = two_boards(paths)
    told = json.loads(kanban_merge("compact", "--all-boards", "--keep-days", "0", "--json").stdout)
    assert [(each["slug"], each["position"]) for each in told] == [("default", 1), ("infra", 1)]
    assert paths.snapshot.exists() and infra.snapshot.exists()


def test_a_compaction_beside_a_daemon_says_what_to_do(kanban_merge, failed, paths: BoardPaths) -> None:
    two_boards(paths)
    with closing(take(paths, DAEMON, 0)):
        said = failed(kanban_merge("compact"), 5)
        assert "Nothing was compacted, because the daemon process" in said and "Stop that daemon" in said
        assert kanban_merge("backup").returncode == 0, "a backup needs no lock"
    with closing(take(paths, COMMAND, 0)):
        assert "Another coordinator works" in failed(kanban_merge("compact"), 5)
