"""The floors of the house (docs/architecture.md): a room imports from its own floor and from those below, and no other.

Read from the source, so an import inside a function counts as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.tree import MIGRATIONS, MODULES, ROOT, name_of

NAMES = {name_of(path) for path in MODULES}
# From the ground up. What stands on one line is one floor: its rooms know nothing of each other.
FLOORS = (
    ("errors",),
    ("processes",),
    ("filelocks",),
    ("ledger",),
    ("shared",),
    ("state",),
    ("rules",),
    ("merge",),
    ("recovery", "history"),
    ("backup", "hermes"),
    ("health", "hosts"),
    ("daemon",),
    ("demo",),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
COORDINATOR_NAME = "kanban_shards.coordinator"
# What may be asked of a rule: the board as it stands, the entry, and what a change says.
BELOW_RULES = ("kanban_shards.coordinator.state", "kanban_shards.coordinator.ledger", "kanban_shards.changes")
WORDS = ("kanban_shards.paths", "kanban_shards.records", "kanban_shards.errors")
COMMAND_LINES = ("kanban_shards.cli", "kanban_shards.coordinator.cli")


def test_each_room_of_the_coordinator_is_on_a_floor() -> None:
    assert {room_of(name) for name in NAMES if room_of(name)} - {"__main__"} == set(FLOOR_OF)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_from_the_floors_below(path: Path) -> None:
    here = room_of(name_of(path))
    if here not in FLOOR_OF:
        return
    for name in imported(path):
        there = room_of(name)
        if there and there != here:
            assert FLOOR_OF[there] < FLOOR_OF[here], f"{here} stands below {there}, and imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_door_leads_from_a_gateway_to_the_coordinator(path: Path) -> None:
    name = name_of(path)
    if name.startswith(COORDINATOR_NAME) or name == "kanban_shards.inline_merge":
        return
    assert [each for each in imported(path) if each.startswith(COORDINATOR_NAME)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_but_a_command_line_imports_one(path: Path) -> None:
    name = name_of(path)
    if name.startswith(COMMAND_LINES) or name.endswith("__main__"):
        return
    assert [each for each in imported(path) if each.startswith((*COMMAND_LINES, "click"))] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_rule_knows_the_board_the_entry_and_what_a_change_says(path: Path) -> None:
    name = name_of(path)
    if room_of(name) == "rules":
        ours = [each for each in imported(path) if each.startswith("kanban_shards") and room_of(each) != "rules"]
        assert [each for each in ours if not each.startswith((*BELOW_RULES, *WORDS))] == []


def test_no_circle_of_modules() -> None:
    """Also none that an import inside a function, or for types alone, would hide."""
    TopologicalSorter({name_of(path): {*imported(path)} & NAMES - {name_of(path)} for path in MODULES}).prepare()


def test_a_schema_imports_nothing_of_the_product() -> None:
    for path in MIGRATIONS.glob("*.py"):
        assert [each for each in imported(path) if each.startswith("kanban_shards")] == []


# --- how ---------------------------------------------------------------------------------------------------------


def room_of(name: str) -> str:
    """The room of the coordinator that a module is in; "" if it is in none."""
    first = name.removeprefix(COORDINATOR_NAME).removeprefix(".").partition(".")[0]
    return first if name.startswith(COORDINATOR_NAME + ".") else ""


def imported(path: Path) -> Iterator[str]:
    """The modules that the file names in its imports, whole."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in NAMES else node.module
