"""Laws of the source text and of the sets in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kanban_shards.changes.codec import KIND_OF
from kanban_shards.changes.kinds import COORDINATOR_KINDS, KINDS
from kanban_shards.coordinator.rules import RULES, TASKLESS_RULES
from kanban_shards.coordinator.rules.refusal import REASONS, Refusal
from kanban_shards.errors import LawBroken
from tests.tree import COORDINATOR, MODULES, ROOT, SHARDS

RULE_MODULES = sorted((COORDINATOR / "rules").glob("*.py"))
IMPURE = {"time", "datetime", "random", "secrets", "uuid", "os", "pathlib", "socket", "sqlite3", "subprocess"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_module_calls_connect(path: Path) -> None:
    """Law 1: nothing but shards/storage/sqlite.py opens a database. (The other one goes to a server.)"""
    calls = [ast.unparse(node) for node in ast.walk(_tree(path)) if getattr(node, "attr", "") == "connect"]
    there = {SHARDS / "storage" / "sqlite.py": "sqlite3", COORDINATOR / "shared" / "connecting.py": "psycopg"}
    assert set(calls) <= {f"{there.get(path)}.connect"}
    assert bool(calls) == (path in there)


def test_no_forbidden_pragma() -> None:
    """Law 3: never DELETE, mmap_size or immutable."""
    text = "".join(path.read_text().lower() for path in (SHARDS / "storage").glob("*.py"))
    for forbidden in ("mmap_size", "?immutable", "&immutable", "journal_mode=delete"):
        assert forbidden not in text


@pytest.mark.parametrize("path", RULE_MODULES, ids=lambda path: path.name)
def test_rules_are_pure(path: Path) -> None:
    """docs/design/passes.md, "A pass": what decides imports no clock, randomness or environment, and opens no file."""
    tree = _tree(path)
    assert {name.split(".")[0] for name in _imported(tree)} & IMPURE == set()
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "open" not in calls


def test_deciding_is_pure() -> None:
    """Nor does what the rules are called by."""
    for name in ("rules/decide.py", "state/board_state.py", "rules/refusal.py"):
        imported = {module.split(".")[0] for module in _imported(_tree(COORDINATOR / name))}
        assert imported & (IMPURE - {"sqlite3"}) == set(), name


# What may unlink a path: a bell, the sidecars of a database that is closed, what lies below an open folder (asked for
# by its name there), a service that was installed, the board of a demo that was killed, and the profile that a user
# chose.
UNLINKING = {
    "shards/cli/usual.py",
    "shards/bell.py",
    "shards/storage/files.py",
    "shards/storage/folders.py",
    "coordinator/daemon/units.py",
    "coordinator/demo/worker.py",
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_lock_file_is_unlinked(path: Path) -> None:
    """Law 2: nothing unlinks a path but the modules above, none of which has anything to do with locks."""
    unlinks = any(
        (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ((node.func.attr == "unlink" and len(node.args) < 2) or node.func.attr == "rmtree")
        )
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.remove", "os.unlink"))
        for node in ast.walk(_tree(path))
    )
    assert unlinks == (str(path.relative_to(ROOT)) in UNLINKING)


def test_each_kind_has_one_rule() -> None:
    """The closed set of kinds is the set of rules."""
    assert set(KINDS) == set(RULES) | set(TASKLESS_RULES)
    assert set(KIND_OF.values()) == set(KINDS)
    assert set(KINDS) > COORDINATOR_KINDS
    assert not set(RULES) & set(TASKLESS_RULES)


def test_each_reason_is_used() -> None:
    """The closed set of reasons is the set that rules refuse with."""
    used = {
        node.args[0].value
        for path in COORDINATOR.rglob("*.py")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Refusal"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert used == REASONS
    with pytest.raises(LawBroken):
        Refusal("no_such_reason", "never")


def test_each_error_is_one_sentence_for_people() -> None:
    """Every error has its message as docstring, ends with a period, and a documented exit code."""
    from kanban_shards import errors

    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.KanbanError) and error is not errors.Refused:
            assert re.search(r"[.]$", error.template), error
            assert error.exit_code in (1, 2, 3, 4, 5), error


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        yield from _imported_by(node)


def _imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []
