"""What was done to a task: ``history``."""

from __future__ import annotations

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.session import TASK, json_option
from kanban_shards.coordinator.history.replayed_boards import ReplayedHistory
from kanban_shards.paths import BoardPaths


@click.command()
@click.argument("task_id", type=TASK, metavar="TASK")
@json_option
@click.pass_obj
def history(paths: BoardPaths, task_id: str, as_json: bool) -> None:
    """Show each change of a task, oldest first: who wrote it, and what became of it.

    Refused ones are shown, too, and what the author of a change had not seen when it was written. The number is the
    position in the ledger, for `kanban show TASK --at NUMBER`.
    """
    with ReplayedHistory(paths) as opened:
        found = opened.of_task(task_id)
    if as_json:
        text.print_json(found.as_dict())
        return
    if dropped := found.dropped_sentence():
        text.say(dropped, fg="yellow")
    for change in found.changes:
        line = f"{change.position:>7}  {wording.when(change.at_ms // 1000)}  {change.sentence}"
        text.say(wording.printable(line), fg="yellow" if change.verdict == "refused" else None)
    if not found.changes:
        text.say(f"Nothing that was done to {task_id} is kept.")
