"""One sound board for all tests of a salvage, made once, and what is known of its pages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kanban_shards.coordinator.hermes.salvage import Salvage, salvage
from tests.salvage import boards
from tests.salvage.boards import Rows


@dataclass(frozen=True)
class Original:
    """A sound board: its bytes, its rows, on which pages they lie, and which pages are of which kind."""

    content: bytes
    rows: Rows
    places: dict[str, dict[tuple, set[int]]]
    kinds: dict[str, list[int]]


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The board that is damaged."""
    path = boards.make_board(tmp_path_factory.mktemp("sound") / "kanban.db", tasks=80)
    return Original(path.read_bytes(), boards.rows_of(path), boards.pages_of_rows(path), boards.pages_by_kind(path))


@pytest.fixture
def salvaged(tmp_path: Path) -> Callable[[bytes], Salvage]:
    """``salvaged(content)``: what comes of a board with these bytes. Checks that it is only read."""

    def run(content: bytes, **sidecars: bytes) -> Salvage:
        source = tmp_path / "kanban.db"
        source.write_bytes(content)
        for name, beside in sidecars.items():
            source.with_name(f"kanban.db-{name}").write_bytes(beside)
        (tmp_path / "made").mkdir()
        before = _state(tmp_path)
        try:
            report = salvage(source, tmp_path / "made")
        finally:
            assert _state(tmp_path) == before
            assert {path.name for path in (tmp_path / "made").iterdir()} <= {"kanban.db"}
        assert report.after == ["ok"]
        assert report.digest == hashlib.sha256(content).hexdigest()
        return report

    return run


def _state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
