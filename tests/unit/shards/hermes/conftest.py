"""A board as Hermes's processes open it, without Hermes: what is asked of it is who the profile is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kanban_shards import Gateway, inline_merge
from kanban_shards.hermes import identity
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.statements import BoardStatements
from kanban_shards.paths import BoardPaths


@pytest.fixture
def works_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The profile that calls are made for, as ``works_for.profile``."""
    now = SimpleNamespace(profile="amy")
    profiles = SimpleNamespace(get_active_profile_name=lambda: now.profile)
    homes = SimpleNamespace(get_hermes_home=lambda: Path("/profiles") / now.profile)
    monkeypatch.setitem(sys.modules, "hermes_cli.profiles", profiles)
    monkeypatch.setitem(sys.modules, "hermes_constants", homes)
    yield now
    identity.close_kept()


@pytest.fixture
def conn(works_for: SimpleNamespace, paths: BoardPaths) -> Iterator[BoardConnection]:
    """The board, open as Hermes gets it."""
    paths.make_folder()
    inline_merge.make_files(paths)
    opened = BoardConnection(paths, BoardStatements)
    yield opened
    opened.close()


@pytest.fixture
def task_id(conn: BoardConnection, gateway: Gateway) -> str:
    """A ready task of amy's."""
    return gateway.make("Write it", assignee="amy").task_id
