"""The board in a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import replace

import click

from kanban_shards.cards import Picture, look, look_now
from kanban_shards.cli import text
from kanban_shards.cli.params import NOBODY, POSITIVE
from kanban_shards.cli.session import Session, complete_profiles, json_option, past_option, say_when
from kanban_shards.errors import ExtraMissing
from kanban_shards.filters import NOBODY as NONE
from kanban_shards.filters import Filters
from kanban_shards.heard import silence
from kanban_shards.moments import Past
from kanban_shards.past import PastBoard
from kanban_shards.records import STATUSES, Status


@click.command()
@click.option("--mine", is_flag=True, help="Tasks that are assigned to --profile.")
@click.option("--assignee", metavar="PROFILE", default="", shell_complete=complete_profiles,
              help="Assigned to this profile; none: to nobody.")  # fmt: skip
@click.option("--tenant", metavar="NAME", default="", help="Of this tenant; none: of no tenant.")
@click.option("--status", "statuses", type=click.Choice(STATUSES), metavar="STATUS", multiple=True,
              help=f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}; may be repeated.")  # fmt: skip
@click.option("--search", "words", metavar="TEXT", default="", help="With this in the title, the text or the id.")
@click.option("--needs-person", "needs", is_flag=True, help="That a person has to do something about.")
@click.option("--once", is_flag=True, help="Print it, and end. So it is where the output is no terminal.")
@click.option("--limit", type=POSITIVE, default=10, show_default=True, metavar="N",
              help="At most N cards of a column are printed.")  # fmt: skip
@past_option
@json_option
@click.pass_obj
def board(
    session: Session,
    mine: bool,
    assignee: str,
    tenant: str,
    statuses: tuple[Status, ...],
    words: str,
    needs: bool,
    once: bool,
    limit: int,
    past: Past | None,
    as_json: bool,
) -> None:
    """Show the board in columns, live. It changes by itself as things are merged.

    Arrows move, enter shows a task, / looks for tasks, q ends it. Reads only. --once, --at and --json print it once.
    """
    if mine:
        assignee = session.whoever_asks()
    filters = Filters(words, _or_none(assignee), _or_none(tenant), statuses, needs)
    is_terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if once or past or as_json or not is_terminal:
        _print(session, replace(filters, more=dict.fromkeys(STATUSES, limit)), past, as_json)
        return
    try:
        from kanban_shards.terminal.board_app import BoardApp
    except ImportError as error:
        if (error.name or "").startswith("kanban_shards"):
            raise
        raise ExtraMissing(package="textual", extra="terminal") from error
    shown = session.board()
    BoardApp(shown, filters, look_now(shown, filters)).run()


def _or_none(name: str) -> str:
    return NONE if name.lower() in NOBODY else name


def _print(session: Session, filters: Filters, past: Past | None, as_json: bool) -> None:
    from kanban_shards.terminal.printed import drawn  # rich, which a command that prints JSON need not load

    shown = session.board(past)
    picture = look_now(shown, filters) if past is None else look(shown, filters)
    if as_json:
        text.print_json(_as_json(picture))
        return
    say_when(shown)
    now_s = shown.at_ms / 1000 if isinstance(shown, PastBoard) and shown.at_ms else time.time()
    width = shutil.get_terminal_size().columns
    text.print_drawn(drawn(picture, width, now_s), width)
    if past is None and (silent := silence(shown.paths, now_s)):
        text.say(silent, fg="yellow")


def _as_json(picture: Picture) -> dict[str, object]:
    columns = [column for lane in picture.lanes for column in lane.columns]
    return {
        "position": picture.position,
        "columns": [
            {"status": each.status, "count": each.count, "tasks": [vars(card) for card in each.cards]}
            for each in columns
        ],
    }
