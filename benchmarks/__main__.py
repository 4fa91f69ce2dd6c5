"""``python -m benchmarks``: what things cost on this machine, with what they are compared with in the same run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import board_size, fairness, idle, merge, push, round_trip, start_up, year

NewFolder = Callable[[], Path]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--folder", type=click.Path(file_okay=False, exists=True), help="Where the boards are made.")
@click.pass_context
def main(ctx: click.Context, folder: str | None) -> None:
    """Measure this project on this machine. Each line says what it is, and what it is to be compared with."""
    root = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="kanban-benchmark-", dir=folder)))
    ctx.obj = lambda: Path(tempfile.mkdtemp(dir=root))


@main.command("round-trip")
@click.option("--claims", type=click.IntRange(10), default=500)
@click.pass_obj
def run_round_trip(new_folder: NewFolder, claims: int) -> None:
    """A claim, from the call to its verdict, with an idle daemon; against one commit of the same disk."""
    round_trip.measure(new_folder(), claims)


@main.command("fairness")
@click.option("--gateways", type=click.IntRange(2), default=8)
@click.option("--seconds", type=click.FloatRange(0.5), default=5.0)
@click.pass_obj
def run_fairness(new_folder: NewFolder, gateways: int, seconds: float) -> None:
    """Gateways that write as fast as they can, each its own profile: the slowest against the mean."""
    fairness.measure(new_folder(), gateways, seconds)


@main.command("board-size")
@click.option("--small", type=click.IntRange(10), default=1_000)
@click.option("--large", type=click.IntRange(10), default=100_000)
@click.option("--passes", type=click.IntRange(10), default=200)
@click.pass_obj
def run_board_size(new_folder: NewFolder, small: int, large: int, passes: int) -> None:
    """A pass of one change into a small and into a large board."""
    board_size.measure(new_folder(), small, large, passes)


@main.command("merge")
@click.option("--changes", type=click.IntRange(100), default=20_000)
@click.pass_obj
def run_merge(new_folder: NewFolder, changes: int) -> None:
    """Changes merged and replayed in one second."""
    merge.measure(new_folder(), changes)


@main.command("push")
@click.option("--events", type=click.IntRange(10), default=500)
@click.pass_obj
def run_push(new_folder: NewFolder, events: int) -> None:
    """From a call to its event in somebody else's hands, with an idle daemon."""
    push.measure(new_folder(), events)


@main.command("idle")
@click.option("--shards", type=click.IntRange(1), default=50)
@click.option("--seconds", type=click.FloatRange(1), default=20.0)
@click.pass_obj
def run_idle(new_folder: NewFolder, shards: int, seconds: float) -> None:
    """The CPU that a daemon takes while nothing happens."""
    idle.measure(new_folder(), shards, seconds)


@main.command("start-up")
@click.option("--runs", type=click.IntRange(2), default=15)
@click.pass_obj
def run_start_up(new_folder: NewFolder, runs: int) -> None:
    """The CPU of a command that only reads."""
    start_up.measure(new_folder(), runs)


@main.command("year")
@click.option("--profiles", type=click.IntRange(2), default=8)
@click.option("--tasks", type=click.IntRange(1), default=25, help="Made, discussed and done in one day.")
@click.option("--months", type=click.IntRange(1), default=12)
@click.option("--days", type=click.IntRange(1), default=30, help="Days of a month.")
@click.pass_obj
def run_year(new_folder: NewFolder, profiles: int, tasks: int, months: int, days: int) -> None:
    """A year of a busy fleet: how large each file is at the end of each month, with and without compaction."""
    year.measure(new_folder(), profiles, tasks, months, days)


@main.command("smoke")
@click.pass_context
def run_smoke(ctx: click.Context) -> None:
    """Each benchmark at its smallest size, to see that it still runs."""
    ctx.invoke(run_round_trip, claims=10)
    ctx.invoke(run_fairness, gateways=2, seconds=0.5)
    ctx.invoke(run_board_size, small=50, large=200, passes=10)
    ctx.invoke(run_merge, changes=200)
    ctx.invoke(run_push, events=10)
    ctx.invoke(run_idle, shards=3, seconds=1.0)
    ctx.invoke(run_start_up, runs=2)
    ctx.invoke(run_year, profiles=2, tasks=2, months=2, days=2)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
