"""Completing: Hermes's checks and its care for files in a scratch workspace, around the one change that decides.

The files are kept before the verdict, and the workspace is removed after it: whatever happens in between, nothing that
a worker was told is kept can be lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from kanban_shards import attachments
from kanban_shards.changes.kinds import Attach, Complete, Detach, Note
from kanban_shards.errors import InvalidTaskId, Refused, UnknownTask
from kanban_shards.hermes.connection import BoardConnection
from kanban_shards.hermes.identity import write_soon, writer_of
from kanban_shards.hermes.upstream import Hermes
from kanban_shards.hermes.verbs import applies, named_run, shown
from kanban_shards.records import Verdict
from kanban_shards.writer import Writer

# Hermes completes no task that waits for review; it claims that first.
_CAN_COMPLETE = ("running", "ready", "blocked")
UPLOADED_BY = "kanban_complete"
# Of a completion that is refused, so much is kept.
PREVIEW = 200


def complete_task(
    hermes: Hermes,
    conn: BoardConnection,
    task_id: str,
    *,
    result: str | None = None,
    summary: str | None = None,
    metadata: dict[str, Any] | None = None,
    created_cards: Iterable[str] | None = None,
    expected_run_id: int | None = None,
) -> bool:
    """Whether the task is done by this. Raises HallucinatedCardsError for cards that the worker did not make, and
    ArtifactPreservationError for a file that cannot be kept."""
    verified = _verified(hermes, conn, task_id, created_cards, summary or result)
    task = shown(conn.paths, lambda: hermes.now.get_task(conn, task_id))
    if keeps_files := hasattr(hermes.now, "_persist_scratch_completion_artifacts"):  # from 0.19 on
        metadata = hermes.now._merge_completion_prose_artifacts(conn, task_id, metadata, summary=summary, result=result)
    run_id = named_run(expected_run_id)
    if task is None or task.status not in _CAN_COMPLETE or run_id not in (None, task.current_run_id):
        return False
    writer = writer_of(conn.paths)
    kept: list[str] = []
    if keeps_files and isinstance(metadata, dict):
        hermes.now._persist_scratch_completion_artifacts(conn, task_id, metadata)
        kept = metadata.pop("_staged_artifacts", [])
    for path in kept:
        writer.write(task_id, _attach(path))
    change = Complete(
        run_id=run_id,
        result=result,
        summary=summary,
        metadata=metadata,
        created_cards=tuple(verified),
        card_check="shown",
        artifacts=_artifacts(metadata),
    )
    try:
        verdict = writer.ask(task_id, change)
    except (Refused, UnknownTask) as error:
        _forget(writer, task_id, kept)
        if isinstance(error, Refused) and error.reason == "phantom_cards":  # one was deleted at this very moment
            raise hermes.now.HallucinatedCardsError(error.answer["phantom_cards"], task_id) from error
        return False
    _finish(hermes, conn, task_id, verdict, summary, result)
    return True


def _verified(
    hermes: Hermes, conn: BoardConnection, task_id: str, cards: Iterable[str] | None, said: str | None
) -> list[str]:
    """The cards that the worker made; that it named others is noted. Raises HallucinatedCardsError."""
    if not cards:
        return []
    verified, phantom = hermes.now._verify_created_cards(conn, task_id, cards)
    if phantom:
        facts = {"phantom_cards": phantom, "verified_cards": verified, "summary_preview": _first_line(said)}
        with suppress(UnknownTask, InvalidTaskId):
            write_soon(conn.paths, task_id, Note(event="completion_blocked_hallucination", facts=facts))
        raise hermes.now.HallucinatedCardsError(phantom, task_id)
    return verified


def _first_line(said: str | None) -> str | None:
    lines = (said or "").strip().splitlines()
    return lines[0][:PREVIEW] if lines else None


def _artifacts(metadata: object) -> tuple[str, ...]:
    """The files that the worker names; a gateway sends them along with the news."""
    named = metadata.get("artifacts") if isinstance(metadata, dict) else None
    if not isinstance(named, (list, tuple)):
        return ()
    return tuple(path.strip() for path in named if isinstance(path, str) and path.strip())


def _attach(path: str) -> Attach:
    size = os.stat(path).st_size
    return Attach(filename=os.path.basename(path), stored_path=path, size=size, uploaded_by=UPLOADED_BY)


def _forget(writer: Writer, task_id: str, kept: list[str]) -> None:
    """The task was not completed, so what was kept for that goes."""
    if not kept:
        return
    writer.sync()
    for attachment in writer.board.attachments(task_id):
        if attachment.stored_path in kept:
            applies(writer, task_id, Detach(attachment_id=attachment.id))
            attachments.remove(writer.paths, task_id, attachment.stored_path)


def _finish(
    hermes: Hermes, conn: BoardConnection, task_id: str, verdict: Verdict, summary: str | None, result: str | None
) -> None:
    """What Hermes does once the task is done."""
    run_id = verdict.answer["run_id"]
    unknown = hermes.now._scan_prose_for_phantom_ids(conn, " ".join(filter(None, (summary, result))))
    if unknown:
        facts = {"phantom_refs": unknown, "source": "completion_summary"}
        note = Note(event="suspected_hallucinated_references", facts=facts, about_run=run_id)
        write_soon(conn.paths, task_id, note)
    hermes.now._cleanup_workspace(conn, task_id)
    said = result if summary is None else summary
    hermes.tell_plugins("kanban_task_completed", conn, task_id, run_id=run_id, summary=said)
