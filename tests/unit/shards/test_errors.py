"""What an error tells a person to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from kanban_shards.errors import Damaged, NotAFile


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("kanban.db", "`kanban-merge rebuild`"),
        ("kanban-ledger.db", "`kanban-merge repair --ledger`"),
        ("kanban.bingge.db", "`kanban-merge repair bingge`"),
        ("else.db", "put a good copy of it back"),
    ],
)
def test_a_damaged_file_names_its_cure(tmp_path: Path, file: str, cure: str) -> None:
    (tmp_path / "kanban-ledger.db").write_bytes(b"something")
    assert cure in str(Damaged(path=tmp_path / file, problem="page 3"))


@pytest.mark.parametrize("ledger", ["none", "empty"])
def test_a_damaged_board_without_a_ledger(tmp_path: Path, ledger: str) -> None:
    """It is Hermes's, or lost its ledger: nothing makes it again, and nothing says so."""
    if ledger == "empty":
        (tmp_path / "kanban-ledger.db").touch()
    said = str(Damaged(path=tmp_path / "kanban.db", problem="page 3"))
    assert "if Hermes wrote it, `kanban-merge adopt`" in said
    assert "`kanban-merge restore BACKUP`" in said
    assert "rebuild" not in said + str(NotAFile(path=tmp_path / "kanban.db"))
    assert "adopt" not in str(NotAFile(path=tmp_path / "kanban.db"))
