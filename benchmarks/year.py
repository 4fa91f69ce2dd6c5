"""A year of a busy fleet, on two boards: on one, what is older than a month is thrown away at the end of each month.

The clock is the machine's own; a month is as long as playing it takes. What is thrown away is what was merged before
the month began, as `kanban-merge compact` and `kanban gc` once a month would do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.common import coordinator_of, drawn_create, say, spread
from kanban_shards import Board
from kanban_shards.changes.fields import Body
from kanban_shards.changes.kinds import AddComment, Claim, Complete, Create, Gc
from kanban_shards.changes.vectors import View
from kanban_shards.cli.text import print_table
from kanban_shards.coordinator.backup.compact import compact
from kanban_shards.coordinator.merge.coordinator_lock import COMMAND, take
from kanban_shards.paths import DEFAULT_BOARD, BoardPaths
from kanban_shards.shard import Shard

PASSES_TIMED = 30


@dataclass
class _Fleet:
    """Profiles at work on one board; ``upkeep``: whether old things are thrown away."""

    paths: BoardPaths
    profiles: list[str]
    upkeep: bool
    changes: int = 0
    month_began_ms: int = field(default_factory=lambda: _now_ms())

    def play_day(self, tasks: int) -> None:
        """Each profile makes its part of ``tasks``, another one comments, and the first one does them."""
        work: dict[str, list[tuple[str, Body]]] = {profile: [] for profile in self.profiles}
        for number in range(tasks):
            author, other = (self.profiles[(number + step) % len(self.profiles)] for step in (0, 1))
            task_id, create = drawn_create(author, title="one of many", body=_text("brief", 600), assignee=author)
            work[author] += _life_of(task_id, create)
            work[other].append((task_id, AddComment(text=_text("comment", 300))))
        self._write({profile: changes[: len(changes) // 2] for profile, changes in work.items()})
        self._write({profile: changes[len(changes) // 2 :] for profile, changes in work.items()})

    def end_month(self) -> None:
        """The month is over; what was merged before it began is thrown away, if this fleet does that."""
        began_ms, self.month_began_ms = self.month_began_ms, _now_ms()
        if self.upkeep:
            self._write({self.profiles[0]: [("", Gc(events_before_s=began_ms // 1000))]})
            lock = take(self.paths, COMMAND, wait_s=5)
            try:
                compact(self.paths, lock, began_ms)
            finally:
                lock.close()

    def sizes(self) -> dict[str, int]:
        """The bytes of each kind of file."""
        shards = [path for _, path in self.paths.shards()]
        files = {"board": [self.paths.board], "ledger": [self.paths.ledger], "shards": shards,
                 "snapshot": [self.paths.snapshot]}  # fmt: skip
        return {kind: sum(path.stat().st_size for path in paths if path.exists()) for kind, paths in files.items()}

    def time_passes(self) -> list[float]:
        """The seconds of passes of one change, by a coordinator that has the files open."""
        times = []
        with coordinator_of(self.paths) as coordinator:
            for _ in range(PASSES_TIMED):
                self._append({self.profiles[0]: [drawn_create(self.profiles[0], title="one more")]})
                started = time.perf_counter()
                coordinator.make_pass()
                times.append(time.perf_counter() - started)
        return times

    def _write(self, work: dict[str, list[tuple[str, Body]]]) -> None:
        self._append(work)
        with coordinator_of(self.paths) as coordinator:
            coordinator.make_passes()

    def _append(self, work: dict[str, list[tuple[str, Body]]]) -> None:
        """Without waiting for the disk: this part is not what is measured."""
        watermarks = {}
        if self.paths.board.exists():
            with Board(self.paths) as board:
                watermarks = board.watermarks()
        for profile, changes in work.items():
            seq, digest = watermarks.get(profile, (0, ""))
            view = View(merged_seq=seq, merged_digest=digest)
            shard = Shard(self.paths, profile)
            with shard._file.writing(view) as connection:
                connection.execute("PRAGMA synchronous=OFF")
            for task_id, body in changes:
                shard.append(task_id, body, view)
            shard.close()
            self.changes += len(changes)


def measure(folder: Path, profiles: int, tasks: int, months: int, days: int) -> None:
    """Print what each file takes at the end of each month, and what a pass costs then."""
    fleets = {}
    for name, upkeep in (("as it grows", False), ("compacted", True)):
        paths = BoardPaths.of(folder / name.replace(" ", "-"), DEFAULT_BOARD)
        paths.make_folder()
        fleets[name] = _Fleet(paths, [f"profile-{number}" for number in range(profiles)], upkeep)
    rows = []
    for month in range(1, months + 1):
        for name, fleet in fleets.items():
            for _ in range(days):
                fleet.play_day(tasks)
            fleet.end_month()
            sizes, times = fleet.sizes(), fleet.time_passes()
            rows.append((month, name, *map(_mib, sizes.values()), _mib(sum(sizes.values())), spread(times)))
    grown = fleets["as it grows"]
    say(f"{profiles} profiles, {months} months", f"{grown.changes:,} changes", f"{tasks} tasks a day")
    print_table(("MONTH", "BOARD IS", "BOARD", "LEDGER", "SHARDS", "SNAPSHOT", "MIB IN ALL", "A PASS"), rows)
    whole = {name: sum(fleet.sizes().values()) for name, fleet in fleets.items()}
    say("the compacted files", f"{whole['compacted'] / whole['as it grows']:.2f}", "of the others")
    click.echo()


def _life_of(task_id: str, create: Create) -> Iterator[tuple[str, Body]]:
    yield task_id, create
    yield task_id, Claim()
    yield task_id, AddComment(text=_text("note", 200))
    yield task_id, Complete(summary=_text("summary", 400), result=_text("result", 400))


def _text(what: str, length: int) -> str:
    return (f"{what} of a task that somebody did; " * length)[:length]


def _mib(count: int) -> str:
    return f"{count / 2**20:.1f}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
