"""One kind of work on every peer, in rounds that take each in turn, and the table of what came of it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common import percentile
from benchmarks.figures import FIGURES, Spread
from benchmarks.peers import BOARD_VERBS, COMMANDS, OURS, PEERS, find
from benchmarks.peers.work import Notes
from benchmarks.together import Crew, Round, Wrong, run_round

READERS = 3
# Whole tasks: what this project says in two batches is four calls of hermes.
_WHOLE_TASKS = ("shards", "shards, no daemon", "hermes", "hermes unchecked", "hermes unchecked, kept open")
IN_FOURS = 4
OF_A_QUEUE = "its board has no comments, nor can it be read"
COLUMNS = (
    "profiles", "peer", "operations/s", "this ÷ peer", "write p50 ms", "write p99 ms", "claim p50 ms",
    "claim p99 ms", "slowest/mean", "CPU ms/operation", "shown after s", "lost", "doubled", "corrupt",
    "errors", "refused",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One kind of work. ``shared``: so many tasks are there before, ``shared_a_second`` for each second that it lasts;
    ``reading``: dashboards beside the writers; ``needs``: the verbs that a peer must have; ``count``: as the work
    takes it."""

    title: str
    does: str
    needs: frozenset[str]
    shared: int = 0
    shared_a_second: int = 0
    reading: int = 0
    count: int = 0
    peers: tuple[str, ...] = tuple(PEERS)

    def crews(self, profiles: int) -> list[Crew]:
        """Who works at it."""
        readers = [Crew("read", self.reading)] if self.reading else []
        return [Crew(self.does, profiles, self.count), *readers]


WORKS = {
    "board": Work("Create, subscribe, claim and complete", "board", frozenset({"create", "claim", "complete"})),
    "one-shot": Work("The same, each call a process of its own", "board", frozenset({"claim"}), peers=tuple(COMMANDS)),
    "tasks": Work("Whole tasks, each in two batches", "whole_tasks", BOARD_VERBS, count=1, peers=_WHOLE_TASKS),
    "tasks-in-fours": Work(
        "Whole tasks, four in two batches", "whole_tasks", BOARD_VERBS, count=IN_FOURS, peers=_WHOLE_TASKS
    ),
    "race": Work("A race for shared tasks", "race", frozenset({"claim", "complete"}), shared_a_second=500),
    "comments": Work("A sweep of comments over 40 tasks", "comments", frozenset({"comment"}), shared=40),
    "creates": Work("A burst of creates", "creates", frozenset({"create"})),
    "dashboards": Work(
        f"{READERS} dashboards read while others write",
        "comments",
        frozenset({"comment", "list"}),
        shared=200,
        reading=READERS,
    ),
}
# How the figures of the page are made.
AT_LENGTH = {
    "board": {"profiles": (1, 2, 4, 8, 16), "seconds": 3.0},
    "one-shot": {"profiles": (1, 2, 4, 8, 16), "seconds": 6.0},
    "tasks": {"profiles": (8,), "seconds": 3.0},
    "tasks-in-fours": {"profiles": (8,), "seconds": 3.0},
    "race": {"profiles": (2, 8), "seconds": 3.0},
    "comments": {"profiles": (8,), "seconds": 3.0},
    "creates": {"profiles": (8,), "seconds": 3.0},
    "dashboards": {"profiles": (24,), "seconds": 5.0},
}


@dataclass
class Measured:
    """One peer with so many profiles, over all rounds."""

    peer: str
    profiles: int
    rounds: list[Round] = field(default_factory=list)

    def spread(self, of: Callable[[Round], float]) -> Spread:
        """A figure of each round."""
        return Spread(tuple(of(one) for one in self.rounds))

    @property
    def ours(self) -> bool:
        """Whether it is this project."""
        return self.peer in OURS

    @property
    def wrong(self) -> Wrong:
        """What must not happen, over all rounds."""
        return sum((one.wrong for one in self.rounds), Wrong())


def measure(
    work: str, profiles: Sequence[int], rounds: int, seconds: float, new_folder: Callable[[], Path]
) -> list[Measured]:
    """Measure ``work`` on every peer that is there, print the table, and return what was found."""
    kind = WORKS[work]
    FIGURES.begin(kind.title)
    names = _those_that_can(kind)
    shared = kind.shared + int(kind.shared_a_second * seconds)
    found = []
    for count in profiles:
        measured = [Measured(name, count) for name in names]
        for _ in range(rounds):
            for one in measured:
                crews = kind.crews(count)
                one.rounds.append(run_round(one.peer, new_folder(), crews, seconds, shared))
        found += measured
    FIGURES.table(COLUMNS, [_row(one, _ours(found, one.profiles)) for one in found])
    if kind.reading:
        _say_reading(found)
    _say_errors(found)
    return found


def operations_per_s(one: Round) -> float:
    """Calls in a second that did what they were to do, by the writers together; a lost race does not count."""
    return sum(_operations(notes) for notes in one.crews[0]) / one.seconds


def cpu_ms(one: Round) -> float:
    """The CPU of everybody, for each operation of the writers; nan if they did none."""
    done = sum(_operations(notes) for notes in one.crews[0])
    return one.cpu_s / done * 1000 if done else math.nan


def slowest_of_mean(one: Round) -> float:
    """The worker that got the least done, against the mean of all."""
    done = [_operations(notes) for notes in one.crews[0]]
    return min(done) / statistics.mean(done) if any(done) else 0.0


def latency_ms(one: Round, percent: float, verb: str | None = None) -> float:
    """So many percent of the calls (of one verb, or of all) took no longer than this; nan if there were none."""
    spent = [
        seconds
        for notes in one.crews[0]
        for name, calls in notes.spent_s.items()
        if verb in (None, name)
        for seconds in calls
    ]
    return percentile(spent, percent) * 1000


def _those_that_can(kind: Work) -> list[str]:
    names = []
    for name in kind.peers:
        peer = find(name)
        why = peer.missing() or (OF_A_QUEUE if kind.needs - peer.verbs else None)
        if why:
            FIGURES.note(f"skipped: {name} ({why})")
        else:
            names.append(name)
    return names


def _ours(found: list[Measured], profiles: int) -> Measured:
    return next(one for one in found if one.profiles == profiles and one.ours)


def _row(one: Measured, ours: Measured) -> list[str]:
    rate = one.spread(operations_per_s)
    ratio = "" if one is ours else Spread.of_ratios(ours.spread(operations_per_s), rate).said(2)
    wrong = one.wrong
    return [
        str(one.profiles),
        one.peer,
        rate.said(0),
        ratio,
        one.spread(lambda round_: latency_ms(round_, 50)).said(),
        one.spread(lambda round_: latency_ms(round_, 99)).said(),
        one.spread(lambda round_: latency_ms(round_, 50, "claim")).said(),
        one.spread(lambda round_: latency_ms(round_, 99, "claim")).said(),
        one.spread(slowest_of_mean).said(2),
        one.spread(cpu_ms).said(2),
        one.spread(lambda round_: round_.behind_s).said(2) if one.ours else "",
        *map(str, vars(wrong).values()),
    ]


def _say_reading(found: list[Measured]) -> None:
    for one in found:
        spent = Spread(tuple(percentile(_reads(round_), 99) * 1000 for round_ in one.rounds))
        count = sum(len(_reads(round_)) for round_ in one.rounds)
        FIGURES.note(
            f"{one.peer}, {one.profiles} writers: a read of the board takes p99 {spent.said()} ms, {count} reads"
        )


def _reads(one: Round) -> list[float]:
    return [seconds for notes in one.crews[1] for seconds in notes.spent_s.get("list", [])]


def _say_errors(found: list[Measured]) -> None:
    for one in found:
        said = sum((round_.said for round_ in one.rounds), Counter())
        for sentence, count in said.most_common(2):
            FIGURES.note(f"{one.peer}, {one.profiles} profiles, {count} times: {sentence}")


def _operations(notes: Notes) -> int:
    return sum(map(len, notes.spent_s.values())) - notes.refused
