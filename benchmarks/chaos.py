"""``python -m benchmarks.chaos``: kill -9 whatever works on a board, at random, and hold it to what it had promised.

The processes, their journals and the check are those of ``kanban-merge demo --chaos``; here there are more of them,
commands too, some are only stopped for a while, and it may take hours.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import click

from benchmarks.common import say
from kanban_shards import Board
from kanban_shards.bell import Ringer
from kanban_shards.coordinator.demo.check import Checked, check
from kanban_shards.coordinator.demo.crew import DAEMON, Crew
from kanban_shards.coordinator.merge.coordinator_lock import holder
from kanban_shards.paths import DEFAULT_BOARD

KILL_EVERY_S = (0.05, 0.4)
# Shorter than a lease, or longer: then the stopped worker finds its run gone.
STOPPED_S = (0.1, 3.0)
# After this time a command is killed; some end before.
COMMAND_S = (0.05, 5.0)
# So that gateways make their passes themselves, too.
NO_DAEMON_S = (0.0, 2.0)
START_S = 60.0
# What lies in a board's folder when everybody has gone.
_EXPECTED = re.compile(r"kanban(-ledger|\.\w+)?\.db(-journal|-wal|-shm)?|kanban(-coordinator(-next)?|\.\w+)\.lock")


class Commands:
    """Calls of ``kanban`` and ``kanban-merge``, each of which is killed unless it ends soon enough. What one said that
    it had made is noted."""

    def __init__(self, crew: Crew, chance: random.Random) -> None:
        self._crew = crew
        self._chance = chance
        self._running: dict[subprocess.Popen, float] = {}
        self.created: list[str] = []
        self.commented: list[tuple[str, str]] = []
        self.ended: Counter[str] = Counter()
        self._texts: dict[subprocess.Popen, tuple[str, str]] = {}

    def call(self) -> None:
        """Start one, drawn by lot."""
        place = ["--home", str(self._crew.paths.folder), "--board", DEFAULT_BOARD]
        kind = self._chance.choice(("create", "comment", "once"))
        task_id, text = "", f"{kind} {self._chance.getrandbits(64):x}"
        if kind == "comment" and self.created:
            task_id = self._chance.choice(self.created)
        if kind == "once":
            words = ["kanban_shards.coordinator", *place, "--once", "--json"]
        else:
            verb = ["comment", task_id, text] if task_id else ["create", text]
            words = ["kanban_shards", *place, "--profile", self._chance.choice(self._crew.team), *verb, "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._running[process] = time.monotonic() + self._chance.uniform(*COMMAND_S)
        self._texts[process] = (task_id, text)

    def look(self) -> None:
        """Hear those that ended; kill those whose time is over."""
        for process, until in list(self._running.items()):
            if process.poll() is not None:
                self._hear(process)
            elif time.monotonic() > until:
                process.kill()
                self._crew.killed["commands"] += 1
                self._hear(process)

    def kill(self) -> None:
        """Leave nobody behind."""
        for process in list(self._running):
            process.kill()
            self._hear(process)

    def _hear(self, process: subprocess.Popen) -> None:
        """What was said whole was said, although its teller may have been killed right after."""
        said, _ = process.communicate()
        del self._running[process]
        task_id, text = self._texts.pop(process)
        self.ended[str(process.returncode)] += 1
        try:
            answer = json.loads(said)
        except ValueError:
            return
        if text.startswith("create") or (text.startswith("comment") and not task_id):
            self.created.append(answer["id"])
        elif task_id and process.returncode == 0:
            self.commented.append((task_id, text))


class Chaos:
    """A crew and its commands, killed and stopped as ``chance`` says."""

    def __init__(self, folder: Path, profiles: int, chance: random.Random) -> None:
        team = [f"profile{number}" for number in range(1, profiles + 1)]
        self._chance = chance
        self._crew = Crew(folder, folder / "board", team, chance)
        self._commands = Commands(self._crew, chance)
        self._hands = [f"{profile}:{role}" for profile in team for role in ("gateway", "worker")]
        self._stopped: dict[str, float] = {}
        self._daemon_again = 0.0

    def play(self, seconds: float) -> Checked:
        """Let them work and die for so long; returns what the check found when the rest had settled."""
        try:
            for name in (DAEMON, *self._hands):
                self._crew.start(name)
            self._wait_for_everybody()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._strike()
                self._look()
                time.sleep(self._chance.uniform(*KILL_EVERY_S))
            return self._settle()
        finally:
            self._commands.kill()
            self._crew.kill()

    def tell(self, checked: Checked) -> None:
        """The figures."""
        killed = self._crew.killed
        for kind in ("daemon", "gateways", "workers", "commands"):
            say(f"killed with -9: {kind}", f"{killed[kind]:,}")
        say("stopped for a while, and continued", f"{killed['stopped']:,}")
        say("changes acknowledged to their authors", f"{checked.acknowledged:,}", "each is in the ledger once")
        by_commands = len(self._commands.created) + len(self._commands.commented)
        say("and by commands", f"{by_commands:,}", f"exit codes {dict(self._commands.ended)}")
        say("verdicts", f"{checked.changes:,}", f"refused: {checked.refused}")
        say("runs", f"{checked.runs:,}", f"{checked.expired} of killed workers, which came back")
        say("faults found", f"{len(checked.problems)}")

    def _strike(self) -> None:
        what = self._chance.choices(("kill", "daemon", "stop", "command"), (4, 1, 2, 4))[0]
        if what == "daemon":
            if self._crew.process(DAEMON) is not None and DAEMON not in self._stopped:
                self._crew.end(DAEMON)
                self._crew.killed["daemon"] += 1
                self._daemon_again = time.monotonic() + self._chance.uniform(*NO_DAEMON_S)
        elif what == "command":
            self._commands.call()
        else:
            name = self._chance.choice([*self._hands, DAEMON] if what == "stop" else self._hands)
            if name in self._stopped or self._crew.process(name) is None:
                return
            if what == "stop":
                self._crew.process(name).send_signal(signal.SIGSTOP)
                self._stopped[name] = time.monotonic() + self._chance.uniform(*STOPPED_S)
                self._crew.killed["stopped"] += 1
            else:
                self._crew.end(name)
                self._crew.killed[f"{name.partition(':')[2]}s"] += 1
                self._crew.start(name)

    def _look(self) -> None:
        now = time.monotonic()
        for name in [name for name, until in self._stopped.items() if now > until]:
            del self._stopped[name]
            if self._crew.process(name) is not None:
                self._crew.process(name).send_signal(signal.SIGCONT)
        if self._crew.process(DAEMON) is None and now > self._daemon_again:
            self._crew.start(DAEMON)
        self._commands.look()
        self._crew.look()

    def _wait_for_everybody(self) -> None:
        deadline = time.monotonic() + START_S
        while not all(account.told for account in self._crew.accounts.values()) and time.monotonic() < deadline:
            time.sleep(0.05)
            self._crew.look()

    def _wait_for_daemon(self) -> None:
        paths, deadline = self._crew.paths, time.monotonic() + START_S
        with closing(Ringer()) as ringer:
            while time.monotonic() < deadline:
                found, daemon = holder(paths), self._crew.process(DAEMON)
                if found and daemon and found.pid == daemon.pid and ringer.ring(paths.coordinator_bell):
                    return
                time.sleep(0.05)
                self._crew.look()

    def _settle(self) -> Checked:
        self._stopped = dict.fromkeys(self._stopped, 0.0)
        self._daemon_again = 0.0
        self._look()
        self._crew.stop(*self._hands)
        self._commands.kill()
        with Board(self._crew.paths) as board:
            for _ in self._crew.settling(board):
                self._crew.look()
            self._wait_for_daemon()  # one that has only begun is ended by the signal, and tidies nothing up
            self._crew.stop(DAEMON)
            checked = check(self._crew.paths, self._crew.accounts)
            checked.problems += self._crew.problems + self._check_commands(board)
        left = [path.name for path in self._crew.paths.folder.iterdir() if not _EXPECTED.fullmatch(path.name)]
        checked.problems += [f"{name} was left behind" for name in left]
        return checked

    def _check_commands(self, board: Board) -> list[str]:
        lost = [f"task {task_id} was acknowledged" for task_id in self._commands.created if not board.task(task_id)]
        for task_id, text in self._commands.commented:
            shown = [comment.body for comment in board.comments(task_id)].count(text)
            if shown != 1:
                lost.append(f"a comment on {task_id} was acknowledged, and shows {shown} times")
        return lost


@click.command()
@click.option("--minutes", type=click.FloatRange(0.01), default=1.0, show_default=True)
@click.option("--profiles", type=click.IntRange(1), default=8, show_default=True)
@click.option("--seed", type=int, help="Decides who is killed when; what the machine makes of it differs.")
def chaos(minutes: float, profiles: int, seed: int | None) -> None:
    """Kill -9 gateways, workers, commands and the daemon at random, and check that nothing acknowledged is lost."""
    seed = random.randrange(2**32) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="kanban-chaos-"))
    played = Chaos(folder, profiles, random.Random(seed))
    checked = played.play(minutes * 60)
    played.tell(checked)
    if checked.problems:
        for problem in checked.problems:
            click.secho(problem, fg="red", err=True)
        raise click.ClickException(f"seed {seed} found faults; everything is kept in {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    chaos(prog_name="python -m benchmarks.chaos")
