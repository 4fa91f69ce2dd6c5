"""How the demo looks: a live table on a terminal, a line a second elsewhere, and a few sentences at the end.

Rich is imported here, and by coordinator/cli/status_view.py on a terminal; nothing but the demo imports this.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kanban_shards.cli import text
from kanban_shards.coordinator.demo.check import Checked
from kanban_shards.coordinator.demo.outcome import Outcome, Picture, Show

COLUMNS = {
    "profile": "profile",
    "created": "created",
    "claimed": "claimed",
    "completed": "done",
    "lost_races": "lost races",
    "comments": "comments",
    "written": "written",
    "merged": "merged",
    "waiting": "waiting",
}
BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 30
# The length of the bar that shows the time.
BAR = 30
LINE_EVERY_S = 1.0


@contextmanager
def live(team: list[str], chaos: bool) -> Iterator[Show]:
    """A table that is redrawn with every Picture, and stays when it is over."""
    console = Console(highlight=False)
    console.print(_headline(team, chaos))
    console.print()
    with Live(console=console, auto_refresh=False) as screen:
        yield lambda picture: screen.update(_drawn(picture), refresh=True)
    console.print()


@contextmanager
def lines(team: list[str], chaos: bool) -> Iterator[Show]:
    """A plain line a second, and one for each new phase."""
    text.say(_headline(team, chaos))
    shown_phase, shown_at = "", 0.0

    def show(picture: Picture) -> None:
        nonlocal shown_phase, shown_at
        now = time.monotonic()
        if picture.phase == "over" or (picture.phase == shown_phase and now - shown_at < LINE_EVERY_S):
            return
        shown_phase, shown_at = picture.phase, now
        figures = " · ".join(filter(None, (_speed(picture), _losses(picture))))
        text.say(f"{picture.elapsed_s:5.1f} s  {picture.phase}: {figures}")

    yield show
    text.say()


@contextmanager
def nothing(team: list[str], chaos: bool) -> Iterator[Show]:
    """For programs, which get the outcome alone."""
    yield lambda picture: None


def tell(outcome: Outcome) -> None:
    """What it came to, in a few sentences."""
    checked = outcome.checked
    if outcome.interrupted:
        text.say("Ended early, as you asked; what was written until then is merged and checked all the same.")
    text.say(
        f"{_n(len(outcome.profiles), 'profile')} wrote {_n(checked.changes, 'change')} in {outcome.seconds:g} s, "
        f"each into its own file; {outcome.merged_per_s:,.0f} a second were merged."
    )
    if outcome.median_ms is not None:
        text.say(f"A verdict took {outcome.median_ms:g} ms in the median, {outcome.slowest_ms:,.0f} ms at most.")
    if checked.refused:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in checked.refused.items())
        text.say(f"Refused, and kept whole: {sum(checked.refused.values()):,} ({reasons}).")
    if outcome.killed:
        text.say(f"Killed with -9: {_killed(outcome.killed)}.")
    if checked.expired:
        text.say(f"{_n(checked.expired, 'abandoned run')} ended with the lease; the tasks are back.")
    text.say()
    if outcome.clean:
        _tell_what_holds(checked)
    else:
        for problem in checked.problems:
            text.say(f"  ✗ {problem}", fg="red")
        text.say()
        text.say("not clean: this must not happen; please report it, with a board from --keep DIR", fg="red")
    _tell_what_next(outcome)


def _tell_what_holds(checked: Checked) -> None:
    for good in (
        f"integrity_check finds nothing in {_n(checked.files, 'file')}",
        f"{_n(checked.acknowledged, 'acknowledged change')}, each once in the ledger and with one verdict",
        f"{_n(checked.runs, 'run')} of {_n(checked.tasks, 'task')}, never two of one task at a time",
        f"{_n(checked.entries, 'ledger entry', 'ledger entries')} replayed give the board, {_n(checked.rows, 'row')}, "
        "row for row",
    ):
        text.say(f" {good}", lead="  ✓", lead_fg="green")
    text.say()
    text.say("clean", fg="green", bold=True)


def _tell_what_next(outcome: Outcome) -> None:
    if not outcome.kept:
        text.say("The board is gone again. --keep DIR leaves it to look at; --chaos kills them while they work.")
        return
    text.say(f"\nThe board is in {outcome.kept}. Look around:")
    for command in ("kanban --home {} list", "kanban-merge --home {} refusals", "kanban-merge --home {} verify"):
        text.say(f"  {command.format(outcome.kept)}")


def _headline(team: list[str], chaos: bool) -> str:
    who = f"{', '.join(team[:-1])} and {team[-1]} work" if team[1:] else f"{team[0]} works"
    killing = " Every half second one of them is killed with -9." if chaos else ""
    return f"{who} on one board, each in a file of its own; a daemon merges.{killing}"


def _drawn(picture: Picture) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_footer=True)
    for key, title in COLUMNS.items():
        total = "all" if key == "profile" else f"{sum(row[key] for row in picture.rows):,}"
        table.add_column(
            title, total, justify="left" if key == "profile" else "right", footer_style="bold", no_wrap=True
        )
    for row in picture.rows:
        table.add_row(*(_cell(key, row[key]) for key in COLUMNS))
    rates = picture.rates[-BARS_SHOWN:]
    top = max(rates, default=0) or 1
    bars = "".join(BARS[min(len(BARS) - 1, int(rate / top * len(BARS)))] for rate in rates)
    done = min(1.0, picture.elapsed_s / picture.seconds)
    losses = _losses(picture)
    return Group(
        table,
        Text(),
        Text.assemble(_speed(picture), "  ", (bars, "green")),
        *([Text(losses, "red")] if losses else []),
        Text.assemble(
            ("━" * round(done * BAR), "cyan"),
            ("━" * (BAR - round(done * BAR)), "bright_black"),
            f"  {picture.elapsed_s:.1f} of {picture.seconds:g} s  ",
            (picture.phase, "italic"),
        ),
    )


def _cell(key: str, value: str | int) -> Text:
    if isinstance(value, str):
        return Text(value, "cyan")
    style = {"lost_races": "yellow", "merged": "green", "waiting": "red"}.get(key, "") if value else "bright_black"
    return Text(f"{value:,}", style)


def _speed(picture: Picture) -> str:
    parts = [f"{picture.merged:,} merged"]
    if picture.rates:
        parts.append(f"{picture.rates[-1]:,.0f}/s")
    if picture.median_ms is not None:
        parts.append(f"verdict in {picture.median_ms:.1f} ms (median)")
    return " · ".join(parts)


def _losses(picture: Picture) -> str:
    killed = f"killed {_killed(picture.killed)}" if picture.killed else ""
    expired = f"{picture.expired} expired" if picture.expired else ""
    return " · ".join(filter(None, (killed, expired)))


def _killed(killed: dict[str, int]) -> str:
    parts = []
    if killed.get("workers"):
        parts.append(_n(killed["workers"], "worker"))
    if killed.get("daemon"):
        times = {1: "once", 2: "twice"}.get(killed["daemon"], f"{killed['daemon']} times")
        parts.append(f"the daemon {times}")
    return " and ".join(parts)


def _n(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
