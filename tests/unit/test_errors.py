"""What an error tells a person to do next."""

from __future__ import annotations

from pathlib import Path

import pytest

from shards.errors import Damaged


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("kanban.db", "`kanban-merge rebuild`"),
        ("kanban-ledger.db", "`kanban-merge repair --ledger`"),
        ("kanban.bingge.db", "`kanban-merge repair bingge`"),
        ("else.db", "put a good copy of it back"),
    ],
)
def test_a_damaged_file_names_its_cure(file: str, cure: str) -> None:
    assert cure in str(Damaged(path=Path("/board") / file, problem="page 3"))
