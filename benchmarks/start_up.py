"""What a command costs: the CPU and the memory of one call."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.called import Command
from benchmarks.common import make_board, say
from benchmarks.figures import FIGURES
from benchmarks.peers.bridged import Bridged
from benchmarks.peers.hermes import HOME, PYTHON
from kanban_shards import Board
from kanban_shards.hermes.startup import SWITCH

TASKS = 100
MOST_CPU_MS = 150.0
# Of a command that writes, and makes the pass itself.
MOST_WRITING_CPU_MS = 120.0
# Of `hermes kanban list`, bridged: more than of the released one.
MOST_BRIDGED_CPU_MS = 50.0
_BRIDGED = """
import os, site, sys
site.addsitedir(os.environ["BENCHMARK_SITE"])
from kanban_shards.hermes import startup
startup.start()
from hermes_cli.main import main
main()
"""


def measure(folder: Path, runs: int) -> None:
    """Print the CPU and the memory of the commands, called ``runs`` times in turn, beside an interpreter that does
    nothing and, where it is there, ``hermes kanban list`` of a board with as many tasks."""
    paths = make_board(folder / "ours", TASKS)
    with Board(paths) as board:
        task_id = board.tasks(limit=1)[0].id
    ours = [sys.executable, "-m", "kanban_shards", "--home", str(paths.folder)]
    merge = [sys.executable, "-m", "kanban_shards.coordinator", "--home", str(paths.folder)]
    listing = Command(f"kanban list of {TASKS} tasks", [*ours, "list"])
    writing = [
        Command("kanban comment", [*ours, "--profile", "bingge", "comment", task_id, "look"]),
        Command("kanban create", [*ours, "--profile", "bingge", "create", "task"]),
    ]
    commands = [
        Command("python that does nothing", [sys.executable, "-c", "pass"]),
        listing,
        Command("kanban show", [*ours, "show", task_id]),
        *writing,
        Command("kanban-merge status", [*merge, "status"]),
    ]
    of_hermes = _of_hermes(folder / "hermes")
    bridged = _bridged(paths.folder, folder / "hermes") if of_hermes else []
    commands += [*of_hermes, *bridged]
    for _ in range(1 + runs):
        for command in commands:
            command.call()
    for command in commands:
        del command.cpu_ms[0], command.memory_mib[0]  # the first call compiles what was never called
        cpu_ms, memory_mib = statistics.median(command.cpu_ms), statistics.median(command.memory_mib)
        spread = f"{min(command.cpu_ms):.0f}..{max(command.cpu_ms):.0f} ms, {memory_mib:.0f} MiB"
        say(command.what, f"{cpu_ms:.0f} ms of CPU", spread)
    FIGURES.asked("kanban list, ms of CPU", statistics.median(listing.cpu_ms), most=MOST_CPU_MS)
    for command in writing:
        cpu_ms = statistics.median(command.cpu_ms)
        FIGURES.asked(f"{command.what}, ms of CPU", cpu_ms, most=MOST_WRITING_CPU_MS)
    if bridged:
        switched_off, on = bridged
        more_ms = statistics.median(on.cpu_ms) - statistics.median(switched_off.cpu_ms)
        what = "hermes kanban list, bridged: ms of CPU more than with the bridge switched off"
        FIGURES.asked(what, more_ms, most=MOST_BRIDGED_CPU_MS)


def _of_hermes(folder: Path) -> list[Command]:
    python = os.environ.get(PYTHON)
    if python is None:
        FIGURES.note("skipped: hermes kanban list (hermes-agent is not there)")
        return []
    environment = {HOME: str(folder)}
    making = (
        "from hermes_cli import kanban_db as board\n"
        "with board.connect_closing() as connection:\n"
        f"    for number in range({TASKS}):\n"
        "        board.create_task(connection, title=f'task {number}', assignee='bingge')\n"
    )
    subprocess.run([python, "-c", making], check=True, env={**os.environ, **environment})
    listing = [str(Path(python).with_name("hermes")), "kanban", "list"]
    return [Command(f"hermes kanban list of {TASKS} tasks", listing, environment)]


def _bridged(home: Path, home_of_hermes: Path) -> list[Command]:
    """The same command with the bridge switched off, and on a board of this project."""
    if why := Bridged.missing():
        FIGURES.note(f"skipped: hermes kanban list, bridged ({why})")
        return []
    words = [os.environ[PYTHON], "-c", _BRIDGED, "kanban", "list"]
    what = f"hermes kanban list of {TASKS} tasks"
    return [
        Command(f"{what}, bridge switched off", words, {HOME: str(home_of_hermes), SWITCH: "0"}),
        Command(f"{what}, bridged", words, {HOME: str(home)}),
    ]
