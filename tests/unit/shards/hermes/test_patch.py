"""The table of replaced names: each leads to a function, and Hermes's signatures are known for each."""

from __future__ import annotations

import inspect
import sqlite3
import sys
from types import ModuleType, SimpleNamespace

import pytest

from kanban_shards.errors import LawBroken
from kanban_shards.hermes import patch
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.versions import SIGNATURES
from tests.unit.shards.hermes.imitation import source_of


@pytest.fixture
def module(works_for: SimpleNamespace) -> ModuleType:
    """Hermes's module, with nothing in its functions, patched."""
    made = ModuleType("hermes_cli.kanban_db")
    exec(source_of("0.19"), made.__dict__)
    for name in patch.NEVER:
        setattr(made, name, lambda: None)
    patch.patch(made)
    return made


@pytest.mark.parametrize("name", sorted({**patch.OF_BOARDS, **patch.OF_ONE_BOARD}))
def test_a_replacement_takes_what_hermes_gives(name: str) -> None:
    """Its parameters are those of Hermes's function, by the same names and in the same order, behind the module's."""
    where = {**patch.OF_BOARDS, **patch.OF_ONE_BOARD}[name]
    parameters = list(inspect.signature(patch.loaded(where)).parameters.values())[1:]
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters):
        return
    said, keyword_only = [], False
    for each in parameters:
        if each.kind is inspect.Parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            said.append("*")
        said.append(each.name + "=" * (each.default is not inspect.Parameter.empty))
    assert ", ".join(said) == SIGNATURES[name]


def test_each_replaced_name_has_a_known_signature() -> None:
    assert set(patch.OF_BOARDS) | set(patch.OF_ONE_BOARD) <= set(SIGNATURES)


def test_what_must_not_run_raises(module: ModuleType) -> None:
    for name in patch.NEVER:
        with pytest.raises(LawBroken, match=name):
            getattr(module, name)()


def test_a_connection_of_somebody_elses(module: ModuleType) -> None:
    """Of a connection that Hermes did not get here, nothing is known: neither which board it is, nor that it reads."""
    for name in patch.OF_ONE_BOARD:
        with pytest.raises(TypeError, match="was not opened by"):
            getattr(module, name)(sqlite3.connect(":memory:"))


def test_what_a_release_does_not_have_stays_absent(works_for: SimpleNamespace) -> None:
    made = ModuleType("hermes_cli.kanban_db")
    exec(source_of("0.17"), made.__dict__)
    patch.patch(made)
    assert not hasattr(made, "set_branch_name")
    assert not hasattr(made, "_sqlite_connect")


def test_a_replacement_looks_like_hermes_own(module: ModuleType) -> None:
    assert module.add_comment.__name__ == "add_comment"
    assert list(inspect.signature(module.add_comment).parameters) == ["conn", "task_id", "author", "body"]


def test_what_no_plugin_asked_for_is_not_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, object]] = []
    now = SimpleNamespace(
        get_task=lambda conn, task_id: SimpleNamespace(assignee="mafei"),
        get_current_board=lambda: "default",
        _fire_kanban_lifecycle_hook=lambda event, task_id, **fields: told.append((event, task_id, fields)),
    )
    hermes = Hermes(now=now, released=now)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "hermes_cli.plugins", raising=False)
    hermes.tell_plugins("claimed", None, "t_1", run_id=1)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "hermes_cli.plugins", SimpleNamespace(has_hook=lambda event: event == "claimed"))
    hermes.tell_plugins("blocked", None, "t_2", run_id=2)  # type: ignore[arg-type]
    assert not told
    hermes.tell_plugins("claimed", None, "t_3", run_id=3)  # type: ignore[arg-type]
    assert told == [("claimed", "t_3", {"board": "default", "assignee": "mafei", "run_id": 3})]
    del now._fire_kanban_lifecycle_hook  # up to 0.17
    hermes.tell_plugins("claimed", None, "t_4", run_id=4)  # type: ignore[arg-type]
