"""``python -m benchmarks``: what things cost on this machine, with what they are compared with in the same run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import (
    board_size,
    browsers,
    chaos,
    disk,
    figures,
    hermes_venv,
    hosts,
    idle,
    machine,
    merge,
    push,
    reading,
    round_trip,
    side_by_side,
    start_up,
    targets,
    threads,
    year,
)
from benchmarks.figures import FIGURES

NewFolder = Callable[[], Path]


class Numbers(click.ParamType):
    """Whole numbers with commas between them."""

    name = "N,N,…"

    def convert(self, value: str | tuple, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """The numbers, each 1 or more."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(map(int, value.split(",")))
        except ValueError:
            self.fail(f"{value} is not a list of whole numbers like 1,2,4", param, ctx)
        if min(numbers) < 1:
            self.fail("each number must be 1 or more", param, ctx)
        return numbers


class FaultsFound(click.ClickException):
    """This project lost, doubled or damaged something, or a call failed."""

    exit_code = 1


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--folder", type=click.Path(file_okay=False, exists=True), help="Where the boards are made.")
@click.option("--hermes-python", metavar="PATH", help="The python of the virtual environment of hermes-agent.")
@click.option("--install", is_flag=True, help="Install hermes-agent for this run.")
@click.pass_context
def main(ctx: click.Context, folder: str | None, hermes_python: str | None, install: bool) -> None:
    """Measure this project on this machine. Each line says what it is, and what it is to be compared with.

    Without --hermes-python and --install, the hermes on the PATH is taken. What is not installed is skipped, and named.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling every module in every process is nobody's usual cost
    root = Path(ctx.with_resource(tempfile.TemporaryDirectory(prefix="kanban-benchmark-", dir=folder)))
    ctx.obj = lambda: Path(tempfile.mkdtemp(dir=root))
    hermes_venv.choose(hermes_python, ctx.obj() if install else None)


@main.command("round-trip")
@click.option("--claims", type=click.IntRange(10), default=500)
@click.pass_obj
def run_round_trip(new_folder: NewFolder, claims: int) -> None:
    """A claim, from the call to its verdict, with an idle daemon; against one commit of the same disk."""
    round_trip.measure(new_folder(), claims)


@main.command("board-size")
@click.option("--sizes", type=Numbers(), default="1000,100000")
@click.option("--passes", type=click.IntRange(10), default=200)
@click.pass_obj
def run_board_size(new_folder: NewFolder, sizes: tuple[int, ...], passes: int) -> None:
    """A pass of one change into boards of several sizes, in turn."""
    board_size.measure(new_folder(), sizes, passes)


@main.command("reading")
@click.option("--tasks", type=click.IntRange(50), default=50_000)
@click.option("--runs", type=click.IntRange(1), default=5)
@click.option("--looks", type=click.IntRange(1), default=20)
@click.pass_obj
def run_reading(new_folder: NewFolder, tasks: int, runs: int, looks: int) -> None:
    """What commands that read cost on a large board and on a small one, and looks into the past."""
    reading.measure(new_folder(), tasks, runs, looks)


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


@main.command("threads")
@click.option("--threads", "count", type=click.IntRange(2), default=8)
@click.option("--comments", type=click.IntRange(10), default=4_000)
@click.pass_obj
def run_threads(new_folder: NewFolder, count: int, comments: int) -> None:
    """Comments by several threads of one gateway, against one thread."""
    threads.measure(new_folder(), count, comments)


@main.command("idle")
@click.option("--shards", type=Numbers(), default="5,50,200")
@click.option("--boards", type=click.IntRange(1), default=45)
@click.option("--seconds", type=click.FloatRange(1), default=20.0)
@click.pass_obj
def run_idle(new_folder: NewFolder, shards: tuple[int, ...], boards: int, seconds: float) -> None:
    """The CPU that a daemon takes while nothing happens."""
    idle.measure(new_folder(), shards, boards, seconds)


@main.command("start-up")
@click.option("--runs", type=click.IntRange(2), default=15)
@click.pass_obj
def run_start_up(new_folder: NewFolder, runs: int) -> None:
    """The CPU and the memory of one call of a command."""
    start_up.measure(new_folder(), runs)


@main.command("disk")
@click.option("--tasks", type=click.IntRange(1), default=500)
@click.pass_obj
def run_disk(new_folder: NewFolder, tasks: int) -> None:
    """The bytes on disk for each change, of this project and of its peers."""
    disk.measure(tasks, new_folder)


@main.command("web")
@click.option("--tasks", type=click.IntRange(10), default=50_000)
@click.option("--browsers", "count", type=click.IntRange(1), default=20)
@click.option("--looks", type=click.IntRange(1), default=10)
@click.option("--seconds", type=click.FloatRange(1), default=20.0)
@click.pass_obj
def run_web(new_folder: NewFolder, tasks: int, count: int, looks: int, seconds: float) -> None:
    """A look at each page that `kanban web` serves, and what it costs while browsers follow."""
    browsers.measure(new_folder(), tasks, count, looks, seconds)


@main.command("hosts")
@click.option("--claims", type=click.IntRange(5), default=200)
@click.option("--batch", type=click.IntRange(10), default=10_000, help="Changes that each of two hosts hands over.")
@click.pass_obj
def run_hosts(new_folder: NewFolder, claims: int, batch: int) -> None:
    """A board that two hosts share, over a real PostgreSQL, against a local one."""
    hosts.measure(new_folder(), claims, batch)


@main.command("peers")
@click.option("--work", type=click.Choice(list(side_by_side.WORKS)), default="board")
@click.option("--profiles", type=Numbers(), default="1,2,4,8,16")
@click.option("--rounds", type=click.IntRange(1), default=3)
@click.option("--seconds", type=click.FloatRange(0.1), default=3.0)
@click.pass_obj
def run_peers(new_folder: NewFolder, work: str, profiles: tuple[int, ...], rounds: int, seconds: float) -> None:
    """The same work on this project and on what a user would pick instead, side by side.

    Ends with exit code 1 if this project lost, doubled or damaged something, or a call of it failed.
    """
    found = side_by_side.measure(work, profiles, rounds, seconds, new_folder)
    if work == "board":
        targets.say_targets(found)
        targets.say_bridged(found)
    if work.startswith("tasks"):
        targets.say_batches(found)
    targets.say_faults(found)
    if any(one.ours and one.wrong.faults for one in found):
        raise FaultsFound("this project lost, doubled or damaged something, or a call of it failed; see above")


@main.command("all")
@click.option("--json", "kept", type=click.Path(dir_okay=False, path_type=Path), default="figures.json")
@click.option("--rounds", type=click.IntRange(1), default=3, help="Of the work that is done side by side.")
@click.pass_context
def run_all(ctx: click.Context, kept: Path, rounds: int) -> None:
    """Everything, for the page of figures. It takes about half an hour, and the machine should do nothing else."""
    faults = []
    for work, options in side_by_side.AT_LENGTH.items():
        try:
            ctx.invoke(run_peers, work=work, rounds=rounds, **options)
        except FaultsFound as error:  # the other figures are wanted all the same
            faults.append(error)
        FIGURES.save(kept, machine.facts(ctx.obj()))
    for command, options in (
        (run_merge, {"changes": 100_000}),
        (run_board_size, {"sizes": (1_000, 10_000, 100_000, 1_000_000), "passes": 200}),
        (run_reading, {"tasks": 50_000, "runs": 5, "looks": 20}),
        (run_round_trip, {"claims": 500}),
        (run_push, {"events": 500}),
        (run_threads, {"count": 8, "comments": 4_000}),
        (run_start_up, {"runs": 15}),
        (run_idle, {"shards": (5, 50, 200), "boards": 45, "seconds": 20.0}),
        (run_disk, {"tasks": 500}),
        (run_hosts, {"claims": 200, "batch": 10_000}),
    ):
        ctx.invoke(command, **options)
        FIGURES.save(kept, machine.facts(ctx.obj()))
    if faults:
        raise faults[0]


@main.command("page")
@click.argument("kept", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def write_page(kept: Path) -> None:
    """The page docs/figures.md on standard output, from the JSON that ``all`` kept."""
    click.echo(figures.page(kept), nl=False)


main.add_command(chaos.chaos)


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
    ctx.invoke(run_board_size, sizes=(50, 200), passes=10)
    ctx.invoke(run_reading, tasks=60, runs=1, looks=2)
    ctx.invoke(run_merge, changes=200)
    ctx.invoke(run_push, events=10)
    ctx.invoke(run_threads, count=2, comments=10)
    ctx.invoke(run_idle, shards=(3,), boards=2, seconds=1.0)
    ctx.invoke(run_start_up, runs=2)
    ctx.invoke(run_disk, tasks=3)
    ctx.invoke(run_hosts, claims=5, batch=20)
    ctx.invoke(run_web, tasks=20, count=2, looks=1, seconds=1.0)
    for work in side_by_side.WORKS:
        ctx.invoke(run_peers, work=work, profiles=(1,), rounds=1, seconds=0.1)
    ctx.invoke(chaos.chaos, minutes=0.1, profiles=2, seed=1)
    ctx.invoke(run_year, profiles=2, tasks=2, months=2, days=2)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
