"""The board as tools for an agent, over MCP."""

from __future__ import annotations

import signal
import sys

import click

from kanban_shards.cli import text
from kanban_shards.cli.session import Session
from kanban_shards.errors import ExtraMissing

# Long enough for a client to be started anew, and short enough that a task does not wait long for a client that died.
LEASE_S = 120


@click.command()
@click.option("--ttl", "lease_s", type=click.IntRange(1, 86_400), metavar="N", default=LEASE_S, show_default=True,
              help="Seconds that a run outlives this server, if it is not completed.")  # fmt: skip
@click.pass_obj
def mcp(session: Session, lease_s: int) -> None:
    """Serve the board to an agent, as tools over MCP. It is the agent's program that starts this, and ends it.

    Speaks the protocol on standard input and output until its client closes them. All that the agent does is done as
    --profile. A run that it claims is kept alive for as long as this lives. docs/mcp.md: what to write into the
    configuration of Claude Code, Codex and Hermes.
    """
    if session.profile is None:  # whom somebody chose for a terminal is no agent
        raise click.UsageError("Say as whom the agent works: kanban --profile NAME mcp.")
    gateway = session.gateway()
    try:
        from kanban_shards.mcp.server import serve
    except ImportError as error:  # of a package that is not there, or is older than the extra asks for
        if (error.name or "").startswith("kanban_shards"):
            raise
        raise ExtraMissing(package="the package mcp, version 2", extra="mcp") from error
    if sys.stdin.isatty():
        text.say("This speaks MCP, and is for an agent's program to start (docs/mcp.md). Ctrl-C ends it.", err=True)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # else it would wait for a line of the client's
    serve(gateway, lease_s)
