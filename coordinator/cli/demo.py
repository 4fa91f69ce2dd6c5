"""``kanban-merge demo``: see it work."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from kanban_shards.cli import text
from kanban_shards.cli.session import json_option
from kanban_shards.coordinator.cli.demo_view import lines, live, nothing, tell
from kanban_shards.coordinator.demo.story import run_demo
from kanban_shards.errors import NEEDS_ATTENTION


@click.command()
@click.option("--seconds", type=click.FloatRange(0.1), default=8.0, show_default=True, help="How long they work.")
@click.option("--profiles", metavar="A,B,…", default="default,bingge,pixiel,mafei", show_default=True)
@click.option("--keep", metavar="DIR", type=click.Path(file_okay=False), help="Leave the board in this new folder.")
@click.option("--chaos", is_flag=True, help="Kill -9 workers and the daemon at random.")
@json_option
@click.pass_context
def demo(ctx: click.Context, seconds: float, profiles: str, keep: str | None, chaos: bool, as_json: bool) -> None:
    """Watch several profiles work on one board, on a board of its own, and see it checked."""
    outcome = run_demo(
        profiles.split(","), seconds, keep, chaos, nothing if as_json else live if sys.stdout.isatty() else lines
    )
    if as_json:
        text.print_json({"clean": outcome.clean, **asdict(outcome)})
    else:
        tell(outcome)
    if not outcome.clean:
        ctx.exit(NEEDS_ATTENTION)
