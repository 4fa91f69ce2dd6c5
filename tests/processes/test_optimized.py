"""``python -O`` drops assertions, ``-OO`` docstrings too: no law and no sentence may be one."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.tree import MODULES, ROOT

SHARD = """
import sys
from pathlib import Path
from kanban_shards import Gateway, Refused
from kanban_shards.coordinator.rules.refusal import Refusal
from kanban_shards.errors import LawBroken, UnknownTask
from kanban_shards.paths import BoardPaths
from kanban_shards.storage import sqlite
from kanban_shards.storage.locks import FileLock

paths = BoardPaths.find(home=sys.argv[1])
with Gateway("amy", home=sys.argv[1]) as amy, Gateway("bob", home=sys.argv[1]) as bob:
    task = amy.create("a task", assignee="amy")
    run = amy.claim(task)
    for trouble, call in {
        Refused: lambda: bob.claim(task),
        UnknownTask: lambda: bob.claim("t_0123456789abcdef"),
        LawBroken: lambda: sqlite.open_writer(paths.shard("amy"), sqlite.SHARD, FileLock(Path(sys.argv[1], "a.lock"))),
    }.items():
        try:
            call()
        except trouble as error:
            print(error)
    amy.complete(run, result="done")
    print(amy.board.task(task).status)
try:
    Refusal("no_such_reason", "never")
except LawBroken as error:
    print(error)
"""


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_laws_and_sentences_hold(option: str, home: str) -> None:
    ended = subprocess.run([sys.executable, option, "-c", SHARD, home], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    refused, unknown, broken, status, reason = ended.stdout.splitlines()
    assert "is taken: run 1 by amy" in refused
    assert unknown.startswith("There is no task t_0123456789abcdef on the board default in ")
    assert broken.endswith("is opened for writing only under its lock")
    assert status == "done"
    assert reason.startswith("'no_such_reason' is no reason")


def test_nothing_is_asserted() -> None:
    asserted = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert asserted == []
