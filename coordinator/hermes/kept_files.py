"""The files of a Hermes board's attachments, found for an import: below the folders that are meant for them, alone.

A row says where its file lies, and whoever wrote the board wrote the row. So it may name any file that the importer
may read, and an import that copied it would bring a secret into a folder that others read. No link is followed below
those folders, component by component.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kanban_shards.errors import NotAFile, NotAFolder
from kanban_shards.paths import is_task_id
from kanban_shards.storage.folders import open_below


class LeftOut(Exception):
    """That file is not brought; ``why`` is the end of a sentence that begins with its path."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class KeptFiles:
    """The files of the board at ``source``. ``allowed``: folders besides Hermes's own, which the importer named."""

    def __init__(self, source: Path, allowed: Sequence[Path] = ()) -> None:
        source = Path(os.path.abspath(source))
        is_named = source.parent.parent.name == "boards" and source.parent.parent.parent.name == "kanban"
        self._home = source.parent
        self._own = self._home / "attachments" if is_named else self._home / "kanban" / "attachments"
        self._folders = [self._own, *(Path(os.path.abspath(each)) for each in allowed)]

    @contextmanager
    def opened(self, task_id: str, stored_path: str) -> Iterator[BinaryIO]:
        """The file that the row of ``task_id`` names, for reading; or, if the home was moved, the one that lies where
        it would be now. Raises FileNotFoundError, LeftOut, OSError."""
        named = Path(os.path.abspath(stored_path))
        places = [(folder, named.relative_to(folder)) for folder in self._folders if folder in named.parents]
        moved = [(folder, Path(task_id, named.name)) for folder in self._folders if is_task_id(task_id)]
        for folder, below in [*places, *moved]:
            try:
                descriptor = self._open(folder, below)
            except FileNotFoundError:
                continue
            except NotAFolder as error:
                raise LeftOut(f"{error.path} is a link or no folder, and none is followed") from error
            except NotAFile as error:
                raise LeftOut("it is a link, or no regular file") from error
            with open(descriptor, "rb") as file:
                yield file
                return
        if places or not os.path.lexists(named):
            raise FileNotFoundError(stored_path)
        raise LeftOut(f"it lies outside of {self._own}; `--attachments {named.parent}` allows its folder")

    def _open(self, folder: Path, below: Path) -> int:
        given = folder if folder != self._own else self._home  # below Hermes's home no link is followed either
        with open_below(given, (folder / below).parent) as opened:
            return opened.open_file(below.name)
