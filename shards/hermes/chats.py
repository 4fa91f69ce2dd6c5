"""Comments and attachments, by Hermes's functions of these names."""

from __future__ import annotations

from kanban_shards import attachments
from kanban_shards.changes.kinds import AddComment, Attach, Detach
from kanban_shards.errors import InvalidTaskId, UnknownTask
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import writer_of
from kanban_shards.hermes.upstream import Hermes, UpstreamAttachment
from kanban_shards.hermes.verbs import applies


def add_comment(hermes: Hermes, conn: BoardConnection, task_id: str, author: str, body: str) -> int:
    """The comment's id. Raises ValueError for words that say nothing, and for an unknown task."""
    if not body or not body.strip():
        raise ValueError("comment body is required")
    if not author or not author.strip():
        raise ValueError("comment author is required")
    try:
        verdict = writer_of(conn.paths).ask(task_id, AddComment(text=body.strip(), author=author.strip()))
    except (UnknownTask, InvalidTaskId) as error:
        raise ValueError(f"unknown task {task_id}") from error
    return int(verdict.answer["comment_id"])


def add_attachment(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    filename: str,
    stored_path: str,
    content_type: str | None = None,
    size: int = 0,
    uploaded_by: str | None = None,
) -> int:
    """The attachment's id; the file lies at ``stored_path`` already. Raises ValueError for an unknown task."""
    if not filename or not filename.strip():
        raise ValueError("attachment filename is required")
    if not stored_path or not stored_path.strip():
        raise ValueError("attachment stored_path is required")
    change = Attach(
        filename=filename.strip(),
        stored_path=stored_path,
        size=int(size),
        content_type=content_type or None,
        uploaded_by=uploaded_by or None,
    )
    try:
        verdict = writer_of(conn.paths).ask(task_id, change)
    except (UnknownTask, InvalidTaskId) as error:
        raise ValueError(f"unknown task {task_id}") from error
    return int(verdict.answer["attachment_id"])


def delete_attachment(hermes: Hermes, conn: BoardConnection, attachment_id: int) -> UpstreamAttachment | None:
    """The attachment that was removed, its file with it unless another attachment names that; None if there was
    none."""
    found = hermes.now.get_attachment(conn, attachment_id)
    if found is None:
        return None
    writer = writer_of(conn.paths)
    verdict = applies(writer, found.task_id, Detach(attachment_id=found.id))
    if verdict is None or not verdict.answer["detached"]:
        return None
    if not attachments.is_named(writer.board, found.task_id, found.stored_path):
        attachments.remove(conn.paths, found.task_id, found.stored_path)
    return found
