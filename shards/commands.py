"""What the two commands share: options, and how an error ends."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, NoReturn

import click

from shards.errors import CannotOpen, KanbanError, Refused

EXIT_CODES = """\b
Exit codes:
  0  done
  1  refused, or not possible as things stand (the sentence says why)
  2  wrong usage
  3  a file cannot be used: missing, damaged, newer, not writable, disk full
  4  written, but not decided yet
  5  another coordinator runs
  6  done, but something needs a person: a quarantined shard, a failed check"""

NEEDS_ATTENTION = 6
# Larger numbers are no ids and no counts, and SQLite could not hold all of them.
LARGEST = 2**53

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
board_option = click.option("--board", metavar="SLUG", help="Which board; else the one that Hermes would take.")
home_option = click.option(
    "--home", metavar="DIR", type=click.Path(file_okay=False), help="The Hermes home, in place of ~/.hermes."
)


class Group(click.Group):
    """A group that ends errors with their sentence and exit code, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            answer = super().invoke(ctx)
            ctx.close()  # here, because closing a gateway makes its last pass, and that may fail as a command does
            return answer
        except KanbanError as error:
            _fail(ctx, error)
        except PermissionError as error:  # of a folder that this user may not even look into
            _fail(ctx, CannotOpen(path=error.filename, problem="permission denied"))


def _fail(ctx: click.Context, error: KanbanError) -> NoReturn:
    _say(ctx, error)
    with contextlib.suppress(KanbanError):
        ctx.close()
    ctx.exit(error.exit_code)


def _say(ctx: click.Context, error: KanbanError) -> None:
    name = ctx.find_root().info_name
    click.secho(f"{name}: {error}", fg="red", err=True)
    if "--json" in sys.argv[1:]:
        word = error.reason if isinstance(error, Refused) else type(error).__name__
        click.echo(json.dumps({"ok": False, "error": word, "message": str(error)}, ensure_ascii=False))
