"""Workspaces: the folder that a task is worked on in. The same for the dispatcher and for every worker."""

from __future__ import annotations

from pathlib import Path

from kanban_shards.errors import StorageError
from kanban_shards.paths import BoardPaths, expanded
from kanban_shards.records import Task
from kanban_shards.storage.filesystems import make_folder
from kanban_shards.storage.folders import make_below


def workspace_of(paths: BoardPaths, task: Task) -> Path | None:
    """Where ``task`` is worked on; None where nobody has said yet.

    A scratch workspace is the board's own; a worktree without a path is anchored by whoever starts the worker. Raises
    StorageError.
    """
    if task.workspace_path:
        return expanded(task.workspace_path)
    return paths.workspaces / task.id if task.workspace_kind == "scratch" else None


def make_workspace(paths: BoardPaths, task: Task) -> Path | None:
    """``workspace_of``, and the folder is there; one that is made here is for its user alone, or for a group as the one
    it lies in. A git worktree is left to git, and a relative path, which would mean another folder to each process, to
    whoever gave it. Raises StorageError."""
    folder = workspace_of(paths, task)
    if folder is not None and folder.is_absolute() and task.workspace_kind != "worktree":
        try:
            if folder.is_relative_to(paths.workspaces) and ".." not in folder.parts:
                with make_below(paths.folder, folder):
                    pass
            elif not folder.is_dir():
                make_folder(folder)
        except (OSError, ValueError) as error:  # ValueError: it holds a NUL
            problem = getattr(error, "strerror", None) or str(error)
            raise StorageError(path=folder, problem=f"it cannot be made: {problem}") from error
    return folder
