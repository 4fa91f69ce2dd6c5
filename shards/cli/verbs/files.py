"""Files that belong to tasks: copies of them, kept beside the board."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import click

from kanban_shards import wording
from kanban_shards.cli import text
from kanban_shards.cli.params import POSITIVE
from kanban_shards.cli.session import TASK, Session, answer, json_option
from kanban_shards.errors import UnknownAttachment
from kanban_shards.paths import expanded


@click.command()
@click.argument("task_id", type=TASK)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--content-type", metavar="MIME", help="Else guessed from the name.")
@click.option("--name", help="What it is called there; else the file's own name.")
@click.option("--author", metavar="NAME", help="Who attached it; else the profile.")
@json_option
@click.pass_obj
def attach(
    session: Session,
    task_id: str,
    path: Path,
    content_type: str | None,
    name: str | None,
    author: str | None,
    as_json: bool,
) -> None:
    """Keep a copy of a file with a task; at most 25 MiB."""
    gateway = session.gateway()
    kind = content_type or mimetypes.guess_type(name or path.name)[0]
    number = gateway.attach(
        task_id, expanded(path), name=name, content_type=kind, uploaded_by=author or gateway.profile
    )
    kept = gateway.board.attachment(number)
    if kept is None:  # removed meanwhile
        raise UnknownAttachment(attachment_id=number, board=gateway.paths)
    said = f"Attached {kept.filename} to {task_id} (attachment {number}, {wording.many(kept.size, 'byte')})"
    answer(as_json, {"ok": True, "attachment_id": number, **kept.as_dict()}, said)


@click.command()
@click.argument("task_id", type=TASK)
@json_option
@click.pass_obj
def attachments(session: Session, task_id: str, as_json: bool) -> None:
    """Show the files of a task, and where they lie."""
    board = session.board()
    board.known_task(task_id)
    found = board.attachments(task_id)
    if as_json:
        text.print_json([each.as_dict() for each in found])
        return
    text.say(f"Attachments on {task_id}:" if found else f"No attachments on {task_id}")
    for each in found:
        kind = each.content_type or "-"
        facts = f"{wording.many(each.size, 'byte')}, {kind}, by {each.uploaded_by or '-'}"
        text.say(wording.printable(f"  [{each.id}] {each.filename}  ({facts})"))
        text.say(wording.printable(f"        {each.whereabouts}"))


@click.command("attach-rm")
@click.argument("attachment_id", type=POSITIVE)
@json_option
@click.pass_obj
def attach_rm(session: Session, attachment_id: int, as_json: bool) -> None:
    """Delete a file from its task."""
    gateway = session.gateway()
    kept = session.board().attachment(attachment_id)
    if kept is None or not gateway.detach(kept.task_id, attachment_id):
        raise UnknownAttachment(attachment_id=attachment_id, board=gateway.paths)
    value = {"ok": True, "task_id": kept.task_id, "attachment_id": attachment_id, "filename": kept.filename}
    answer(as_json, value, f"Deleted attachment {attachment_id} ({kept.filename}) from {kept.task_id}")
