"""How a board's health is shown: a value for programs, plain lines, a table on a terminal; once, or as it changes."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from kanban_shards import wording
from kanban_shards.bell import Bell
from kanban_shards.board import LOST_BELL_S
from kanban_shards.cli import text
from kanban_shards.coordinator.health.problems import problems
from kanban_shards.coordinator.health.read import AWAY, HEALTHY, Health, ShardHealth, read_health
from kanban_shards.errors import KanbanError
from kanban_shards.health import FAULT, NOTE, OK, WARNING, Finding
from kanban_shards.paths import BoardPaths

if TYPE_CHECKING:
    from rich.console import JustifyMethod, RenderableType

COLORS = {OK: "green", NOTE: "cyan", WARNING: "yellow", FAULT: "red"}
HEADERS = ("PROFILE", "HEAD", "MERGED", "WAITING", "LAG", "PER MIN", "STATE", "LAST PROBLEM")
NUMBERS = ("HEAD", "MERGED", "WAITING", "LAG", "PER MIN")
NO_PROBLEM = "-"
# In columns of a terminal.
NARROW = 80
LEVEL_WIDTH = 9
# A board on which much is going on is looked at, and drawn, this often at most.
REDRAW_S = 0.25
LONGEST_PROBLEM = 300


def value_of(health: Health) -> dict[str, Any]:
    """The health as ``status --json`` gives it."""
    held_by = health.coordinator
    return {
        "board": str(health.paths.board),
        "coordinator": None if held_by is None else asdict(held_by),
        "coordinator_state": health.coordinator_state,
        "position": health.position,
        "ledger": health.ledger_head,
        "open_runs": health.open_runs,
        "shards": [
            {
                "profile": shard.profile,
                "head": shard.head,
                "merged": shard.merged,
                "waiting": shard.waiting,
                "lag_s": round(shard.lag_s, 3),
                "rate_per_minute": shard.rate_per_minute,
                "state": _state(shard),
                "last_problem": shard.last_problem,
            }
            for shard in health.shards
        ],
        "hermes": [each.as_dict() for each in health.bridges],
        **({} if health.shared is None else {"shared": health.shared.as_dict()}),
        "problems": [asdict(problem) for problem in problems(health)],
    }


def print_health(health: Health) -> None:
    """On standard output: a table on a terminal, plain lines elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        console.print(_drawn(health, console.width))
        return
    for name, said in _lines(health):
        text.say(f"{name:<13}{said}")
    if health.shards:
        text.say()
        text.print_table(HEADERS, [_cells(shard) for shard in health.shards])
    for problem in problems(health):
        text.say(wording.printable(f"{problem.level}: {problem.sentence}"))


def print_findings(findings: list[Finding]) -> None:
    """What a doctor found, one after the other, and how much of it needs a person."""
    indent = LEVEL_WIDTH + max(len(each.check) for each in findings) + 2
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for each in findings:
        begin = f"{each.level:<{LEVEL_WIDTH}}{each.check}".ljust(indent)
        said = textwrap.fill(wording.printable(each.sentence), max(indent + 30, room), initial_indent=begin,
                             subsequent_indent=" " * indent, break_long_words=False)  # fmt: skip
        text.say(said[LEVEL_WIDTH:], lead=said[:LEVEL_WIDTH], lead_fg=COLORS[each.level])
    counted = {level: sum(each.level == level for each in findings) for level in (FAULT, WARNING, NOTE, OK)}
    text.say(
        ", ".join(f"{count} {OK}" if level == OK else wording.many(count, level) for level, count in counted.items())
    )


def follow(paths: BoardPaths, as_json: bool) -> None:
    """Show the board's health, and again whenever it changes, until interrupted; on a terminal in place, else as
    lines. Woken by the board's bell; what rings no bell is seen a second later."""
    bell = Bell.waiting(paths.folder)
    try:
        with _showing(as_json) as show:
            while True:
                show(_look(paths))
                bell.wait(LOST_BELL_S)
                time.sleep(REDRAW_S)
                bell.hush()
    except KeyboardInterrupt:
        pass
    finally:
        bell.close()


# --- following -----------------------------------------------------------------------------------------------------

Seen = Health | KanbanError


def _look(paths: BoardPaths) -> Seen:
    """The health, or why it cannot be read: that may be over at the next look."""
    try:
        return read_health(paths)
    except KanbanError as error:
        return error


@contextmanager
def _showing(as_json: bool) -> Iterator[Callable[[Seen], None]]:
    if as_json or not sys.stdout.isatty():
        yield _each_change(_print_line if as_json else _print_block)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False) as screen:

        def show(seen: Seen) -> None:
            if isinstance(seen, KanbanError):
                screen.update(Text(wording.printable(str(seen)), style="red"), refresh=True)
            else:
                screen.update(_drawn(seen, console.width), refresh=True)

        yield show


def _each_change(show: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """``show``, called only when something else than an age or a rate has changed."""
    known: list[Any] = []

    def show_if_new(seen: Seen) -> None:
        state = _without_time(seen)
        if [state] != known:
            known[:] = [state]
            show(seen)

    return show_if_new


def _without_time(seen: Seen) -> Any:
    if isinstance(seen, KanbanError):
        return str(seen)
    value = value_of(seen)
    passing = {"lag_s", "rate_per_minute"}
    value["shards"] = [{key: each[key] for key in each.keys() - passing} for each in value["shards"]]
    if "shared" in value:
        value["shared"]["last_heard_ms"] = None
        value["shared"]["hosts"] = [{**each, "seen_ms": None} for each in value["shared"]["hosts"]]
    value["problems"] = [(each["check"], each["level"]) for each in value["problems"]]
    return value


def _print_line(seen: Seen) -> None:
    if isinstance(seen, KanbanError):
        text.print_json_line({"error": type(seen).__name__, "message": str(seen)})
    else:
        text.print_json_line(value_of(seen))


def _print_block(seen: Seen) -> None:
    text.say(f"== {wording.when(int(time.time()))}")
    if isinstance(seen, KanbanError):
        text.say(str(seen))
    else:
        print_health(seen)


# --- what is said --------------------------------------------------------------------------------------------------


def _lines(health: Health) -> list[tuple[str, str]]:
    ledger = "cannot be read" if health.ledger_head is None else wording.many(health.ledger_head, "entry")
    if health.ledger_head is None and health.ledger_trouble is None:
        ledger = "none"
    nobody = health.coordinator_unknown or "none; whoever needs a verdict makes the pass itself"
    return [
        ("board", wording.printable(f"{health.paths.board}, {wording.many(health.position, 'entry')} merged")),
        ("ledger", ledger),
        ("coordinator", wording.printable(str(health.coordinator or nobody))),
        ("open runs", str(health.open_runs)),
        *_shared_lines(health),
        *(("hermes", wording.printable(f"{each.version} in {each.environment.prefix}, {each.state}"))
          for each in health.bridges),
    ]  # fmt: skip


def _shared_lines(health: Health) -> Iterator[tuple[str, str]]:
    """Where the board is shared, and how far each host is."""
    shared = health.shared
    if shared is None:
        return
    yield "shared", wording.printable(shared.in_words(health.at_ms))
    for each in shared.heard.hosts if shared.heard else ():
        is_here = shared.sharing is not None and each.host == shared.sharing.host
        said = "this host" if is_here else f"seen {wording.age(each.ago_ms / 1_000)} before this host"
        merged = wording.many(each.position, "entry")
        yield "host", wording.printable(f"{each.host}, {merged} decided, {each.program}, {said}")


def _cells(shard: ShardHealth) -> tuple[str, ...]:
    lag = wording.age(shard.lag_s) if shard.waiting else "-"
    head = "?" if shard.head is None else str(shard.head)
    counts = (head, str(shard.merged), str(shard.waiting), lag, f"{shard.rate_per_minute:g}")
    return (
        shard.profile,
        *counts,
        shard.state,
        wording.clip(shard.problem, LONGEST_PROBLEM) or NO_PROBLEM,
    )


def _state(shard: ShardHealth) -> str:
    return f"{shard.state}: {shard.why}" if shard.why else shard.state


def _drawn(health: Health, width: int) -> RenderableType:
    """For a terminal of ``width`` columns. A narrow one goes without HEAD and PER MIN, which the others imply; problems
    have lines of their own."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, said in _lines(health):
        facts.add_row(Text(name, style="bold"), Text(said))
    table = Table(box=box.SIMPLE_HEAD)
    left_out = {"LAST PROBLEM"} | ({"HEAD", "PER MIN"} if width < NARROW else set())
    shown = [header for header in HEADERS if header not in left_out]
    for header in shown:
        side: JustifyMethod = "right" if header in NUMBERS else "left"
        most = width // 3 if header == "PROFILE" else None
        table.add_column(header, justify=side, no_wrap=True, max_width=most)
    for shard in health.shards:
        color = {HEALTHY: "green", AWAY: "cyan"}.get(shard.state, "red")
        cells: dict[str, str] = dict(zip(HEADERS, map(wording.printable, _cells(shard)), strict=True))
        table.add_row(*(Text(cells[name], style=color if name == "STATE" else "") for name in shown))
    troubles = [(shard.profile, _cells(shard)[-1]) for shard in health.shards]
    told = [Text(wording.printable(f"{profile}: {trouble}")) for profile, trouble in troubles if trouble != NO_PROBLEM]
    sentences = [Text(wording.printable(problem.sentence), style=COLORS[problem.level]) for problem in problems(health)]
    return Group(facts, *([table] if health.shards else []), *told, *sentences)
