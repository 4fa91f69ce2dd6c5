"""Where tests put what they leave behind when they are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.places import folder_for_all
from tests.tree import ROOT

DIE = """
import os
from tests.places import folder_for_all
with folder_for_all() as folder:
    print(folder, flush=True)
    os._exit(0)
"""


def test_a_folder_of_a_killed_process_is_removed_by_who_makes_the_next_one() -> None:
    with folder_for_all() as held:
        left = Path(_said(DIE))
        with folder_for_all():
            assert held.is_dir() and not left.exists()


def test_processes_put_temporary_files_where_the_tests_do(temporary_folder: Path) -> None:
    assert Path(_said("import tempfile; print(tempfile.gettempdir())")) == temporary_folder


def _said(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
