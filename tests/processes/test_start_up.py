"""What a command loads before it does anything: most of what a call costs. Modules are counted, and not seconds."""

from __future__ import annotations

import pytest

from kanban_shards import Gateway

# What is loaded, with a board that is there; by the command itself it would be told apart from pytest's.
LOADED = """
import sys
from kanban_shards.cli.main import main
try:
    main(sys.argv[1:], prog_name="kanban")
except SystemExit as ended:
    assert not ended.code, ended.code
import dataclasses, inspect
ours = {name: module for name, module in sys.modules.items() if name.startswith("kanban_shards")}
made = {
    value.__qualname__
    for name, module in ours.items()
    for value in vars(module).values()
    if inspect.isclass(value) and dataclasses.is_dataclass(value) and value.__module__ == name
}
print(*sorted(sys.modules))
print(*sorted(made))
"""
# Each took milliseconds and was loaded once, although hardly a call needs it.
SELDOM_NEEDED = {
    "asyncio", "concurrent.futures", "kanban_shards.arguments", "kanban_shards.migrations", "logging", "random",
    "secrets", "shutil", "sqlite_utils", "subprocess", "tempfile", "tenacity",
}  # fmt: skip


# So many modules of ours each may load, and one dataclass: what msgspec makes a class of records in costs a fiftieth.
MOST_READING, MOST_SERVED, MOST_MERGING = 40, 60, 115
DATACLASSES = {"BoardPaths"}


@pytest.fixture
def loaded(start, home: str):
    """``loaded(*words)``: the modules that a call of ``kanban`` ends with, and the dataclasses in those of ours."""

    def call(*words: str) -> tuple[set[str], set[str]]:
        process = start("-c", LOADED, "--home", home, "--profile", "amy", *words)
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        modules, made = output.split("\n")[-3:-1]
        return set(modules.split()), set(made.split())

    return call


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("words", [("list",), ("create", "write it"), ("comment", "{task_id}", "look")])
def test_a_command_loads_what_it_needs(loaded, home: str, request, words: tuple[str, ...], served: bool) -> None:
    """With and without a daemon."""
    with Gateway("amy", home=home) as amy:
        task_id = amy.create("one")
    if served:
        request.getfixturevalue("daemon")
    modules, made = loaded(*(word.format(task_id=task_id) for word in words))
    ours = {name for name in modules if name.startswith("kanban_shards")}
    merges = any(name.startswith("kanban_shards.coordinator") for name in ours)
    assert merges == (words[0] != "list" and not served)
    most = MOST_READING if words[0] == "list" else MOST_SERVED if served else MOST_MERGING
    assert len(ours) <= most
    assert not modules & SELDOM_NEEDED
    assert made == DATACLASSES


ENDED = """
import atexit, gc, runpy, sys
atexit.register(lambda: print(gc.get_freeze_count() > 10_000))
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.parametrize("words", [("kanban_shards", "list", "--help"), ("kanban_shards.coordinator", "--help")])
def test_a_command_that_ends_is_not_searched_for_cycles(start, words: tuple[str, ...]) -> None:
    """That took a seventh of what a call costs, and found nothing that the end of a process does not give back."""
    process = start("-c", ENDED, *words)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.endswith("True\n")
