"""Installed, there is one package, ``kanban_shards``, and nothing that a user's project holds is taken for a part of
it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.tree import FOLDERS, MODULES, ROOT, name_of

HOSTILE = "raise SystemExit('a module of the user was taken for one of ours')"
GATEWAY = """
from kanban_shards import Board, Gateway, Refused
with Gateway("amy") as amy:
    task = amy.create("a task", assignee="amy")
    amy.complete(amy.claim(task), result="done")
with Board.open() as board:
    print(board.task(task).status)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy of the tree, so that nothing is left in it."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in FOLDERS:
        shutil.copytree(folder, copy / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", built, copy], check=True)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it; what the wheel depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True)
    return folder


def test_the_wheel_holds_one_package_whole(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"kanban_shards"}
    packed = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in names if ".py" in name}
    assert packed >= {name_of(path) for path in MODULES}
    assert "kanban_shards/py.typed" in names


@pytest.mark.parametrize(
    "argv",
    [
        ["bin/kanban", "--profile", "amy", "create", "a task"],
        ["bin/kanban-merge", "--once"],
        ["bin/kanban-merge", "demo", "--seconds", "0.2"],
        ["bin/python", "-m", "kanban_shards", "list"],
        ["bin/python", "-m", "kanban_shards.coordinator", "verify"],
        ["bin/python", "gateway.py"],
    ],
    ids=" ".join,
)
def test_a_project_with_modules_of_our_names(environment: Path, argv: list[str], tmp_path: Path) -> None:
    """In the folder where a worker runs, and before everything else on Python's path."""
    project = tmp_path / "project"
    (project / "migrations").mkdir(parents=True)
    for name in ("migrations/__init__.py", "coordinator.py", "shards.py"):
        (project / name).write_text(HOSTILE)
    (project / "gateway.py").write_text(GATEWAY)
    environ = {**os.environ, "PYTHONPATH": ".", "HERMES_KANBAN_HOME": str(tmp_path / "home")}
    words = [str(environment / argv[0]), *argv[1:]]
    if "create" not in argv and "demo" not in argv:
        first = [str(environment / "bin/kanban"), "--profile", "bob", "create", "the first"]
        subprocess.run(first, cwd=project, env=environ, check=True, capture_output=True)
    ended = subprocess.run(words, cwd=project, env=environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    if argv[-1] == "gateway.py":
        assert ended.stdout == "done\n"
