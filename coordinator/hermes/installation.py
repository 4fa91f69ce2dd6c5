"""Installation: an unmodified Hermes works on our boards from its next start on, and goes back.

Each step leaves a state that either command finishes, wherever a kill leaves off. Hermes loads the bridge before the
first of its boards becomes ours, and until the last has gone back: a bridged Hermes refuses a board of its own with a
sentence, while one that is not bridged would open ours as if it were its own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kanban_shards import boards
from kanban_shards.coordinator.errors import BridgeFails, HermesRuns, NotInstalledThere, OldPython
from kanban_shards.coordinator.hermes import startfiles
from kanban_shards.coordinator.hermes.adopt import (
    Adopted,
    GivenBack,
    adopt,
    clear_unfinished,
    is_half_adopted,
    is_half_restored,
    is_ours,
    restore_legacy,
)
from kanban_shards.coordinator.hermes.importer import check_closed
from kanban_shards.coordinator.hermes.interpreters import OLDEST_PYTHON, HermesEnvironment
from kanban_shards.coordinator.hermes.record import known, record
from kanban_shards.coordinator.hermes.running import hermes_processes
from kanban_shards.errors import KanbanError
from kanban_shards.hermes import startup
from kanban_shards.paths import BoardPaths, root_folder

# What a board of the home is.
OURS = "ours"
HERMES = "hermes"
NONE_YET = "none yet"

_PROOF_S = 180.0
_START = f"from {startup.__name__} import start; start()\n"
_PROOF = f"import importlib\nprint(importlib.import_module({startup.BRIDGED!r}).{startup.MARK})"
# What would have another Hermes, or another kanban-shards, imported than the environment has; and the switch.
_NOT_FOR_THE_PROOF = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", startup.SWITCH)


@dataclass
class HomeBoard:
    """A board of the home. ``was``: OURS, HERMES or NONE_YET; ``adopted`` and ``given_back``: what became of it;
    ``trouble``: why nothing did."""

    paths: BoardPaths
    was: str
    adopted: Adopted | None = None
    given_back: GivenBack | None = None
    trouble: KanbanError | None = None


@dataclass
class Done:
    """What an install or uninstall did. ``wrote``: the environments whose start files were written or removed."""

    environments: list[HermesEnvironment]
    boards: list[HomeBoard]
    wrote: list[HermesEnvironment] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether no board was left as it was because of trouble, and nothing was lost on the way."""
        return not any(
            board.trouble or (board.adopted and not board.adopted.imported.complete) for board in self.boards
        )


def install(
    environment: HermesEnvironment,
    home: Path,
    *,
    dry_run: bool = False,
    trust_closed: bool = False,
    tell: Callable[[str], None] = lambda said: None,
) -> Done:
    """Have the Hermes of ``environment`` work on the boards of ``home``, which become ours. ``tell`` is told of each
    step. With ``dry_run``, everything is checked and nothing is written.

    A board that cannot be adopted is told with its trouble, and hinders no other. Raises, before anything is changed,
    OldPython, HermesNotKnown, HermesDiffers, NotInstalledThere, BridgeFails, CannotBridge, HermesRuns, StillOpen,
    CannotTell, StorageError.
    """
    tell(f"Hermes {environment.version} in {environment.prefix}")
    _check(environment)
    done = Done([environment], look_at_boards(home))
    in_place = startfiles.look(environment.site) == startfiles.IN_PLACE
    hermes_boards = [board for board in done.boards if board.was == HERMES]
    if not in_place:
        startfiles.check_writable(environment.site)
    if not in_place or hermes_boards:
        _require_stopped([environment], home)
    for board in hermes_boards:
        check_closed(board.paths.board, trust_closed)
    if dry_run:
        return done
    before = [each.python for each in known(home)]
    record(home, [*before, environment.python])
    if not in_place:
        startfiles.write(environment.site)
        done.wrote.append(environment)
    try:
        _prove(environment, with_start_files=True)
    except BridgeFails:
        startfiles.remove(environment.site)
        record(home, before)
        raise
    for board in hermes_boards:
        tell(f"adopting {board.paths.board}")
        with _noting(board):
            if is_half_restored(board.paths):
                clear_unfinished(board.paths, trust_closed=trust_closed)
            board.adopted = adopt(board.paths, trust_closed=trust_closed)
    return done


def uninstall(
    environments: Iterable[HermesEnvironment],
    home: Path,
    *,
    dry_run: bool = False,
    trust_closed: bool = False,
    tell: Callable[[str], None] = lambda said: None,
) -> Done:
    """Give the boards of ``home`` back to Hermes with everything that happened since, and have ``environments``, and
    those that were recorded there, load nothing of ours any more.

    If a board cannot be given back, it is told with its trouble, and the environments stay as they are. Raises, before
    anything is changed, HermesRuns; CannotBridge, StorageError.
    """
    done = Done(known(home, environments), look_at_boards(home))
    _require_stopped(done.environments, home)
    if dry_run:
        return done
    for board in done.boards:
        with _noting(board):
            if board.was == OURS:
                tell(f"giving back {board.paths.board}")
                board.given_back = restore_legacy(board.paths, trust_closed=trust_closed)
            elif is_half_adopted(board.paths) or is_half_restored(board.paths):
                tell(f"clearing what a killed attempt left beside {board.paths.board}")
                clear_unfinished(board.paths, trust_closed=trust_closed)
    if done.complete:
        done.wrote = [each for each in done.environments if startfiles.remove(each.site)]
        record(home, [])
    return done


def look_at_boards(home: Path) -> list[HomeBoard]:
    """Every board of the home, with what it is. Raises StorageError for one that cannot be read."""
    return [
        HomeBoard(paths, NONE_YET if not paths.board.exists() else OURS if is_ours(paths.board) else HERMES)
        for paths in boards.boards(home)
    ]


def _check(environment: HermesEnvironment) -> None:
    """What has to be right before anything is changed."""
    if (version := environment.python_version) and version < OLDEST_PYTHON:
        raise OldPython(python=environment.python)
    environment.check()
    if not environment.has_us:
        raise NotInstalledThere(site=environment.site, command=environment.bringing_us)
    _prove(environment, with_start_files=False)


def _prove(environment: HermesEnvironment, *, with_start_files: bool) -> None:
    """Have that interpreter bridge its Hermes, in a process that opens no board. Raises BridgeFails."""
    code = _PROOF if with_start_files else _START + _PROOF
    environ = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_PROOF}
    try:
        ended = subprocess.run(
            [environment.python, "-c", code],
            cwd="/",
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROOF_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BridgeFails(python=environment.python, problem=f"{error}.") from error
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["it says nothing"]
        problem = lines[-1].removeprefix("kanban-shards: ").rstrip(".")
        raise BridgeFails(python=environment.python, problem=f"{problem}.")


def _require_stopped(environments: Iterable[HermesEnvironment], home: Path) -> None:
    homes = {home}
    if home == root_folder():  # boards may lie elsewhere than profiles do
        homes.add(root_folder(environ={"HERMES_HOME": os.environ.get("HERMES_HOME", "")}))
    found = hermes_processes(environments, homes)
    if found:
        raise HermesRuns(processes=", ".join(found.values()))


@contextmanager
def _noting(board: HomeBoard) -> Iterator[None]:
    """Take a KanbanError as the trouble of the board, so that it hinders no other."""
    try:
        yield
    except KanbanError as error:
        board.trouble = error
