"""``kanban web``, as far as the command line goes; what it serves is in tests/processes/test_web.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kanban_shards.web import serving
from kanban_shards.web.serving import Served
from tests.unit.verbs import Shell


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What would have been served, one for each call."""
    calls: list[tuple] = []
    monkeypatch.setattr(serving, "serve", lambda *given: calls.append(given[:4]))
    return calls


def test_reading_is_the_default(shell: Shell, served: list[tuple], home: str) -> None:
    shell.says("web", profile=None)
    shell.says("web", "--port", "0", "--host", "0.0.0.0", "--open")
    (first, *how), (second, *also) = served
    assert how == ["127.0.0.1", 8640, False] and also == ["0.0.0.0", 0, True]
    assert isinstance(first, Served) and first.paths.folder == Path(home) and first.root == Path(home)
    assert first.profile is None and second.profile is None


def test_writing_needs_a_profile(shell: Shell, served: list[tuple]) -> None:
    shell.says("web", "--write")
    assert served[0][0].profile == "amy"
    refused = shell.refuses(2, "web", "--write", profile=None)
    assert "Say which profile writes: kanban --profile NAME web --write" in refused
    assert len(served) == 1


@pytest.mark.parametrize("package", ["jinja2", "starlette", "uvicorn"])
def test_an_extra_that_is_missing_is_named(home: str, package: str) -> None:
    without = f"import sys; sys.modules['{package}'] = None; from kanban_shards.cli.main import main; main()"
    ended = subprocess.run([sys.executable, "-c", without, "--home", home, "web"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert f"This needs {package}, which is not installed; `pip install 'kanban-shards[web]'`" in ended.stderr


def test_a_board_that_a_variable_names_by_its_file_has_no_others_beside_it(
    shell: Shell, served: list[tuple], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from kanban_shards.cli.main import main

    monkeypatch.setenv("HERMES_KANBAN_DB", str(tmp_path / "kanban.db"))
    main(["web"], prog_name="kanban", standalone_mode=False)
    assert served[0][0].root is None and served[0][0].paths.folder == tmp_path
