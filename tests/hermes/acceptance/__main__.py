"""``python -m tests.hermes.acceptance``: the real Hermes on a board of ours, or on its own, at length."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from tests.hermes import environments
from tests.hermes.acceptance import chat
from tests.hermes.acceptance.campaign import Outcome, Plan, play

TASKS_A_MINUTE = 8
KILLS_A_MINUTE = 6


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--minutes", type=click.FloatRange(0.1), default=10.0)
@click.option("--seed", type=int, help="What is killed when; drawn and said if it is not given.")
@click.option("--unmodified", is_flag=True, help="The released Hermes on its own board, to see that this can fail.")
@click.option("--hermes", type=click.Path(file_okay=False), help="Where its environments are made or found.")
@click.option("--keep", is_flag=True, help="Keep the logs.")
def main(minutes: float, seed: int | None, unmodified: bool, hermes: str | None, keep: bool) -> None:
    """Four gateways, workers, load; kill -9 of gateways, workers and the daemon.

    Ends with exit code 1 if something that must hold does not.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
    seed = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="kanban-acceptance-"))
    made = Path(hermes or os.environ.get(environments.FOLDER) or folder / "hermes").absolute()
    plan = Plan(minutes * 60, round(minutes * TASKS_A_MINUTE) or 1, round(minutes * KILLS_A_MINUTE), seed)
    try:
        environment = environments.plain(made) if unmodified else environments.bridged(made)
        with chat.serving() as heard:
            outcome = play(environment, folder / "fleet", heard, plan, ours=not unmodified)
        tell(outcome)
    finally:
        if keep:
            click.echo(f"the logs are in {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if outcome.faults else 0)


def tell(outcome: Outcome) -> None:
    """The figures, and every fault."""
    kills = ", ".join(f"{count} of {kind}s" for kind, count in outcome.killed.items()) or "none"
    click.echo(f"{outcome.seconds:.0f} s; kill -9: {kills}")
    click.echo(f"{len(outcome.asked)} tasks asked for, {outcome.workers} workers, {outcome.told} messages sent")
    click.echo(f"{outcome.acknowledged} tasks of the load acknowledged")
    for fault in outcome.faults:
        click.echo(f"FAULT: {fault}")
    click.echo(f"{len(outcome.faults)} faults")


if __name__ == "__main__":
    main(prog_name="python -m tests.hermes.acceptance")
