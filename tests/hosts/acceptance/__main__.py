"""``python -m tests.hosts.acceptance``: several hosts of one board at length."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from tests.far.fixtures import folder_for_sockets, programs
from tests.far.server import Server
from tests.hosts.acceptance.campaign import Campaign, Outcome, Plan


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--minutes", type=click.FloatRange(0.05), default=10.0)
@click.option("--hosts", type=click.IntRange(2, 3), default=2)
@click.option("--seed", type=int, help="What happens when; drawn and said if it is not given.")
@click.option("--keep", is_flag=True, help="Keep the homes and logs.")
def main(minutes: float, hosts: int, seed: int | None, keep: bool) -> None:
    """Hosts with daemons and gateways that race for tasks, through a network that delays, is cut and goes silent; kill
    -9 of daemons, carriers and gateways; crashes of the server, a tail that it loses, a clock ten minutes wrong.

    Ends with exit code 1 if something that must hold does not.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
    seed = random.randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="kanban-hosts-"))
    try:
        with ExitStack() as opened:
            server = Server(opened.enter_context(folder_for_sockets()), opened.enter_context(programs()))
            server.initialize()
            server.start()
            opened.callback(lambda: server.is_running and server.stop("immediate"))
            outcome = Campaign(folder / "hosts", server, Plan(minutes * 60, hosts, seed)).play()
        tell(outcome)
    finally:
        if keep:
            click.echo(f"the homes are in {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if outcome.faults else 0)


def tell(outcome: Outcome) -> None:
    """The figures, and every fault."""
    for what, counted in (("done to them", outcome.blows), ("acknowledged", outcome.noted)):
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(counted.items()))
        click.echo(f"{what}: {said or 'nothing'}")
    click.echo(f"{outcome.entries} entries; settled in {outcome.settled_s:.1f} s")
    for fault in outcome.faults:
        click.echo(f"FAULT: {fault}")
    click.echo(f"{len(outcome.faults)} faults")


if __name__ == "__main__":
    main(prog_name="python -m tests.hosts.acceptance")
